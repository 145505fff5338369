"""The trials by epoch: validation accuracies with the rungs, and how the best one and the baseline were trained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from tune_fmnist.base.vocabulary import STOPPED
from tune_fmnist.reporting.figures.style import (
    DEPTH,
    SHOWN_LINE,
    Figure,
    Panel,
    accuracy_scale,
    chart,
    hundredfold,
    ink,
    layered,
    palette,
    share_of_ink,
    whole_numbers,
)
from tune_fmnist.reporting.results import rows_of
from tune_fmnist.reporting.wording import percent

KINDS = {
    "stopped early": "rest",
    "other trials": "other",
    "ranks 2 and 3": "near",
    "baseline": "base",
    "first in rank": "best",
}
"""In the order in which they are drawn: later ones lie above."""

_QUIET: Final = ("stopped early", "other trials")


@dataclass(frozen=True)
class Curve:
    """One trial's validation accuracy (fractions) by epoch, with its number, status and score."""

    number: int
    kind: str
    status: str
    score: float
    epochs: list[int]
    accuracies: list[float]


@dataclass(frozen=True)
class LearningCurves:
    """What ``draw_learning_curves`` draws, in its order, and the epochs at which trials are stopped."""

    title: str
    caption: str
    curves: list[Curve]
    rungs: list[int]


def learning_curves(
    trials: pd.DataFrame, epochs: pd.DataFrame, ranked: pd.DataFrame, rungs: Iterable[int] = ()
) -> LearningCurves:
    """Return each trial's validation accuracy by epoch.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``, at least one.
        ranked: the trials that count, best first, at least one.
        rungs: the epochs at which the scheduler stops trials.
    """
    best = ranked.iloc[0]
    stopped = int((trials["status"] == STOPPED).sum())
    title = f"Trial {best['number']} ranks first with a score of {percent(best['score'])}"
    title += f"; {stopped} of {len(trials):,} trials were stopped early" if stopped else f", the best of {len(trials)}"
    floor = epochs["val_accuracy"].max() - DEPTH
    caption = "Validation accuracy after each epoch, one line per trial"
    if epochs["val_accuracy"].min() < floor:
        caption += f"; what lies under {percent(floor, 0)} is cut off"
    marked = list(rungs)
    if marked:
        caption += ". Dashed are the rungs, the epochs after which trials are stopped or wait"
    kinds = dict.fromkeys(ranked["number"].tolist()[1:3], "ranks 2 and 3")
    kinds |= {0: "baseline", best["number"]: "first in rank"}
    by_trial = {name: rows.sort_values("epoch") for name, rows in epochs.groupby("trial_id")}
    curves = []
    for trial in rows_of(trials.sort_values("number")):
        if (rows := by_trial.get(trial["trial_id"])) is not None:
            number, status = trial["number"], trial["status"]
            kind = kinds.get(number, "stopped early" if status == STOPPED else "other trials")
            points = rows["epoch"].tolist(), rows["val_accuracy"].tolist()
            curves.append(Curve(number, kind, status, trial["score"], *points))
    order = list(KINDS)
    curves.sort(key=lambda curve: (order.index(curve.kind), curve.number))
    return LearningCurves(title, f"{caption}.", curves, marked)


def draw_learning_curves(data: LearningCurves) -> Figure:
    """Draw each trial's validation accuracy by epoch, and the rungs."""
    everything = [accuracy for curve in data.curves for accuracy in curve.accuracies]
    # Without those the lines need no clipping, which costs a file of many lines half a minute.
    rows = [_row(curve, floor=max(everything) - DEPTH) for curve in data.curves]
    last = max(max(curve.epochs) for curve in data.curves)
    x = _epochs(last)
    y = alt.Y("accuracy:Q", title="validation accuracy, %", scale=accuracy_scale(everything))
    tips = [
        alt.Tooltip("n:Q", title="trial"),
        alt.Tooltip("score:Q", title="score, %", format=".2f"),
        alt.Tooltip("status:N"),
    ]
    kinds = [kind for kind in KINDS if any(curve.kind == kind for curve in data.curves)]
    pick = alt.selection_point(name="kind", fields=["kind"], bind="legend")
    flat = chart(rows).transform_flatten(["epoch", "accuracy"])
    base = flat.encode(
        x=x,
        y=y,
        detail="n:N",
        tooltip=tips,
        color=alt.Color("kind:N", scale=palette(KINDS, shown=kinds)),
        fillOpacity=alt.condition(SHOWN_LINE, alt.value(1.0), alt.value(0.06)),
    )
    others = [kind for kind in KINDS if kind not in _QUIET]
    paler = share_of_ink(len(data.curves))
    quiet, loud = (
        base.transform_filter(alt.FieldOneOfPredicate(field="kind", oneOf=kinds))
        .mark_line(strokeWidth=width)
        .encode(strokeOpacity=alt.condition(SHOWN_LINE, alt.value(opacity), alt.value(0.04)))
        for kinds, width, opacity in (([*_QUIET], 1.1, paler), (others, 2.4, 1.0))
    )
    # A trial of one epoch has no line.
    single = (
        base.transform_joinaggregate(count="count()", groupby=["n"])
        .transform_filter("datum.count == 1")
        .mark_point(size=22)
    )
    layers: list[alt.Chart] = [*_rungs(data.rungs, x), quiet.add_params(pick), single, loud]
    whole = layered(layers, 380, of_trials=True)
    return Figure("learning_curves", data.title, data.caption, [whole])


