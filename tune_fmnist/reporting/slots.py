"""What each slot did when: the trials as bars on as few rows as hold them, machine by machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from tune_fmnist.reporting.results import rows_of


class Bar(NamedTuple):
    """A trial's time in a slot, in seconds since the first trial's start; rows count from 0 over all machines."""

    number: int
    node: str
    row: int
    begin: float
    end: float
    status: str
    epochs: int


def timeline(trials: pd.DataFrame, epochs: pd.DataFrame) -> list[Bar]:
    """Return the trials' times, in the order of their starts.

    A trial of a search that was interrupted, and went on later, spans the time between.  On each machine a trial lies
    on the first row that is free: there are as many rows as trials ran at once.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``.
    """
    ends = epochs.groupby("trial_id")["reported_at"].max().rename("ended_at")
    known = trials[trials["started_at"].notna()].join(ends, on="trial_id").sort_values(["started_at", "number"])
    if known.empty:
        return []
    first = known["started_at"].min()
    bars: list[Bar] = []
    free: list[tuple[str, float]] = []
    for trial in rows_of(known):
        begin, end = _span(trial, first)
        node = str(trial["node"] or "")
        row = next((place for place, (own, until) in enumerate(free) if own == node and until <= begin), len(free))
        if row == len(free):
            free.append((node, end))
        free[row] = (node, end)
        bars.append(Bar(trial["number"], node, row, begin, end, trial["status"], trial["epochs"]))
    return _by_machine(bars)


def _span(trial: dict[str, Any], first: pd.Timestamp) -> tuple[float, float]:
    begin = (trial["started_at"] - first).total_seconds()
    ended = trial["ended_at"]
    reported = begin if pd.isna(ended) else (ended - first).total_seconds()
    return begin, max(begin, reported)


def _by_machine(bars: list[Bar]) -> list[Bar]:
    """Return the bars with the rows of each machine next to each other."""
    rows = sorted({(bar.node, bar.row) for bar in bars})
    places = {row: place for place, (_, row) in enumerate(rows)}
    return [bar._replace(row=places[bar.row]) for bar in bars]
