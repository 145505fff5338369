"""The pictures of a report, each drawn from the tables alone, with its finding as the title."""

from __future__ import annotations

import textwrap
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from tune_fmnist.base.vocabulary import CLASSES, DIVERGED, FAILED, STOPPED
from tune_fmnist.reporting.statistics import class_accuracy, confusion, shares
from tune_fmnist.reporting.wording import duration, percent

DPI: Final = 110
STYLE: Final[dict[Any, float]] = {"font.size": 11.0, "legend.fontsize": 10.0}
"""Matplotlib's settings while the pictures are drawn and saved: large enough to read them at a phone's width."""

# Okabe and Ito's palette (2008): told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"
GREY, DARK_GREY = "#BBBBBB", "#888888"
_TOP_COLOURS: Final = (BLUE, ORANGE, GREEN)

_WIDTH: Final = 6.0
_DEPTH: Final = 0.12
"""Accuracies further than this below the best are cut off: a failed start would flatten all the rest."""


class Drawing(NamedTuple):
    """A picture, its title, which says what it shows, and a sentence on how to read it."""

    figure: Figure
    title: str
    caption: str


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, ranked: pd.DataFrame) -> Drawing:
    """Draw each trial's validation accuracy by epoch.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``, at least one.
        ranked: the trials with a validation accuracy, best first, at least one.
    """
    best = ranked.iloc[0]
    stopped = int((trials["status"] == STOPPED).sum())
    title = f"Trial {best['number']} reached {percent(best['best_val_accuracy'])} in epoch {best['best_epoch']:.0f}"
    title += f"; {stopped} of {len(trials)} trials were stopped early" if stopped else f", the best of {len(trials)}"
    figure, axes = _panel(title)
    curves = {str(name): group.sort_values("epoch") for name, group in epochs.groupby("trial_id")}
    named: dict[str, int] = {}
    apart = {
        *ranked.loc[ranked["number"] != 0, "trial_id"][: len(_TOP_COLOURS)],
        *trials["trial_id"][trials["number"] == 0],
    }
    for _, trial in trials.sort_values("number").iterrows():
        curve = curves.get(trial["trial_id"])
        if curve is None or trial["trial_id"] in apart:
            continue
        kind = "stopped early" if trial["status"] == STOPPED else "other trials"
        named[kind] = named.get(kind, 0) + 1
        colour, label = GREY if kind == "stopped early" else DARK_GREY, kind if named[kind] == 1 else None
        # Most trials are stopped after one epoch: without a marker they would not be seen.
        axes.plot(curve["epoch"], curve["val_accuracy"], color=colour, linewidth=0.9, marker=".", label=label)
    for colour, (_, trial) in zip(_TOP_COLOURS, ranked[ranked["number"] != 0].iterrows(), strict=False):
        curve = curves[trial["trial_id"]]
        label = f"trial {trial['number']}: {percent(trial['best_val_accuracy'])}"
        axes.plot(curve["epoch"], curve["val_accuracy"], color=colour, linewidth=2, marker=".", label=label)
    first = trials[trials["number"] == 0]
    if len(first) and (curve := curves.get(first["trial_id"].iloc[0])) is not None:
        label = f"trial 0, the founding report's: {percent(first['best_val_accuracy'].iloc[0])}"
        axes.plot(curve["epoch"], curve["val_accuracy"], color=BLACK, linestyle="--", linewidth=2, label=label)
    _accuracy_axis(axes, epochs["val_accuracy"])
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    caption = "Validation accuracy after each epoch, one line a trial"
    if epochs["val_accuracy"].min() < (floor := epochs["val_accuracy"].max() - _DEPTH):
        caption += f"; what lies under {percent(floor, 0)} is cut off"
    return Drawing(figure, title, f"{caption}.")


def best_so_far(trials: pd.DataFrame, epochs: pd.DataFrame, published: float) -> Drawing:
    """Draw the best validation accuracy by the time since the first start.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``, at least one of a trial that did not diverge or fail.
        published: the founding report's validation accuracy.
    """
    lost = trials.loc[trials["status"].isin([DIVERGED, FAILED]), "trial_id"]
    told = epochs[~epochs["trial_id"].isin(lost)].sort_values("reported_at")
    began = min(trials["started_at"].min(), told["reported_at"].min())
    seconds = (told["reported_at"] - began).dt.total_seconds().to_numpy()
    best = told["val_accuracy"].cummax().to_numpy()
    scale, unit = (60.0, "minutes") if seconds[-1] >= 120 else (1.0, "seconds")
    first = trials.loc[trials["number"] == 0, "best_val_accuracy"].max()
    after = duration(float(seconds[best.argmax()]))
    title = f"The best validation accuracy, {percent(best[-1])}, was reached after {after}"
    if (above := best > first).any():
        title += f"; trial 0's was passed after {duration(float(seconds[above.argmax()]))}"
    figure, axes = _panel(title)
    axes.step(seconds / scale, best, where="post", color=BLUE, linewidth=2, label="best so far")
    if first == first:
        label = f"trial 0, the founding report's configuration: {percent(first)}"
        axes.axhline(first, color=BLACK, linestyle="--", label=label)
    axes.axhline(published, color=VERMILION, linestyle=":", label=f"the founding report's figure: {percent(published)}")
    _accuracy_axis(axes, pd.Series([*best, first, published]))
    axes.set(xlabel=f"{unit} since the first trial started", ylabel="validation accuracy", xlim=(0.0, None))
    axes.legend(loc="lower right")
    return Drawing(figure, title, "The best validation accuracy of any trial so far, by wall time.")