def _row(curve: Curve, floor: float) -> dict[str, Any]:
    """Return a trial's line, with gaps below the floor."""
    return {
        "n": curve.number,
        "kind": curve.kind,
        "status": curve.status,
        "score": hundredfold(curve.score),
        "epoch": curve.epochs,
        "accuracy": [hundredfold(accuracy) if accuracy >= floor else None for accuracy in curve.accuracies],
    }


def _rungs(epochs: list[int], x: alt.X) -> list[alt.Chart]:
    if not epochs:
        return []
    lines = chart({"epoch": epoch} for epoch in epochs).encode(x=x)
    tip = alt.Tooltip("epoch:Q", title="rung after epoch")
    rule = lines.mark_rule(strokeDash=[4, 3], color=ink("other")).encode(tooltip=tip)
    text = lines.mark_text(align="left", dx=4, baseline="top", color=ink("quiet"), fontSize=11)
    return [rule, text.encode(text="epoch:Q", y=alt.value(2))]


def _epochs(last: int) -> alt.X:
    axis = whole_numbers(1, max(2, last))
    return alt.X("epoch:Q", title="epoch", scale=alt.Scale(domain=[1, max(2, last)], nice=False), axis=axis)


@dataclass(frozen=True)
class TrainingCurve:
    """A trial's accuracy (fractions) or loss (nats) by epoch in training, or in validation."""

    trial: str
    is_baseline: bool
    on: str
    epochs: list[int]
    losses: list[float]
    accuracies: list[float]


@dataclass(frozen=True)
class TrainingCurves:
    """What ``draw_training_curves`` draws."""

    title: str
    caption: str
    curves: list[TrainingCurve]


def training_curves(epochs: pd.DataFrame, best: dict[str, Any], baseline: dict[str, Any] | None) -> TrainingCurves:
    """Return loss and accuracy in training and validation of the best trial, and of the baseline's.

    Args:
        epochs: rows of ``epochs.parquet``.
        best: row of ``trials.parquet`` of the best trial, which has reported.
        baseline: of trial 0; None if it is the best or has not reported.
    """
    curves, ends = [], []
    for trial in filter(None, (best, baseline)):
        rows = epochs[epochs["trial_id"] == trial["trial_id"]].sort_values("epoch")
        is_baseline = trial["number"] == 0
        name = "baseline" if is_baseline else f"trial {trial['number']}"
        last = rows.iloc[-1]
        gap = (last["train_accuracy"] - last["val_accuracy"]) * 100
        side = "above" if gap >= 0 else "below"
        ends.append(f"{abs(gap):.1f} points {side} validation for {'the ' if is_baseline else ''}{name}")
        for on, loss, accuracy in (
            ("training", "train_loss", "train_accuracy"),
            ("validation", "val_loss", "val_accuracy"),
        ):
            points = (rows[column].tolist() for column in ("epoch", loss, accuracy))
            curves.append(TrainingCurve(name, is_baseline, on, *points))
    caption = (
        "Validation is whole, training dashed. Training is measured over each epoch's steps, with dropout on, and so "
        "may lie below validation; the loss is the cross entropy in nats."
    )
    return TrainingCurves(f"Training accuracy ends {' and '.join(ends)}", caption, curves)


def draw_training_curves(data: TrainingCurves) -> Figure:
    """Draw loss and accuracy by epoch, in training dashed, in validation whole."""
    rows = [
        {
            "trial": curve.trial,
            "on": curve.on,
            "line": f"{curve.trial}, {curve.on}",
            "epoch": epoch,
            "loss": loss,
            "accuracy": hundredfold(accuracy),
        }
        for curve in data.curves
        for epoch, loss, accuracy in zip(curve.epochs, curve.losses, curve.accuracies, strict=True)
    ]
    colours = {curve.trial: "base" if curve.is_baseline else "best" for curve in data.curves}
    last = max(max(curve.epochs) for curve in data.curves)
    tips = [
        alt.Tooltip("line:N", title="curve"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("loss:Q", format=".4f"),
        alt.Tooltip("accuracy:Q", title="accuracy, %", format=".2f"),
    ]
    panels: list[Panel] = []
    for field, title in (("accuracy", "accuracy, %"), ("loss", "loss, nats")):
        dash = alt.StrokeDash("on:N", scale=alt.Scale(domain=["validation", "training"], range=[[1, 0], [5, 3]]))
        base = chart(rows).encode(
            x=_epochs(last),
            y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("trial:N", scale=palette(colours)),
            tooltip=tips,
        )
        lines = base.mark_line(strokeWidth=2.2).encode(strokeDash=dash)
        points = base.mark_point(size=90, opacity=0.0)
        panels.append(layered([lines, points], 260))
    return Figure("training_curves", data.title, data.caption, panels, 2, colours)
