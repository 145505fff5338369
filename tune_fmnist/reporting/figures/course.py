"""The course of a search: the best so far, what to expect of more trials, who proposed them, the slots, the cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from tune_fmnist.reporting import anytime
from tune_fmnist.reporting.figures.rows import SHOWN, TRIALS, TrialRows
from tune_fmnist.reporting.figures.searched import BRUSH, ROLES
from tune_fmnist.reporting.figures.style import (
    Figure,
    Panel,
    accuracy_scale,
    chart,
    hundredfold,
    ink,
    layered,
    palette,
    whole_numbers,
)
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.slots import Bar, most_at_once
from tune_fmnist.reporting.wording import counted, duration, percent

ORIGINS = {"baseline": "base", "start": "start", "random": "other", "model": "best"}
STATUSES = {
    "completed": "ramp4",
    "stopped": "ramp2",
    "running": "start",
    "paused": "ramp3",
    "diverged": "lost",
    "failed": "lost",
}

_NUMBER = alt.Tooltip("n:Q", title="trial")
_SCORE = alt.Tooltip("score:Q", title="score, %", format=".2f")


@dataclass(frozen=True)
class BestSoFar:
    """What ``draw_best_so_far`` draws; ``baseline`` is None before it has reported, ``published`` if not comparable."""

    title: str
    caption: str
    points: list[anytime.BestPoint]
    baseline: float | None
    published: float | None


def best_so_far(results: Results, published: float | None) -> BestSoFar:
    """Return the best score of the trials that had reached the last epoch, by time and by epochs.

    Args:
        results: of a search with at least one trial that reached the last epoch.
        published: the baseline's published validation accuracy, None if it is not comparable.
    """
    trials, resumed_at = results.trials, results.record.resumed_at
    points = anytime.best_so_far(trials, results.epochs, resumed_at)
    reached = float(trials.loc[trials["number"] == 0, "score"].max())
    baseline = None if math.isnan(reached) else reached
    best = points[-1].best
    after = next(point for point in points if point.best == best)
    title = f"The best score, {percent(best)}, was reached after {duration(after.seconds)}"
    if baseline is not None and best > baseline:
        passed = next(point for point in points if point.best > baseline)
        title += f"; the baseline's was passed after {duration(passed.seconds)}"
    caption = f"The best score so far of the {counted(len(points), 'trial')} that reached the last epoch, by wall time "
    caption += "and by the epochs that all trials together had trained."
    if resumed_at:
        caption += " The time between an interruption and its resumption does not count."
    return BestSoFar(title, caption, points, baseline, published)


def draw_best_so_far(data: BestSoFar) -> Figure:
    """Draw the best score by time and by epochs."""
    scale, unit = (60.0, "minutes") if data.points[-1].seconds >= 120 else (1.0, "seconds")
    rows = [
        {"n": point.number, "time": point.seconds / scale, "epochs": point.epochs, "score": hundredfold(point.best)}
        for point in data.points
    ]
    lines = [(data.baseline, "baseline, trial 0"), (data.published, "baseline, as published")]
    known = [(line, name) for line, name in lines if line is not None]
    y_scale = accuracy_scale([*(point.best for point in data.points), *(line for line, _ in known)])
    panels: list[Panel] = []
    for field, title in (("time", f"{unit} since the first trial started"), ("epochs", "epochs of all trials")):
        y = alt.Y("score:Q", title="best score so far, %", scale=y_scale)
        x = alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=True), axis=alt.Axis(grid=False, tickCount=6))
        tips = [_NUMBER, _SCORE, alt.Tooltip("time:Q", title=unit, format=".1f"), alt.Tooltip("epochs:Q")]
        base = chart(rows).encode(x=x, y=y, tooltip=tips)
        step = base.mark_line(interpolate="step-after", strokeWidth=2.4, color=ink("best"))
        points = base.mark_point(size=40, color=ink("best"))
        rules = [_level(line, name, dashed=place > 0) for place, (line, name) in enumerate(known)]
        panels.append(layered([*(part for rule in rules for part in rule), step, points], 250))
    return Figure("best_so_far", data.title, data.caption, panels, columns=2)


def _level(at: float, name: str, *, dashed: bool) -> tuple[alt.Chart, alt.Chart]:
    line = chart([{"score": hundredfold(at), "text": f"{name}: {percent(at)}"}]).encode(y="score:Q")
    rule = line.mark_rule(color=ink("base"), strokeWidth=1.5, strokeDash=[2, 3] if dashed else [6, 3])
    text = line.mark_text(align="right", dy=-7, color=ink("base"), fontSize=11.5)
    return rule.encode(tooltip="text:N"), text.encode(x=alt.value("width"), text="text:N")


def draw_expected_best(results: Results) -> Figure:
    """Draw the best score to expect of so many trials, and the best as it came.

    The search has at least two trials that a searcher drew and that have a score.
    """
    scores = anytime.drawn_scores(results)
    expected = anytime.expected_best(scores)
    rows = [
        {
            "trials": point.trials,
            "mean": hundredfold(point.mean),
            "low": hundredfold(point.mean - point.std),
            "high": hundredfold(min(point.mean + point.std, float(scores.max()))),
            "came": hundredfold(float(best)),
        }
        for point, best in zip(expected, np.maximum.accumulate(scores), strict=True)
    ]
    half = expected[max(0, math.ceil(len(expected) / 2) - 1)]
    gained = (expected[-1].mean - half.mean) * 100
    scale = accuracy_scale([point.mean - point.std for point in expected] + [expected[-1].mean])
    x = alt.X("trials:Q", title="trials", axis=whole_numbers(1, len(rows)))
    y = alt.Y("mean:Q", title="best score, %", scale=scale)
    tips = [
        alt.Tooltip("trials:Q"),
        alt.Tooltip("mean:Q", title="expected best, %", format=".2f"),
        alt.Tooltip("came:Q", title="best as it came, %", format=".2f"),
    ]
    base = chart(rows).encode(x=x)
    band = base.mark_area(opacity=0.16, color=ink("best"), clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    colour = alt.Color("line:N", scale=palette({"expected": "best", "as it came": "other"}))
    line = base.transform_calculate(line="'expected'").mark_line(strokeWidth=2.4, clip=True).encode(y=y, color=colour)
    steps = base.transform_calculate(line="'as it came'").mark_line(interpolate="step-after", clip=True)
    came = steps.encode(y="came:Q", color=colour)
    points = base.mark_point(opacity=0.0, size=120).encode(y="mean:Q", tooltip=tips)
    title = f"The best of {half.trials} of these {len(expected)} trials, chosen at random, is in the mean "
    title += f"{gained:.2f} points below the best of all"
    caption = (
        "The best score of so many of these trials, in the mean over all choices of them (the band is one standard "
        "deviation), and the best as it came. A searcher's later trials depend on its earlier ones, so that it is no "
        "forecast for more. A trial that was stopped counts with the score that it had then."
    )
    whole = layered([band, came, line, points], 270)
    return Figure("expected_best", title, caption, [whole])


def draw_origins(data: TrialRows) -> Figure:
    """Draw the score of each trial in the order of issue, in the colour of who proposed it."""
    shown = [origin for origin in ORIGINS if any(row["origin"] == origin for row in data.rows)]
    best: dict[str, float] = {}
    for row in data.rows:
        if row["score"] is not None and row["origin"] and row["status"] not in ("diverged", "failed"):
            best[row["origin"]] = max(best.get(row["origin"], 0.0), row["score"])
    names = {
        "random": "random draws",
        "model": "the searcher's model",
        "start": "the start",
        "baseline": "the baseline",
    }
    parts = [f"{names[origin]} {best[origin]:.2f} %" for origin in shown if origin in best]
    tips = [_NUMBER, alt.Tooltip("origin:N", title="proposed by"), _SCORE, alt.Tooltip("reached:N", title="reached")]
    points = (
        alt.Chart(alt.NamedData(name=TRIALS))
        .transform_filter("isValid(datum.score)")
        .mark_point(size=55 * data.ink, clip=True)
        .encode(
            x=alt.X("n:Q", title="trial, in the order of issue", axis=whole_numbers(0, len(data.rows) - 1)),
            y=alt.Y("score:Q", title="score, %", scale=accuracy_scale(data.scores)),
            color=alt.Color("origin:N", scale=palette(ORIGINS, shown=shown)),
            shape=alt.Shape(
                "origin:N", scale=alt.Scale(domain=shown, range=["diamond", "square", "circle", "triangle-up"])
            ),
            opacity=SHOWN,
            tooltip=tips,
        )
    )
    caption = (
        "Every trial with a score, at the score it had when it ended; later trials of the model build on earlier ones."
    )
    title = f"Best scores by who proposed: {', '.join(parts)}"
    return Figure("origins", title, caption, [layered([points], 250, of_trials=True)], datasets={TRIALS: data.rows})


def draw_timeline(bars: list[Bar], utilisation: float | None) -> Figure:
    """Draw which trial each slot ran when.

    Args:
        bars: the trials' times, at least one.
        utilisation: share of the slots' time in training and evaluation; None if it is not known.
    """
    last = max(bar.end for bar in bars)
    scale, unit = (60.0, "minutes") if last >= 120 else (1.0, "seconds")
    nodes = sorted({bar.node for bar in bars})
    several = len(nodes) > 1
    rows: list[dict[str, Any]] = [
        {
            "n": bar.number,
            "row": bar.row,
            "slot": f"{bar.node or 'slot'} {bar.row + 1}" if several else f"slot {bar.row + 1}",
            "begin": bar.begin / scale,
            "end": bar.end / scale,
            "took": duration(bar.end - bar.begin),
            "status": bar.status,
            "epochs": bar.epochs,
        }
        for bar in bars
    ]
    slots = [slot for _, slot in sorted({(row["row"], row["slot"]) for row in rows})]
    tips = [_NUMBER, alt.Tooltip("status:N"), alt.Tooltip("epochs:Q"), alt.Tooltip("took:N"), alt.Tooltip("slot:N")]
    colour = alt.Color("status:N", scale=palette(STATUSES, shown=[row["status"] for row in rows]))
    base = (
        chart(rows)
        .mark_bar(stroke=ink("page"), strokeWidth=1, cornerRadius=2)
        .encode(
            x=alt.X("begin:Q", title=f"{unit} since the first trial started", axis=alt.Axis(grid=False)),
            x2="end:Q",
            y=alt.Y("slot:N", sort=slots, title=None, axis=alt.Axis(labelColor=ink("ink"), labelLimit=130)),
            color=colour,
            opacity=SHOWN,
            tooltip=tips,
        )
    )
    height = max(90, min(34, 700 // len(slots)) * len(slots))
    title = f"At most {counted(most_at_once(bars), 'trial')} ran at once"
    if utilisation is not None:
        title += f"; {utilisation:.0%} of the slots' time was training and validation".replace("%", " %")
    caption = "Each bar is a trial in its slot, from its start to its last report there; gaps are starts and waits."
    return Figure("timeline", title, caption, [layered([base], height, of_trials=True)])


def draw_cost(data: TrialRows) -> Figure:
    """Draw the score of every trial against the model's size, where it is known, and against time per epoch."""
    rows = [
        {"n": row["n"], "score": row["score"], "size": row["size"], "reached": row["reached"], "role": row["role"]}
        | {"seconds": row["minutes"] * 60.0 / row["epochs"]}
        for row in data.rows
        if row["score"] is not None and row["epochs"]
    ]
    sized = any(row["size"] for row in rows)
    fields = [("size", "parameters of the model", "~s")] if sized else []
    panels = [_cost(rows, data, *field) for field in [*fields, ("seconds", "seconds per epoch", "~g")]]
    title = f"The score against {'the size of the model and ' if sized else ''}the time of an epoch"
    caption = "Every trial, at the score it had when it ended; both scales are logarithmic." if sized else ""
    caption = caption or "Every trial, at the score it had when it ended."
    return Figure("cost", title, caption, panels, len(panels), data.legend)


def _cost(rows: list[dict[str, Any]], data: TrialRows, field: str, title: str, form: str) -> Panel:
    brush = alt.selection_interval(name="brush", encodings=["x", "y"], mark=BRUSH)
    tips = [
        _NUMBER,
        _SCORE,
        alt.Tooltip("size:Q", title="parameters", format=","),
        alt.Tooltip("seconds:Q", title="seconds per epoch", format=".2f"),
    ]
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(format=form, grid=False, tickCount=5))
    y = alt.Y("score:Q", title="score, %", scale=accuracy_scale(data.scores))
    base = chart(rows).encode(x=x, y=y, tooltip=tips, opacity=SHOWN)
    points = base.mark_point(size=42 * data.ink, clip=True).encode(color=data.reached).add_params(brush)
    ring = (
        base.transform_filter("datum.role == 'best' || datum.role == 'baseline'")
        .mark_point(filled=False, size=120, strokeWidth=2, clip=True)
        .encode(stroke=alt.Stroke("role:N", scale=palette(ROLES, shown=["baseline", "best"]), legend=None))
    )
    return layered([points, ring], 250, of_trials=True)
