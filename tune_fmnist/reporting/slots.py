"""What each slot did when: the trials as bars on as few rows as hold them, machine by machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final, NamedTuple

import pandas as pd

from tune_fmnist.reporting.results import rows_of

_PAUSE_SECONDS: Final = 1.0
"""What lies between two epochs of a trial at least where it left its slot."""


class Bar(NamedTuple):
    """A trial's time in a slot, in seconds since the first trial's start; rows count from 0 over all machines.

    ``epochs`` are those that the trial had at the end of this time, ``status`` is what became of it at last.
    """

    number: int
    node: str
    row: int
    begin: float
    end: float
    status: str
    epochs: int


def timeline(trials: pd.DataFrame, epochs: pd.DataFrame) -> list[Bar]:
    """Return the trials' times in slots, in the order of their starts.

    A trial that waited and went on later, or that was interrupted, has several.  On each machine a bar lies on the
    first row that is free: there are as many rows as trials ran at once.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``.
    """
    known = trials[trials["started_at"].notna()]
    if known["node"].notna().any():
        # One that has not reported yet, or failed before it did, has been on no machine that is known.
        known = known[known["node"].notna()]
    first = known["started_at"].min()
    own = dict(iter(epochs.sort_values("epoch").groupby("trial_id")))
    found = [bar for trial in rows_of(known) for bar in _bars(trial, own.get(trial["trial_id"]), first)]
    free: list[tuple[str, float]] = []
    bars: list[Bar] = []
    for bar in sorted(found, key=lambda bar: (bar.begin, bar.number)):
        row = next(
            (place for place, (node, until) in enumerate(free) if node == bar.node and until <= bar.begin), len(free)
        )
        free[row : row + 1] = [(bar.node, bar.end)]
        bars.append(bar._replace(row=row))
    return _by_machine(bars)


def most_at_once(bars: list[Bar]) -> int:
    """Return how many trials ran at the same time at most, on all machines together."""
    changes = sorted([(bar.begin, 1) for bar in bars] + [(bar.end, -1) for bar in bars])
    return max(accumulate(change for _, change in changes), default=0)


def _bars(trial: dict[str, Any], epochs: pd.DataFrame | None, first: pd.Timestamp) -> Iterator[Bar]:
    """Yield a trial's times in slots, each without a row yet; an epoch began its seconds before its report."""
    begin = end = (trial["started_at"] - first).total_seconds()
    bar = Bar(trial["number"], str(trial["node"] or ""), 0, begin, end, trial["status"], 0)
    if epochs is not None:
        spent = epochs["train_seconds"] + epochs["eval_seconds"] + epochs["overhead_seconds"]
        ends = (epochs["reported_at"] - first).dt.total_seconds()
        for epoch, began, ended in zip(epochs["epoch"], ends - spent, ends, strict=True):
            if bar.epochs and began - bar.end >= _PAUSE_SECONDS:
                yield bar
                bar = bar._replace(begin=began)
            bar = bar._replace(end=max(bar.begin, ended), epochs=int(epoch))
    yield bar


def _by_machine(bars: list[Bar]) -> list[Bar]:
    """Return the bars with the rows of each machine next to each other."""
    rows = sorted({(bar.node, bar.row) for bar in bars})
    places = {row: place for place, (_, row) in enumerate(rows)}
    return [bar._replace(row=places[bar.row]) for bar in bars]
