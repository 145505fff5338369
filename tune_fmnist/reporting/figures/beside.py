"""Several searches in one picture: what the best of each reaches in the test, and how soon each found what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from tune_fmnist.reporting.anytime import BestPoint
from tune_fmnist.reporting.figures.style import Figure, Panel, accuracy_scale, chart, hundredfold, ink, layered, palette

_COLOURS = ("best", "base", "start", "lost", "other", "near")


class Course(NamedTuple):
    """A search's name, and its best score after each trial that reached the last epoch."""

    name: str
    points: list[BestPoint]


class TestedBest(NamedTuple):
    """A search's name, the mean test accuracy of its first rank, and the 95 % interval, fractions."""

    name: str
    mean: float
    low: float
    high: float


def draw_courses(courses: Sequence[Course], caution: str | None) -> Figure:
    """Draw the best score of each search by epochs and by time; none of them is without a point.

    Args:
        courses: the searches.
        caution: why their scores do not compare, None if they do.
    """
    longest = max(point.seconds for course in courses for point in course.points)
    scale, unit = (60.0, "minutes") if longest >= 120 else (1.0, "seconds")
    rows: list[dict[str, Any]] = [
        {
            "search": course.name,
            "number": point.number,
            "epochs": point.epochs,
            "time": point.seconds / scale,
            "score": hundredfold(point.best),
        }
        for course in courses
        for point in course.points
    ]
    y_scale = accuracy_scale(point.best for course in courses for point in course.points)
    colour = alt.Color("search:N", scale=_palette([course.name for course in courses]))
    tips = [
        alt.Tooltip("search:N"),
        alt.Tooltip("number:Q", title="trial"),
        alt.Tooltip("score:Q", title="best score, %", format=".2f"),
        alt.Tooltip("epochs:Q"),
        alt.Tooltip("time:Q", title=unit, format=".1f"),
    ]
    panels: list[Panel] = []
    for field, title in (("epochs", "epochs of all trials"), ("time", f"{unit} since the first trial started")):
        x = alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(grid=False, tickCount=6))
        y = alt.Y("score:Q", title="best score so far, %", scale=y_scale)
        base = chart(rows).encode(x=x, y=y, color=colour, tooltip=tips)
        line = base.mark_line(interpolate="step-after", strokeWidth=2.2, clip=True)
        panels.append(layered([line, base.mark_point(size=36, clip=True)], 260))
    caption = "The best score so far among the trials that had reached the last epoch."
    if caution is not None:
        caption += f" {caution}, so that the curves compare roughly only."
    return Figure("courses", "Best score so far, by epochs and by time", caption, panels, columns=2)


def draw_tests(tested: Sequence[TestedBest]) -> Figure:
    """Draw the test accuracy of each search's first rank, at least one."""
    names = [one.name for one in tested]
    rows = [
        {"search": one.name} | {name: hundredfold(getattr(one, name)) for name in ("mean", "low", "high")}
        for one in tested
    ]
    scale = accuracy_scale(bound for one in tested for bound in (one.low, one.high))
    tips = [
        alt.Tooltip("search:N"),
        alt.Tooltip("mean:Q", title="test accuracy, %", format=".2f"),
        alt.Tooltip("low:Q", title="lower end", format=".2f"),
        alt.Tooltip("high:Q", title="upper end", format=".2f"),
    ]
    y = alt.Y("search:N", sort=names, title=None, axis=alt.Axis(labelColor=ink("ink"), labelLimit=200))
    colour = alt.Color("search:N", scale=_palette(names), legend=None)
    base = chart(rows).encode(y=y, color=colour, tooltip=tips)
    bars = base.mark_rule(strokeWidth=2.4).encode(x=alt.X("low:Q", title="test accuracy, %", scale=scale), x2="high:Q")
    means = base.mark_point(shape="diamond", size=110).encode(x=alt.X("mean:Q", scale=scale))
    caption = (
        "Diamonds are means over seeds, bars 95 % intervals over seeds and images, of a single seed over images. Bars "
        "that overlap do not say that two searches are alike: the sentences above compare them on the same images."
    )
    panel = layered([bars, means], 40 + 40 * len(rows))
    return Figure("tests", "Test accuracy of each search's first rank", caption, [panel])


def _palette(names: Sequence[str]) -> alt.Scale:
    """Return the scale of searches to colours; from the seventh on they are of one colour."""
    return palette({name: _COLOURS[place] if place < len(_COLOURS) else "rest" for place, name in enumerate(names)})
