"""What each trial's score would be at the last epoch, estimated from all trials: it makes stopped trials comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from tune_fmnist.base.metrics import DIVERGED_SCORE

_FENCE: Final = 3.0
"""Interquartile ranges below the median at which poor estimates are cut off: how poor they are teaches nothing."""


def estimates(curves: Sequence[Mapping[int, float]]) -> list[float]:
    """Return an estimate of each trial's score at the last epoch that any trial has reached.

    To a trial's last score is added what others gained after that epoch: epoch by epoch, the median over the trials
    that went on.  Those were better than the ones that were stopped, so that a poor trial's estimate is too high; but
    trials that ended at one epoch keep their order, and going on is no merit in itself.

    Estimates far below the others are raised to a common least one, and a trial that diverged has the least of all.

    Args:
        curves: for each trial its score after each epoch, from 1 on; none is empty.
    """
    if not curves:
        return []
    ahead = _gains(curves)
    last = [max(curve) for curve in curves]
    diverged = [curve[epoch] == DIVERGED_SCORE for curve, epoch in zip(curves, last, strict=True)]
    expected = [curve[epoch] + ahead[epoch] for curve, epoch in zip(curves, last, strict=True)]
    sound = [value for value, lost in zip(expected, diverged, strict=True) if not lost] or [DIVERGED_SCORE]
    low, middle, high = np.quantile(sound, [0.25, 0.5, 0.75]).tolist()
    least = max(min(sound), middle - _FENCE * (high - low))
    return [least if lost else max(value, least) for value, lost in zip(expected, diverged, strict=True)]


def _gains(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return what a trial gains from each epoch to the last one."""
    horizon = max(max(curve) for curve in curves)
    ahead = {horizon: 0.0}
    for epoch in range(horizon - 1, 0, -1):
        following = [(curve[epoch], curve[epoch + 1]) for curve in curves if epoch in curve and epoch + 1 in curve]
        gains = [after - before for before, after in following if after != DIVERGED_SCORE]
        ahead[epoch] = ahead[epoch + 1] + (float(np.median(gains)) if gains else 0.0)
    return ahead
