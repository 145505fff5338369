"""How much of the slots' time was training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from tune_fmnist.store.record import SearchRecord

_MOST: Final = 100.0
"""Slots that seem busier than this were not counted: of a resumed search of version 1 those of all runs are unknown."""


def utilisation(record: SearchRecord, trials: pd.DataFrame, epochs: pd.DataFrame) -> tuple[float | None, float | None]:
    """Return training and evaluation seconds over slots x wall seconds: of the whole search, and while trials wait.

    Trials wait until the last one starts.  None stands for what is not known: both without a slot's time, the second
    for a search that was resumed, whose starts lie on both sides of a gap, or whose trials all began at once.

    Args:
        record: of the search.
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``.
    """
    slot_seconds = _slot_seconds(record)
    if slot_seconds is None or slot_seconds <= 0.0 or record.search_seconds <= 0.0:
        return None, None
    busy = epochs["train_seconds"] + epochs["eval_seconds"]
    overall = _known(float(busy.sum()) / slot_seconds)
    first = trials["started_at"].min()
    starts, ends = ((when - first).dt.total_seconds() for when in (trials["started_at"], epochs["reported_at"]))
    # Nodes may have come and gone: their mean.
    waited = utilisation_while_trials_wait(starts, ends, busy, slots=slot_seconds / record.search_seconds)
    return overall, None if record.resumed_at else _known(waited)


def _known(share: float) -> float | None:
    """Return a share to the fourth digit, None where a damaged record makes it none."""
    return round(share, 4) if 0.0 <= share <= _MOST else None


def _slot_seconds(record: SearchRecord) -> float | None:
    """Return the time of all slots; the first releases recorded their number only."""
    if record.slot_seconds is not None:
        return record.slot_seconds
    return None if record.placement is None else record.placement.slots * record.search_seconds


def utilisation_while_trials_wait(
    starts: pd.Series[float], ends: pd.Series[float], busy: pd.Series[float], slots: float
) -> float:
    """Return the share of the slots' time in training and evaluation between the first and the last trial's start.

    Args:
        starts: when each trial began, in seconds by any clock.
        ends: when each epoch was reported, by the same one.
        busy: seconds of each epoch in training and evaluation.
        slots: how many there were, 1 or more, in the mean.

    Returns:
        0 to 1; NaN where all trials began at once.
    """
    last = starts.max()
    window = float(last - starts.min())
    # An epoch that straddles the last start counts by the share of it that lies before.
    before = (busy - (ends - last).clip(lower=0.0)).clip(lower=0.0).sum()
    return float(before) / (slots * window) if slots * window > 0 else math.nan
