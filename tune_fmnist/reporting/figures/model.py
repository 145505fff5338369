"""The tested model: which classes are taken for which, and whether its confidence can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tune_fmnist.base.metrics import confusion, shares
from tune_fmnist.reporting.calibration import Bin, calibration_errors, reliability
from tune_fmnist.reporting.figures.style import Figure, chart, hundredfold, ink, layered, palette
from tune_fmnist.reporting.wording import percent

_LABELLED: Final = 20
"""Classes up to which the cells of a confusion matrix hold their shares, and the classes have names on the axes."""

_LISTED: Final = 30
"""Classes that the figure of accuracies holds, the lowest first."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """What ``draw_confusion_matrix`` draws: ``percents`` (classes, classes) of each true class, row by row."""

    title: str
    caption: str
    classes: tuple[str, ...]
    percents: NDArray[np.float64]


def confusion_matrix(
    label: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: Sequence[str]
) -> ConfusionMatrix:
    """Return which classes are predicted as which, each row in percent of its class; ``classes`` are their names."""
    part = shares(confusion(label, predicted, len(classes)))
    right = np.diagonal(part)
    low, high = int(np.nanargmin(right)), int(np.nanargmax(right))
    title = f"Each of the {len(classes)} classes has an accuracy of {percent(right[low], 1)}"
    if right[low] < right[high]:
        title = (
            f"Of the {len(classes)} classes, {classes[low]} has the lowest accuracy, {percent(right[low], 1)}, "
            f"and {classes[high]} the highest, {percent(right[high], 1)}"
        )
    caption = "Percent of each true class (row) predicted as each class (column), all seeds together; right answers "
    caption += "lie on the diagonal, mistakes beside it."
    return ConfusionMatrix(title, caption, tuple(classes), part * 100.0)


def draw_confusion_matrix(data: ConfusionMatrix) -> Figure:
    """Draw a confusion matrix, mistakes in a colour of their own; where classes are few, cells hold their shares."""
    rows = [
        {
            "true": data.classes[row],
            "predicted": data.classes[column],
            "share": round(float(value), 2),
            "right": "right" if row == column else "mistake",
            "text": f"{value:.{0 if value >= 9.95 else 1}f}" if value >= 0.05 else "",
        }
        for (row, column), value in np.ndenumerate(data.percents)
        if value > 0.0
    ]
    few = len(data.classes) <= _LABELLED
    order = list(data.classes)
    axis = alt.Axis(grid=False, labels=few, ticks=False, domain=False, labelColor=ink("ink"), labelOverlap=False)
    y = alt.Y("true:N", sort=order, scale=alt.Scale(domain=order), title="true class", axis=axis)
    turned = alt.Axis(**axis.to_dict(), labelAngle=-45)
    x = alt.X("predicted:N", sort=order, scale=alt.Scale(domain=order), title="predicted class", axis=turned)
    tips = [
        alt.Tooltip("true:N", title="true class"),
        alt.Tooltip("predicted:N", title="predicted as"),
        alt.Tooltip("share:Q", title="% of the class", format=".2f"),
    ]
    base = chart(rows).encode(x=x, y=y, tooltip=tips)
    # The square root of the share, or the mistakes would all look empty beside the diagonal.
    opacity = alt.Opacity("share:Q", scale=alt.Scale(type="sqrt", domain=[0, 100], range=[0.02, 0.75]), legend=None)
    colour = alt.Color("right:N", scale=palette({"right": "best", "mistake": "base"}), legend=None)
    cells = base.mark_rect(cornerRadius=2).encode(opacity=opacity, color=colour)
    texts = base.mark_text(fontSize=11).encode(text="text:N")
    height = 40 * len(order) if few else 620
    whole = layered([cells, texts] if few else [cells], height)
    return Figure("confusion", data.title, data.caption, [whole])


@dataclass(frozen=True)
class ClassAccuracy:
    """The accuracy on a class's test images of the best configuration and the baseline, fractions."""

    name: str
    best: float
    baseline: float


