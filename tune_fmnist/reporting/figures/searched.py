"""What was searched: each parameter's range, the score against it, and the configurations as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from tune_fmnist.reporting.edges import Edge
from tune_fmnist.reporting.figures.rows import SHOWN, TRIALS, TrialRows
from tune_fmnist.reporting.figures.style import (
    CHOSEN,
    Figure,
    Panel,
    accuracy_scale,
    chart,
    hundredfold,
    ink,
    layered,
    palette,
)
from tune_fmnist.reporting.importances import Importances, told
from tune_fmnist.reporting.wording import counted, plain
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Parameter, Value

_FEW: Final = 7
"""Values up to which each of them is named."""

ROLES = {"trial": "other", "start": "start", "baseline": "base", "best": "best"}

_NUMBER = alt.Tooltip("n:Q", title="trial")
_SCORE = alt.Tooltip("score:Q", title="score, %", format=".2f")
_REACHED = alt.Tooltip("reached:N", title="reached")


def draw_ranges(data: TrialRows, at_edge: Sequence[Edge]) -> Figure:
    """Draw each parameter's range with where the trials and the best configuration lie.

    Args:
        data: the trials.
        at_edge: the parameters of which the best configuration has a value at a bound.
    """
    names = list(data.space.parameters)
    axis = alt.Axis(labelColor=ink("ink"), labelLimit=130, grid=False, labelFontWeight="bold")
    y = alt.Y("parameter:N", sort=names, title=None, axis=axis)
    x = alt.X("at:Q", scale=alt.Scale(domain=[0, 1], padding=4), axis=None)
    value = alt.Tooltip("value:N", title="value")
    folded = (
        alt.Chart(alt.NamedData(name=TRIALS))
        .transform_fold([f"c_{name}" for name in names], as_=["key", "at"])
        .transform_filter("isValid(datum.at)")
        .transform_calculate(parameter="slice(datum.key, 2)", value="datum['v_' + slice(datum.key, 2)]")
    )
    tips = [_NUMBER, alt.Tooltip("parameter:N"), value, _SCORE, _REACHED]
    ticks = folded.mark_tick(thickness=1.6, size=17, color=ink("other")).encode(
        x=x,
        y=y,
        tooltip=tips,
        opacity=alt.condition(CHOSEN, alt.value(0.65 * data.ink), alt.value(0.05)),
    )
    shown = [role for role in ("start", "baseline", "best") if any(row["role"] == role for row in data.rows)]
    marks = (
        folded.transform_filter(alt.FieldOneOfPredicate(field="role", oneOf=shown))
        .mark_point(size=190, stroke=ink("page"), strokeWidth=1.2)
        .encode(
            x=x,
            y=y,
            tooltip=tips,
            color=alt.Color("role:N", scale=palette(ROLES, shown=shown)),
            shape=alt.Shape("role:N", scale=alt.Scale(domain=shown, range=[_SHAPES[role] for role in shown])),
        )
    )
    lanes, words = _lanes(data)
    whole = layered([*_rails(lanes, x, y), ticks, marks, *_values(words, x, y)], 54 * len(names), of_trials=True)
    title = "No value of the best configuration lies at a bound of its range"
    if at_edge:
        title = f"The best configuration lies at a bound in {len(at_edge)} of {counted(len(names), 'parameter')}"
    caption = "Each line is a trial, at its place on the range's own scale."
    if any(lane["edges"] for lane in lanes):
        caption += " Shaded are the outer 5 % on either side."
    if not all(lane["edges"] for lane in lanes):
        caption += " Where a parameter has few values, how many trials have each stands in brackets."
    return Figure("ranges", title, caption, [whole], datasets={TRIALS: data.rows})


def _rails(lanes: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Return each range as a line, below it the outer 5 % on either side."""
    rails = chart(lanes).mark_rule(strokeWidth=1, color=ink("rest")).encode(x=x, x2="end:Q", y=y)
    edges = chart(
        [{**lane, "at": at, "end": end} for lane in lanes if lane["edges"] for at, end in ((0.0, 0.05), (0.95, 1.0))]
    )
    return [edges.mark_bar(size=24, color=ink("line")).encode(x=x, x2="end:Q", y=y), rails]


