"""The retrained configurations: test accuracies with their intervals, and the differences to the baseline's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

from tune_fmnist.reporting.figures.style import Figure, Panel, chart, hundredfold, ink, layered, palette
from tune_fmnist.reporting.results import rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import SIGNIFICANT
from tune_fmnist.reporting.wording import p_equation, percent


@dataclass(frozen=True)
class Accuracy:
    """One configuration's mean test accuracy with its 95 % interval, and the accuracy of each seed, fractions.

    ``kind`` is baseline, start, best or other; the difference to the baseline, with its interval, is NaN where there
    is none.
    """

    name: str
    kind: str
    mean: float
    low: float
    high: float
    seeds: list[float]
    difference: float
    difference_low: float
    difference_high: float
    p_value: float


@dataclass(frozen=True)
class Accuracies:
    """What ``draw`` draws, from the top down; ``published`` is None if it is not comparable."""

    title: str
    caption: str
    configurations: list[Accuracy]
    published: float | None


def accuracies(retrained: Retrained, published: float | None) -> Accuracies:
    """Return each retrained configuration's test accuracies, their mean and its interval.

    Args:
        retrained: the retrained configurations.
        published: the baseline's published test accuracy, None if it is not comparable.
    """
    configurations = [
        Accuracy(
            row["name"].capitalize(),
            _kind(row),
            row["mean"],
            row["low"],
            row["high"],
            retrained.retrains.loc[retrained.retrains["config_id"] == row["config_id"], "test_accuracy"].tolist(),
            row["difference"],
            row["difference_low"],
            row["difference_high"],
            row["p_value"],
        )
        for row in rows_of(retrained.summary)
    ]
    over = "seeds and images" if (retrained.summary["seeds"] > 1).all() else "images"
    caption = f"Circles are single retrains, diamonds their means, bars 95 % intervals over {over}."
    if published is not None:
        caption += " Dotted is what was published for the baseline."
    if any(not math.isnan(shown.difference) for shown in configurations):
        caption += " Differences are paired: both configurations on the same images. A bar that crosses the line at 0"
        caption += " does not tell the two apart, before the correction for the number of comparisons."
    return Accuracies(_finding(retrained.best), caption, configurations, published)


def _kind(row: Mapping[str, Any]) -> str:
    if row["is_baseline"]:
        return "baseline"
    if row["is_start"]:
        return "start"
    return "best" if row["rank"] == 1 else "other"


def _finding(best: Mapping[str, Any]) -> str:
    """Return how accurate the best configuration is, and whether that is more than chance above the baseline."""
    one = best["seeds"] == 1
    who = f"One model of {best['name']}" if one else best["name"].capitalize()
    title = f"{who} classifies {percent(best['mean'])} of the test images correctly"
    if math.isnan(best["difference"]):
        return title
    whose = "the baseline's" if one else "the baseline"
    if best["p_value"] >= SIGNIFICANT:
        return f"{title}, which cannot be told from {whose} ({p_equation(best['p_value'])})"
    side = "above" if best["difference"] >= 0 else "below"
    return f"{title}, {abs(best['difference']) * 100:.2f} points {side} {whose} ({p_equation(best['p_value'])})"


_COLOURS = {"best": "best", "other": "near", "start": "start", "baseline": "base"}


def draw(data: Accuracies) -> Figure:
    """Draw each configuration's test accuracies and, where there is a baseline, the differences to it."""
    panels: list[Panel] = [_draw_accuracies(data)]
    compared = [shown for shown in data.configurations if not math.isnan(shown.difference)]
    if compared:
        panels.append(_draw_differences(compared, [shown.name for shown in data.configurations]))
    return Figure("test_accuracy", data.title, data.caption, panels, columns=len(panels))


def _height(count: int) -> int:
    return 34 + 46 * count