def tested_accuracies(tested: pd.DataFrame, retrains: pd.DataFrame, published: float) -> Drawing:
    """Draw each retrained configuration's test accuracies, their mean and its interval.

    Args:
        tested: rows of ``report.Tested.summary``, in the order to be drawn.
        retrains: rows of ``retrains.parquet``.
        published: the founding report's test accuracy.
    """
    best = tested.iloc[0]
    title = f"{best['name']} classifies {percent(best['mean'])} of the test images rightly"
    if best["difference"] == best["difference"]:
        sign = "above" if best["difference"] >= 0 else "below"
        title += f", {abs(best['difference']) * 100:.2f} points {sign} the founding report's configuration"
    figure, axes = _panel(title, height=1.5 + 0.55 * len(tested))
    for place, (_, row) in enumerate(tested.iterrows()):
        colour = VERMILION if row["is_baseline"] else BLUE
        seeds = retrains.loc[retrains["config_id"] == row["config_id"], "test_accuracy"]
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(row["mean"], place, "D", color=colour, markersize=7)
        axes.plot(seeds, [place + 0.24] * len(seeds), "o", color=colour, markerfacecolor="none", markersize=5)
    label = f"the founding report's figure: {percent(published)}"
    axes.axvline(published, color=BLACK, linestyle=":", label=label)
    axes.set_yticks(range(len(tested)), [textwrap.fill(name, 18) for name in tested["name"]])
    axes.set_ylim(len(tested) - 0.4, -0.6)
    axes.set_xlabel("test accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower right", frameon=False)
    over = "seeds and images" if (tested["seeds"] > 1).all() else "images"
    return Drawing(
        figure, title, f"Circles are single retrains, diamonds their means, bars 95 % intervals over {over}."
    )


def training_curves(retrain_epochs: pd.DataFrame, tested: pd.DataFrame) -> Drawing:
    """Draw the training loss and accuracy of the best configuration and the founding report's, a line a seed.

    Args:
        retrain_epochs: rows of ``retrain_epochs.parquet``.
        tested: rows of ``report.Tested.summary``, the best first.
    """
    drawn = tested[(tested["rank"] == 1) | tested["is_baseline"]]
    ends = []
    for _, row in drawn.iterrows():
        own = retrain_epochs[retrain_epochs["config_id"] == row["config_id"]]
        last = own[own["epoch"] == own["epoch"].max()]["train_accuracy"].mean()
        ends.append(f"{percent(last)} for {row['name'][0].lower()}{row['name'][1:]}")
    title = f"Training accuracy ends at {', at '.join(ends)}"
    figure = _figure(title, height=3.6)
    loss, accuracy = figure.subplots(1, 2)
    styles = zip((BLUE, VERMILION), ("-", "--"), strict=True)
    for (colour, line), (_, row) in zip(styles, drawn.iterrows(), strict=False):
        own = retrain_epochs[retrain_epochs["config_id"] == row["config_id"]].sort_values("epoch")
        for number, (_, curve) in enumerate(own.groupby("seed")):
            label = None if number else row["name"]
            loss.plot(curve["epoch"], curve["train_loss"], color=colour, linestyle=line, label=label)
            accuracy.plot(curve["epoch"], curve["train_accuracy"], color=colour, linestyle=line)
    for axes, name in ((loss, "training loss, nats"), (accuracy, "training accuracy")):
        _style(axes)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return Drawing(figure, title, "Loss and accuracy over each epoch's steps, with dropout on, one line a seed.")


def confusion_matrix(label: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]]) -> Drawing:
    """Draw which classes are taken for which, each row in percent of its class."""
    part = shares(confusion(label, predicted)) * 100
    right = class_accuracy(label, predicted)
    hard, easy = int(np.nanargmin(right)), int(np.nanargmax(right))
    title = f"The hardest class is {CLASSES[hard]}, {percent(right[hard], 1)} of it classified rightly"
    title += f"; the easiest {CLASSES[easy]}, {percent(right[easy], 1)}"
    figure, axes = _panel(title, height=6.0)
    # The square root of the share, or the mistakes would all look white beside the diagonal.
    axes.imshow(part, cmap="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=100.0))
    for (row, column), value in np.ndenumerate(part):
        if value > 0.0:
            colour = "white" if value > 40.0 else "black"
            text = f"{value:.1f}" if value >= 0.05 else "<0.1"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9.5)
    axes.set_xticks(range(len(CLASSES)), CLASSES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(CLASSES)), CLASSES)
    axes.set(xlabel="taken for", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return Drawing(figure, title, "Percent of each true class (row) taken for each class (column), all seeds together.")


def _figure(title: str, height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(textwrap.fill(title, 62), x=0.01, ha="left", fontsize="medium", fontweight="bold")
    return figure


def _panel(title: str, height: float = 4.3) -> tuple[Figure, Axes]:
    figure = _figure(title, height)
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def _accuracy_axis(axes: Axes, accuracies: pd.Series[float]) -> None:
    low, high = accuracies.min(), accuracies.max()
    low = max(low, high - _DEPTH)
    margin = 0.05 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
