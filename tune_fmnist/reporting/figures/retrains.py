"""The retrained configurations: test accuracies with their intervals, and how they were trained."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tune_fmnist.reporting.figures.style import BLACK, BLUE, VERMILION, figure_with, in_percent, panel, style
from tune_fmnist.reporting.results import rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import SIGNIFICANT
from tune_fmnist.reporting.wording import p_equation, percent


@dataclass(frozen=True)
class Accuracy:
    """One configuration's mean test accuracy, the ends of its 95 % interval, and the accuracy of each seed."""

    name: str
    is_baseline: bool
    mean: float
    low: float
    high: float
    seeds: list[float]


@dataclass(frozen=True)
class Accuracies:
    """What ``draw_retrained_accuracies`` draws, from the top down; ``published`` is None if it is not comparable."""

    title: str
    caption: str
    configurations: list[Accuracy]
    published: float | None


def retrained_accuracies(retrained: Retrained, published: float | None) -> Accuracies:
    """Return each retrained configuration's test accuracies, their mean and its interval.

    Args:
        retrained: the retrained configurations.
        published: the baseline's published test accuracy, None if it is not comparable.
    """
    configurations = [
        Accuracy(
            row["name"].capitalize(),
            row["is_baseline"],
            row["mean"],
            row["low"],
            row["high"],
            retrained.retrains.loc[retrained.retrains["config_id"] == row["config_id"], "test_accuracy"].tolist(),
        )
        for row in rows_of(retrained.summary)
    ]
    over = "seeds and images" if (retrained.summary["seeds"] > 1).all() else "images"
    caption = f"Circles are single retrains, diamonds their means, bars 95 % intervals over {over}."
    return Accuracies(_finding(retrained.best), caption, configurations, published)


def _finding(best: Mapping[str, Any]) -> str:
    """Return how accurate the best configuration is, and whether that is more than chance above the baseline."""
    one = best["seeds"] == 1
    who = f"One model of {best['name']}" if one else best["name"].capitalize()
    title = f"{who} classifies {percent(best['mean'])} of the test images correctly"
    if math.isnan(best["difference"]):
        return title
    side = "above" if best["difference"] >= 0 else "below"
    title += f", {abs(best['difference']) * 100:.2f} points {side} the baseline" + ("'s" if one else "")
    if best["p_value"] < SIGNIFICANT:
        return f"{title} ({p_equation(best['p_value'])})"
    return f"{title}, which may be chance ({p_equation(best['p_value'])})"


def draw_retrained_accuracies(data: Accuracies) -> Figure:
    """Draw each retrained configuration's test accuracies, their mean and its interval."""
    figure, axes = panel(data.title, height=1.5 + 0.55 * len(data.configurations))
    for place, shown in enumerate(data.configurations):
        colour = VERMILION if shown.is_baseline else BLUE
        axes.plot([shown.low, shown.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot(shown.mean, place, "D", color=colour, markersize=7)
        heights = [place + 0.24] * len(shown.seeds)
        axes.plot(shown.seeds, heights, "o", color=colour, markerfacecolor="none", markersize=5)
    if data.published is not None:
        label = f"baseline, as published: {percent(data.published)}"
        axes.axvline(data.published, color=BLACK, linestyle=":", label=label)
        figure.legend(loc="outside lower right", frameon=False)
    names = [textwrap.fill(shown.name, 18) for shown in data.configurations]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("test accuracy")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    in_percent(axes.xaxis)
    axes.grid(axis="y", visible=False)
    return figure


@dataclass(frozen=True)
class TrainingCurve:
    """One retrain by epoch; ``name`` is its configuration's."""

    name: str
    is_baseline: bool
    epochs: list[int]
    losses: list[float]
    accuracies: list[float]


@dataclass(frozen=True)
class TrainingCurves:
    """What ``draw_training_curves`` draws."""

    title: str
    caption: str
    curves: list[TrainingCurve]


def training_curves(retrain_epochs: pd.DataFrame, retrained: Retrained) -> TrainingCurves:
    """Return the training loss and accuracy of the best configuration and the baseline, one curve per seed.

    Args:
        retrain_epochs: rows of ``retrain_epochs.parquet``.
        retrained: the retrained configurations.
    """
    curves, ends = [], []
    for row in rows_of(retrained.summary):
        if row["rank"] != 1 and not row["is_baseline"]:
            continue
        own = retrain_epochs[retrain_epochs["config_id"] == row["config_id"]].sort_values("epoch")
        last = own.loc[own["epoch"] == own["epoch"].max(), "train_accuracy"].mean()
        name, is_baseline = row["name"].capitalize(), row["is_baseline"]
        ends.append(f"{percent(last)} for {'the ' if is_baseline else ''}{row['name']}")
        for _, curve in own.groupby("seed"):
            columns = (curve[column].tolist() for column in ("epoch", "train_loss", "train_accuracy"))
            curves.append(TrainingCurve(name, is_baseline, *columns))
    caption = "Loss (cross entropy in nats) and accuracy over each epoch's steps, with dropout on, one line per seed."
    return TrainingCurves(f"Training accuracy ends at {', at '.join(ends)}", caption, curves)


def draw_training_curves(data: TrainingCurves) -> Figure:
    """Draw training loss and accuracy by epoch."""
    figure = figure_with(data.title, height=3.6)
    loss, accuracy = figure.subplots(1, 2)
    names: set[str] = set()
    for curve in data.curves:
        look: dict[str, Any] = {"color": VERMILION, "linestyle": "--"} if curve.is_baseline else {"color": BLUE}
        label = None if curve.name in names else curve.name
        names.add(curve.name)
        loss.plot(curve.epochs, curve.losses, label=label, **look)
        accuracy.plot(curve.epochs, curve.accuracies, **look)
    for axes, name in ((loss, "training loss"), (accuracy, "training accuracy")):
        style(axes)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    in_percent(accuracy.yaxis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