def _draw_accuracies(data: Accuracies) -> Panel:
    rows = [
        {
            "name": shown.name,
            "kind": shown.kind,
            "mean": hundredfold(shown.mean),
            "low": hundredfold(shown.low),
            "high": hundredfold(shown.high),
        }
        for shown in data.configurations
    ]
    names = [shown.name for shown in data.configurations]
    y = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelColor=ink("ink"), labelLimit=150, grid=False))
    colour = alt.Color("kind:N", scale=palette(_COLOURS), legend=None)
    scale = alt.Scale(zero=False, nice=True, padding=10)
    tooltip = [
        alt.Tooltip("name:N", title="configuration"),
        alt.Tooltip("mean:Q", title="test accuracy, %", format=".2f"),
        alt.Tooltip("low:Q", title="95 % interval from", format=".2f"),
        alt.Tooltip("high:Q", title="to", format=".2f"),
    ]
    base = chart(rows).encode(y=y, color=colour, tooltip=tooltip)
    bars = base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=scale, title="test accuracy, %"), x2="high:Q")
    means = base.mark_point(shape="diamond", size=130).encode(x="mean:Q")
    layers: list[alt.Chart] = [bars, _seeds(data, y, colour), means]
    if data.published is not None:
        line = [{"at": hundredfold(data.published), "text": f"published: {percent(data.published)}"}]
        rule = chart(line).mark_rule(strokeDash=[3, 3], color=ink("base")).encode(x="at:Q", tooltip="text:N")
        layers.insert(0, rule)
    return layered(layers, _height(len(rows)))


def _seeds(data: Accuracies, y: alt.Y, colour: alt.Color) -> alt.Chart:
    """Return each retrain's accuracy as a circle, below its configuration's mean."""
    rows = [
        {"name": shown.name, "kind": shown.kind, "accuracy": hundredfold(accuracy), "seed": place}
        for shown in data.configurations
        for place, accuracy in enumerate(shown.seeds, start=1)
    ]
    tooltip = [
        alt.Tooltip("name:N", title="configuration"),
        alt.Tooltip("seed:Q", title="retrain"),
        alt.Tooltip("accuracy:Q", title="test accuracy, %", format=".2f"),
    ]
    marks: alt.Chart = chart(rows).mark_point(filled=False, size=42, strokeWidth=1.3, yOffset=13)
    return marks.encode(x="accuracy:Q", y=y, color=colour, tooltip=tooltip)


def _draw_differences(compared: list[Accuracy], names: list[str]) -> Panel:
    rows = [
        {
            "name": shown.name,
            "kind": shown.kind,
            "difference": hundredfold(shown.difference),
            "low": hundredfold(shown.difference_low),
            "high": hundredfold(shown.difference_high),
            "p": p_equation(shown.p_value),
            "text": f"{shown.difference * 100:+.2f}".replace("-", "\N{MINUS SIGN}"),
        }
        for shown in compared
    ]
    y = alt.Y(
        "name:N",
        sort=names,
        scale=alt.Scale(domain=names),
        title=None,
        axis=alt.Axis(labelColor=ink("ink"), labelLimit=150, grid=False),
    )
    tooltip = [
        alt.Tooltip("name:N", title="configuration"),
        alt.Tooltip("difference:Q", title="points above the baseline", format="+.2f"),
        alt.Tooltip("low:Q", title="95 % interval from", format="+.2f"),
        alt.Tooltip("high:Q", title="to", format="+.2f"),
        alt.Tooltip("p:N", title="corrected"),
    ]
    base = chart(rows).encode(y=y, color=alt.Color("kind:N", scale=palette(_COLOURS), legend=None), tooltip=tooltip)
    title = "points above the baseline, paired"
    bars = base.mark_rule(strokeWidth=3).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(nice=True, padding=10)), x2="high:Q"
    )
    means = base.mark_point(shape="diamond", size=130).encode(x="difference:Q")
    texts = base.mark_text(dy=-13).encode(x="difference:Q", text="text:N", color=alt.value(ink("ink")))
    zero = chart([{"at": 0.0}]).mark_rule(color=ink("base"), strokeWidth=1.5).encode(x="at:Q")
    return layered([zero, bars, means, texts], _height(len(names)))
