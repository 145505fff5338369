"""Confusion counts and the accuracy of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]


def confusion(label: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Return how many images of each true class (row) were taken for each class (column): (classes, classes)."""
    cells = np.bincount(label.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a confusion matrix with each row divided by its sum; a class without images gives NaN."""
    totals = counts.sum(axis=1, keepdims=True).astype(np.float64)
    totals[totals == 0.0] = np.nan
    divided: NDArray[np.float64] = counts / totals
    return divided


def class_accuracy(label: Labels, predicted: Labels, classes: int) -> NDArray[np.float64]:
    """Return the accuracy on the images of each class (classes,); NaN for a class without images."""
    return np.diagonal(shares(confusion(label, predicted, classes))).copy()
