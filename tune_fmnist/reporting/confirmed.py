"""The configurations that were confirmed: how they rank, which cannot be told apart, and how lucky the winner was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.statistics import Comparison, compare_with_first, interval
from tune_fmnist.reporting.wording import configuration_name, settings
from tune_fmnist.store.confirmation_table import hits
from tune_fmnist.store.ranking import confirmed, start_id


@dataclass(frozen=True)
class Confirmed:
    """The confirmed configurations.

    Attributes:
        summary: one row per configuration, by rank: the trial's ``number``, ``config_id``, ``name`` and ``settings`` in
            words, the trial's ``score`` and ``epochs``, and of the confirmations how many ``seeds`` there are, how many
            ``diverged``, their ``lowest`` and ``highest`` score, and ``mean``, ``std``, ``low`` and ``high`` of the
            score: 95 % over seeds and images.
        against_first: each further rank but the baseline's and the start's, compared with the first; None where a
            configuration has a single seed.
        winner: the row of the configuration that ranked first among the trials, before the confirmations.
        trials: how many trials it was the best of.
    """

    summary: pd.DataFrame
    against_first: dict[int, Comparison] | None
    winner: dict[str, Any]
    trials: int

    @property
    def optimism(self) -> float:
        """By how much the best trial's score, a fraction, is above what its configuration scored again."""
        return float(self.winner["score"] - self.winner["mean"])

    @classmethod
    def of(cls, results: Results) -> Self | None:
        """Return what has been confirmed, None if nothing has."""
        rows = rows_of(results.confirmations)
        if not rows:
            return None
        trials = results.ranked.drop_duplicates("config_id").set_index("config_id")
        shares = {name: _shares(rows, name, results.record.validation_size) for name in confirmed(rows)}
        first = results.record.baseline_id
        start = start_id(rows_of(results.trials[["number", "config_id"]]), results.record)
        summary = pd.DataFrame(
            {
                "config_id": name,
                "name": configuration_name(rank, is_baseline=name == first, is_start=name == start),
                "diverged": sum(row["config_id"] == name and row["status"] == "diverged" for row in rows),
                "seeds": len(own),
                "lowest": own.mean(axis=1).min(),
                "highest": own.mean(axis=1).max(),
                **interval(own)._asdict(),
            }
            for rank, (name, own) in enumerate(shares.items(), start=1)
        )
        summary = summary.join(trials, on="config_id", how="inner")
        summary["settings"] = [settings(row, results.record) for row in rows_of(summary)]
        winner = rows_of(summary.loc[summary["config_id"] == _first(results, shares)])[0]
        names = summary["config_id"].tolist()
        further = {rank: name for rank, name in enumerate(names, start=1) if rank > 1 and name not in (first, start)}
        known = [shares[name] for name in (names[0], *further.values())]
        if min(map(len, known)) == 1:
            return cls(summary, None, winner, len(results.ranked))
        found = dict(zip(further, compare_with_first(known), strict=True))
        return cls(summary, found, winner, len(results.ranked))


def validation(results: Results) -> float:
    """Return the mean confirmed score (a fraction) of the configuration that ranks first.

    Where nothing was confirmed it is the best trial's score; NaN where no trial has one.
    """
    if (confirmed := Confirmed.of(results)) is not None:
        return float(confirmed.summary["mean"].iloc[0])
    return float(results.ranked["score"].iloc[0]) if len(results.ranked) else math.nan


def _shares(rows: list[dict[str, Any]], name: str, images: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return for each seed and image of a configuration the share of the scored epochs that had it right."""
    return np.array([hits(row, images) for row in rows if row["config_id"] == name])


def _first(results: Results, names: dict[str, Any]) -> str:
    """Return which of the configurations ranks first among the trials."""
    return str(next(name for name in results.ranked["config_id"] if name in names))
