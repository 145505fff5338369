"""Which classes are predicted as which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tune_fmnist.base.metrics import confusion, shares
from tune_fmnist.reporting.figures.style import panel
from tune_fmnist.reporting.wording import percent


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
    title = (
        f"Of the {len(classes)} classes, {classes[low]} has the lowest accuracy, {percent(right[low], 1)}, "
        f"and {classes[high]} the highest, {percent(right[high], 1)}"
    )
    caption = "Percent of each true class (row) predicted as each class (column), all seeds together."
    return ConfusionMatrix(title, caption, tuple(classes), part * 100.0)


def draw_confusion_matrix(data: ConfusionMatrix) -> Figure:
    """Draw a confusion matrix with each share in its cell."""
    figure, axes = panel(data.title, height=6.0)
    # The square root of the share, or the mistakes would all look white beside the diagonal.
    axes.imshow(data.percents, cmap="Blues", norm=PowerNorm(0.5, vmin=0.0, vmax=100.0))
    for (row, column), value in np.ndenumerate(data.percents):
        if value > 0.0:
            colour = "white" if value > 40.0 else "black"
            text = f"{value:.1f}" if value >= 0.05 else "<0.1"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9.5)
    axes.set_xticks(range(len(data.classes)), data.classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(data.classes)), data.classes)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure
