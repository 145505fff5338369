"""What all figures share: sizes, colours, panels and the axis of an accuracy."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

DPI: Final = 110
SETTINGS: Final[dict[Any, float]] = {"font.size": 11.0, "legend.fontsize": 10.0}
"""Matplotlib's settings while figures are drawn and saved: large enough to read them at a phone's width."""

# Okabe and Ito's palette (2008): told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#000000"
GREY, DARK_GREY = "#BBBBBB", "#888888"

DEPTH: Final = 0.12
"""Accuracies further than this below the best are cut off: a failed start would flatten all the rest."""

_WIDTH: Final = 6.0


def figure_with(title: str, height: float) -> Figure:
    """Return an empty figure of the page's width under a title."""
    figure = Figure(figsize=(_WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(textwrap.fill(title, 62), x=0.01, ha="left", fontsize="medium", fontweight="bold")
    return figure


def panel(title: str, height: float = 4.3) -> tuple[Figure, Axes]:
    """Return a figure of one panel."""
    figure = figure_with(title, height)
    axes = figure.subplots()
    style(axes)
    return figure, axes


def style(axes: Axes) -> None:
    """Give a panel its grid, and take the frame away above and on the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def in_percent(axis: Any) -> None:
    """Write the fractions of an axis as percentages."""
    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def accuracy_axis(axes: Axes, accuracies: Iterable[float]) -> None:
    """Let the vertical axis hold these accuracies, but none further than ``DEPTH`` below the highest."""
    listed = [accuracy for accuracy in accuracies if not math.isnan(accuracy)]
    high = max(listed)
    low = max(min(listed), high - DEPTH)
    margin = 0.05 * (high - low) or 0.01
    axes.set_ylim(low - margin, high + margin)
    in_percent(axes.yaxis)