def _values(words: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Return the bounds, or the values where there are few, as words under the lines."""
    return [
        chart([word for word in words if word["align"] == align])
        .mark_text(dy=20, align=align, color=ink("quiet"), fontSize=11.5)
        .encode(x=x, y=y, text="text:N")
        for align in ("left", "center", "right")
        if any(word["align"] == align for word in words)
    ]


_SHAPES = {"start": "square", "baseline": "circle", "best": "diamond"}


def _few(parameter: Parameter) -> list[Value]:
    """Return the values of a parameter that has few, in order; none of one that has many."""
    return list(parameter.choices if isinstance(parameter, CategoricalParameter) else _steps(parameter))


def _steps(parameter: IntParameter | FloatParameter) -> list[float]:
    if parameter.step is None or parameter.log:
        return []
    count = round((parameter.high - parameter.low) / parameter.step) + 1
    return [parameter.low + place * parameter.step for place in range(count)] if count <= _FEW else []


def _lanes(data: TrialRows) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the parameters' lines and what is written under them."""
    lanes, words = [], []
    for name, parameter in data.space.parameters.items():
        lanes.append({"parameter": name, "at": 0.0, "end": 1.0, "edges": not (few := _few(parameter))})
        if few:
            given = Counter(plain(row[f"v_{name}"]) for row in data.rows if row[f"v_{name}"] is not None)
            for place, choice in enumerate(few):
                text = f"{plain(choice)} ({given[plain(choice)]})"
                words.append({"parameter": name, "at": (place + 0.5) / len(few), "text": text, "align": "center"})
        elif not isinstance(parameter, CategoricalParameter):
            scale = ", log" if parameter.log else ""
            words.append({"parameter": name, "at": 0.0, "text": plain(parameter.low) + scale, "align": "left"})
            words.append({"parameter": name, "at": 1.0, "text": plain(parameter.high), "align": "right"})
    return lanes, words


def draw_slices(data: TrialRows) -> Figure:
    """Draw the score of every trial against each parameter, in the colour of how far it came."""
    panels = [_slice(data, name) for name in data.space.parameters]
    low, _ = data.score_range
    below = sum(row["score"] is not None and row["score"] < low for row in data.rows)
    caption = (
        "Every trial, at the score it had when it ended: those that were stopped early would have gone on rising. "
    )
    caption += "Ringed are the baseline and the best."
    if below:
        caption += f" {counted(below, 'trial')} below {low:.0f} % {'is' if below == 1 else 'are'} not shown."
    title = f"The score of all {len(data.rows):,} trials against each parameter"
    columns = min(3, len(panels))
    return Figure("slices", title, caption, panels, columns, data.legend, {TRIALS: data.rows})


def _slice(data: TrialRows, name: str) -> Panel:
    parameter = data.space.parameters[name]
    field = f"v_{name}"
    kind = "N" if isinstance(parameter, CategoricalParameter) else "Q"
    tips = [_NUMBER, alt.Tooltip(f"{field}:{kind}", title=name), _SCORE, _REACHED]
    y = alt.Y("score:Q", scale=accuracy_scale(data.scores), title="score, %", axis=alt.Axis(tickCount=5))
    base = (
        alt.Chart(alt.NamedData(name=TRIALS))
        .transform_filter(f"isValid(datum['{field}']) && isValid(datum.score)")
        .transform_calculate(jitter="(datum.n * 0.618034) % 1")
    )
    if isinstance(parameter, CategoricalParameter):
        choices = [plain(choice) for choice in parameter.choices]
        x = alt.X(f"{field}:N", sort=choices, scale=alt.Scale(domain=choices), title=name, axis=alt.Axis(labelAngle=0))
        base = base.encode(xOffset=alt.XOffset("jitter:Q", scale=alt.Scale(domain=[-0.4, 1.4])))
    else:
        x = alt.X(f"{field}:Q", scale=_scale(parameter), title=name, axis=_axis(parameter))
    base = base.encode(x=x, y=y, tooltip=tips, opacity=SHOWN)
    points = base.mark_point(size=38 * data.ink, clip=True).encode(color=data.reached)
    ring = (
        base.transform_filter("datum.role == 'best' || datum.role == 'baseline'")
        .mark_point(filled=False, size=110, strokeWidth=2, clip=True)
        .encode(stroke=alt.Stroke("role:N", scale=palette(ROLES, shown=["baseline", "best"]), legend=None))
    )
    brush = alt.selection_interval(name="brush", encodings=["x", "y"], mark=BRUSH)
    return layered([points.add_params(brush), ring], 210, of_trials=True)


BRUSH = alt.BrushConfig(fill=ink("best"), fillOpacity=0.12, stroke=ink("best"))


def _scale(parameter: IntParameter | FloatParameter) -> alt.Scale:
    domain = [parameter.low, parameter.high]
    if parameter.log:
        return alt.Scale(type="log", domain=domain, nice=False, padding=8)
    return alt.Scale(domain=domain, zero=False, nice=False, padding=8)


def _axis(parameter: IntParameter | FloatParameter) -> alt.Axis:
    if steps := _steps(parameter):
        return alt.Axis(values=steps, grid=False)
    if not parameter.log:
        return alt.Axis(tickCount=5, grid=False)
    # Plain numbers: the default of a logarithmic axis leaves most of its labels out.
    ticks = [parameter.low * (parameter.high / parameter.low) ** (place / 3) for place in range(4)]
    if isinstance(parameter, IntParameter):
        return alt.Axis(values=[round(tick) for tick in ticks], grid=False, format="d")
    return alt.Axis(values=[float(f"{tick:.2g}") for tick in ticks], grid=False, format="~g")


_SCORES: Final = "score, %"
"""The last axis: no parameter has such a name."""


def draw_parallel(data: TrialRows) -> Figure:
    """Draw every configuration as a line over the parameters' scales, from the first parameter to the score."""
    names = list(data.space.parameters)
    keys = [*(f"c_{name}" for name in names), "c_"]
    order = [*names, _SCORES]
    x = alt.X("axis:N", sort=order, scale=alt.Scale(domain=order, padding=0.35), title=None, axis=_HEADS)
    y = alt.Y("at:Q", scale=alt.Scale(domain=[-0.06, 1.06]), axis=None)
    base = (
        alt.Chart(alt.NamedData(name=TRIALS))
        .transform_filter("isValid(datum.score)")
        .transform_fold([*keys], as_=["key", "at"])
        .transform_filter("isValid(datum.at)")
        .transform_calculate(axis=f"datum.key == 'c_' ? '{_SCORES}' : slice(datum.key, 2)")
        .encode(x=x, y=y, detail="n:N", tooltip=[_NUMBER, _SCORE, _REACHED, "status:N"])
    )
    lines = base.mark_line(strokeWidth=1.3, strokeJoin="round").encode(
        color=data.reached,
        strokeOpacity=alt.condition(CHOSEN, alt.value(0.7 * data.ink**1.5), alt.value(0.04)),
    )
    marked = (
        base.transform_filter("datum.role == 'best' || datum.role == 'baseline'")
        .mark_line(strokeWidth=3)
        .encode(stroke=alt.Stroke("role:N", scale=palette(ROLES, shown=["baseline", "best"]), legend=None))
    )
    poles = chart({"axis": name, "at": 0.0, "end": 1.0} for name in order)
    rails = poles.mark_rule(color=ink("rest")).encode(x=x, y=y, y2="end:Q")
    ends = _ends(data)
    texts = [
        chart([end for end in ends if end["dy"] == dy])
        .mark_text(dy=dy, color=ink("quiet"), fontSize=11)
        .encode(x=x, y=y, text="text:N")
        for dy in (12, -10)
    ]
    brush = alt.selection_interval(name="brush", encodings=["x", "y"], mark=BRUSH)
    grip = base.mark_point(opacity=0.0, size=1).add_params(brush)
    whole = layered([rails, lines, marked, grip, *texts], 330, of_trials=True)
    caption = "One line per trial with a score, from its settings to its score; each axis is the parameter's own scale."
    legend = {**data.colours, "thick: the baseline": "base", "thick: the best": "best"}
    return Figure("parallel", "All configurations at a glance", caption, [whole], 1, legend, {TRIALS: data.rows})


_HEADS = alt.Axis(
    labelAngle=-35,
    labelOverlap=False,
    domain=False,
    ticks=False,
    labelColor=ink("ink"),
    labelFontWeight="bold",
    labelLimit=110,
)


def _ends(data: TrialRows) -> list[dict[str, Any]]:
    ends = []
    for name, parameter in data.space.parameters.items():
        if isinstance(parameter, CategoricalParameter):
            low, high = parameter.choices[0], parameter.choices[-1]
        else:
            low, high = parameter.low, parameter.high
        ends += [
            {"axis": name, "at": 0.0, "dy": 12, "text": plain(low)},
            {"axis": name, "at": 1.0, "dy": -10, "text": plain(high)},
        ]
    low, high = data.score_range
    ends += [{"axis": _SCORES, "at": 0.0, "dy": 12, "text": f"{low:.1f}"}]
    return [*ends, {"axis": _SCORES, "at": 1.0, "dy": -10, "text": f"{high:.1f}"}]


def draw_importances(found: Importances) -> Figure:
    """Draw the importance of each parameter with its spread over samples of the trials."""
    rows = [
        {
            "name": parameter.name,
            "mean": hundredfold(parameter.mean),
            "low": hundredfold(parameter.low),
            "high": hundredfold(parameter.high),
            "kind": "above chance" if parameter.told else "cannot be told",
        }
        for parameter in found.parameters
    ]
    y = alt.Y(
        "name:N",
        sort=[parameter.name for parameter in found.parameters],
        title=None,
        axis=alt.Axis(labelColor=ink("ink"), labelLimit=130, grid=False),
    )
    title = "variance of the ranks lost without it, %"
    tips = [
        alt.Tooltip("name:N", title="parameter"),
        alt.Tooltip("mean:Q", title="share, %", format=".1f"),
        alt.Tooltip("low:Q", title="nine in ten samples from", format=".1f"),
        alt.Tooltip("high:Q", title="to", format=".1f"),
        alt.Tooltip("kind:N", title="is"),
    ]
    colours = palette({"above chance": "best", "cannot be told": "rest"}, shown=[str(row["kind"]) for row in rows])
    base = chart(rows).encode(y=y, color=alt.Color("kind:N", scale=colours), tooltip=tips)
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    points = base.mark_point(size=110).encode(x="mean:Q")
    zero = chart([{"at": 0.0}]).mark_rule(color=ink("quiet")).encode(x="at:Q")
    caption = (
        f"From {found.trials} trials by their score after epoch {found.epoch}, which those that were stopped have too: "
        "a random forest foretells the ranks of trials it has not seen, with and without each parameter's values. "
        "Points are means over bootstrap samples of the trials, bars hold nine in ten of them."
    )
    figure = layered([zero, bars, points], 34 + 34 * len(rows))
    return Figure("importances", told(found).removesuffix("."), caption, [figure])