def draw_classes(rows: Sequence[ClassAccuracy]) -> Figure:
    """Draw the accuracy on each class of the best configuration beside the baseline's, the lowest first."""
    ordered = sorted(rows, key=lambda row: 1.0 if math.isnan(row.best) else row.best)[:_LISTED]
    compared = any(not math.isnan(row.baseline) for row in ordered)
    points = [
        {"class": row.name, "kind": kind, "accuracy": hundredfold(accuracy)}
        for row in ordered
        for kind, accuracy in (("baseline", row.baseline), ("best", row.best))
        if not math.isnan(accuracy)
    ]
    spans = [
        {"class": row.name, "low": hundredfold(row.baseline), "high": hundredfold(row.best)}
        for row in ordered
        if compared
    ]
    axis = alt.Axis(labelColor=ink("ink"), labelLimit=130, grid=False)
    y = alt.Y("class:N", sort=[row.name for row in ordered], title=None, axis=axis)
    scale = alt.Scale(zero=False, padding=10)
    colours = palette({"best": "best", "baseline": "base"}, shown=[str(point["kind"]) for point in points])
    tips = [alt.Tooltip("class:N"), alt.Tooltip("kind:N"), alt.Tooltip("accuracy:Q", title="accuracy, %", format=".2f")]
    dots = (
        chart(points)
        .mark_point(size=110)
        .encode(
            x=alt.X("accuracy:Q", scale=scale, title="accuracy on the class, %"),
            y=y,
            color=alt.Color("kind:N", scale=colours),
            shape=alt.Shape(
                "kind:N", scale=alt.Scale(domain=["best", "baseline"], range=["diamond", "circle"]), legend=None
            ),
            tooltip=tips,
        )
    )
    rules = chart(spans).mark_rule(strokeWidth=2, color=ink("rest")).encode(x="low:Q", x2="high:Q", y=y)
    whole = layered([rules, dots] if compared else [dots], 30 * len(ordered) + 20)
    better = sum(row.best > row.baseline for row in rows)
    title = "Accuracy on each class, the lowest first"
    if compared:
        title = f"On {better} of {len(rows)} classes the best configuration has more right than the baseline"
    caption = "Means over the retrains' seeds. Single classes are not tested for chance."
    if len(rows) > len(ordered):
        caption += f" Shown are the {len(ordered)} lowest of {len(rows)} classes."
    return Figure("classes", title, caption, [whole])


@dataclass(frozen=True)
class Reliability:
    """What ``draw_reliability`` draws; ``errors`` are the seeds' expected calibration errors, fractions."""

    title: str
    caption: str
    bins: list[Bin]
    errors: list[float]


def reliability_of(predictions: pd.DataFrame) -> Reliability:
    """Return how confidence and accuracy agree.

    Args:
        predictions: rows of ``predictions.parquet`` of one configuration.
    """
    # A model that diverged is sure of nothing.
    predictions = predictions[predictions["confidence"].notna()]
    correct = (predictions["label"] == predictions["predicted"]).to_numpy()
    bins = reliability(predictions["confidence"].to_numpy(), correct)
    errors = calibration_errors(predictions)
    confidence, accuracy = float(predictions["confidence"].mean()), float(correct.mean())
    title = (
        f"The models are {percent(confidence, 1)} sure of their answers, and {percent(accuracy, 1)} of these are right"
    )
    mean = sum(errors) / len(errors)
    spread = (
        "" if len(errors) == 1 else f" ({min(errors) * 100:.2f} to {max(errors) * 100:.2f} over {len(errors)} seeds)"
    )
    caption = (
        f"Expected calibration error (ECE, 15 bins) {mean * 100:.2f} points{spread}. Each circle holds the predictions "
        "of one bin of confidence; on the dashed line, claim and truth agree. On the right, how many there are in each."
    )
    return Reliability(title, caption, bins, errors)


def draw_reliability(data: Reliability) -> Figure:
    """Draw accuracy against confidence, and how many predictions have which confidence."""
    rows = [
        {
            "confidence": hundredfold(own.confidence),
            "accuracy": hundredfold(own.accuracy),
            "share": hundredfold(own.share),
            "low": own.low * 100.0,
            "high": own.high * 100.0,
            "zero": 0.0,
            "bin": f"{own.low * 100:.0f} to {own.high * 100:.0f} %",
        }
        for own in data.bins
    ]
    tips = [
        alt.Tooltip("bin:N", title="confidence"),
        alt.Tooltip("accuracy:Q", title="right, %", format=".1f"),
        alt.Tooltip("share:Q", title="% of the predictions", format=".2f"),
    ]
    x = alt.X("confidence:Q", title="confidence, %", scale=alt.Scale(domain=[0, 100]))
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(domain=[0, 100]))
    ideal = chart([{"confidence": 0, "accuracy": 0}, {"confidence": 100, "accuracy": 100}])
    line = ideal.mark_line(color=ink("other"), strokeDash=[5, 4], strokeWidth=1.4).encode(x=x, y=y)
    base = chart(rows).encode(x=x, y=y, tooltip=tips)
    track = base.mark_line(color=ink("best"), strokeWidth=1.5)
    points = base.mark_point(color=ink("best"), stroke=ink("page"), strokeWidth=1, size=80)
    diagram = layered([line, track, points], 300)
    bars = (
        chart(rows)
        .mark_bar(color=ink("near"), stroke=ink("page"))
        .encode(
            x=alt.X("low:Q", title="confidence, %", scale=alt.Scale(domain=[0, 100])),
            x2="high:Q",
            y=alt.Y("share:Q", title="predictions, %"),
            y2="zero:Q",
            tooltip=tips,
        )
    )
    return Figure("reliability", data.title, data.caption, [diagram, bars.properties(height=300)], columns=2)
