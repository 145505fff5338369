"""The trials by epoch, and the best score so far by time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tune_fmnist.base.vocabulary import COMPLETED, STOPPED
from tune_fmnist.reporting.figures.style import (
    BLACK,
    BLUE,
    DARK_GREY,
    DEPTH,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    accuracy_axis,
    panel,
)
from tune_fmnist.reporting.wording import counted, duration, percent

_TOP: Final = (BLUE, ORANGE, GREEN)
"""The colours of the best trials."""

_BASELINE: Final[dict[str, Any]] = {"color": BLACK, "linestyle": "--", "linewidth": 2}
_PLAIN: Final[dict[str, dict[str, Any]]] = {
    # Most trials are stopped after one epoch: without a marker they would not be seen.
    "stopped early": {"color": GREY, "linewidth": 0.9, "marker": "."},
    "other trials": {"color": DARK_GREY, "linewidth": 0.9, "marker": "."},
}


@dataclass(frozen=True)
class Curve:
    """One trial's validation accuracy by epoch; ``label`` stands in the legend, once for all curves that share it."""

    kind: Literal["stopped early", "other trials", "top", "baseline"]
    label: str
    epochs: list[int]
    accuracies: list[float]


@dataclass(frozen=True)
class LearningCurves:
    """What ``draw_learning_curves`` draws, in its order: later curves lie above earlier ones."""

    title: str
    caption: str
    curves: list[Curve]


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, ranked: pd.DataFrame) -> LearningCurves:
    """Return each trial's validation accuracy by epoch.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``, at least one.
        ranked: the trials that count, best first, at least one.
    """
    best = ranked.iloc[0]
    stopped = int((trials["status"] == STOPPED).sum())
    title = f"Trial {best['number']} ranks first with a score of {percent(best['score'])}"
    title += f"; {stopped} of {len(trials)} trials were stopped early" if stopped else f", the best of {len(trials)}"
    floor = epochs["val_accuracy"].max() - DEPTH
    caption = "Validation accuracy after each epoch, one line per trial; in the legend, scores"
    if epochs["val_accuracy"].min() < floor:
        caption += f"; what lies under {percent(floor, 0)} is cut off"
    top = ranked.loc[ranked["number"] != 0, "number"].tolist()[: len(_TOP)]
    plain = sorted(trials.loc[~trials["number"].isin([0, *top]), "number"])
    baseline = trials.loc[trials["number"] == 0, "number"].tolist()
    by_number = trials.set_index("number")
    by_trial = {name: rows.sort_values("epoch") for name, rows in epochs.groupby("trial_id")}
    curves = []
    for number in [*plain, *top, *baseline]:
        trial = by_number.loc[number]
        if trial["trial_id"] in by_trial:
            curves.append(_curve(number, trial, by_trial[trial["trial_id"]], is_top=number in top))
    return LearningCurves(title, f"{caption}.", curves)


def _curve(number: int, trial: pd.Series[Any], rows: pd.DataFrame, *, is_top: bool) -> Curve:
    points = rows["epoch"].tolist(), rows["val_accuracy"].tolist()
    if number == 0:
        return Curve("baseline", f"trial 0, the baseline: {percent(trial['score'])}", *points)
    if is_top:
        return Curve("top", f"trial {number}: {percent(trial['score'])}", *points)
    kind: Literal["stopped early", "other trials"] = "stopped early" if trial["status"] == STOPPED else "other trials"
    return Curve(kind, kind, *points)


def draw_learning_curves(data: LearningCurves) -> Figure:
    """Draw each trial's validation accuracy by epoch."""
    figure, axes = panel(data.title)
    colours, labels = iter(_TOP), set[str]()
    for curve in data.curves:
        if curve.kind == "top":
            look: dict[str, Any] = {"color": next(colours), "linewidth": 2, "marker": "."}
        else:
            look = _BASELINE if curve.kind == "baseline" else _PLAIN[curve.kind]
        label = None if curve.label in labels else curve.label
        labels.add(curve.label)
        axes.plot(curve.epochs, curve.accuracies, label=label, **look)
    accuracy_axis(axes, [accuracy for curve in data.curves for accuracy in curve.accuracies])
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return figure


@dataclass(frozen=True)
class BestSoFar:
    """What ``draw_best_so_far`` draws; ``baseline`` is None before it has reported, ``published`` if not comparable."""

    title: str
    caption: str
    seconds: list[float]
    best: list[float]
    baseline: float | None
    published: float | None


def best_so_far(trials: pd.DataFrame, epochs: pd.DataFrame, published: float | None) -> BestSoFar:
    """Return the best score of the trials that had reached the last epoch, by the time since the first start.

    Args:
        trials: rows of ``trials.parquet``, at least one of a trial that reached the last epoch.
        epochs: rows of ``epochs.parquet``.
        published: the baseline's published validation accuracy, None if it is not comparable.
    """
    ends = epochs.groupby("trial_id")["reported_at"].max().rename("ended_at")
    kept = trials[trials["status"] == COMPLETED].join(ends, on="trial_id").sort_values("ended_at")
    began = min(trials["started_at"].min(), epochs["reported_at"].min())
    seconds = (kept["ended_at"] - began).dt.total_seconds().to_numpy()
    best = kept["score"].cummax().to_numpy()
    reached = float(trials.loc[trials["number"] == 0, "score"].max())
    baseline = None if math.isnan(reached) else reached
    after = duration(float(seconds[best.argmax()]))
    title = f"The best score, {percent(best[-1])}, was reached after {after}"
    if baseline is not None and best[-1] > baseline:
        title += f"; the baseline's was passed after {duration(float(seconds[(best > baseline).argmax()]))}"
    caption = f"The best score so far of the {counted(len(kept), 'trial')} that reached the last epoch, by wall time."
    return BestSoFar(title, caption, seconds.tolist(), best.tolist(), baseline, published)


def draw_best_so_far(data: BestSoFar) -> Figure:
    """Draw the best score by time."""
    figure, axes = panel(data.title)
    scale, unit = (60.0, "minutes") if data.seconds[-1] >= 120 else (1.0, "seconds")
    times = [seconds / scale for seconds in data.seconds]
    axes.step(times, data.best, where="post", color=BLUE, linewidth=2, label="best so far")
    shown = list(data.best)
    if data.baseline is not None:
        label = f"baseline, trial 0: {percent(data.baseline)}"
        axes.axhline(data.baseline, color=BLACK, linestyle="--", label=label)
        shown.append(data.baseline)
    if data.published is not None:
        label = f"baseline, as published: {percent(data.published)}"
        axes.axhline(data.published, color=VERMILION, linestyle=":", label=label)
        shown.append(data.published)
    accuracy_axis(axes, shown)
    axes.set(xlabel=f"{unit} since the first trial started", ylabel="score", xlim=(0.0, None))
    axes.legend(loc="lower right")
    return figure
