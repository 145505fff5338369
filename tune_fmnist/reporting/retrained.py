"""The configurations that were retrained and tested, as the page, the screen and the README's table name them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from tune_fmnist.base.vocabulary import COMPLETED
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.statistics import Comparison, compare, compare_with_first, correctness
from tune_fmnist.reporting.wording import configuration_name, settings
from tune_fmnist.store.ranking import confirmed, start_id


@dataclass(frozen=True)
class Retrained:
    """The retrained configurations.

    Attributes:
        summary: one row per configuration, by rank, an unranked baseline last: the columns of
            ``statistics.summarise`` and of ``retrains.parquet`` that are the same for all seeds, ``name`` and
            ``settings`` in words, ``is_start``, the mean score ``confirmed`` of the confirmations, NaN without any, and
            ``validation``, which is that mean or else the score of the trial.
        predictions: the test images under the best configuration, all seeds.
        retrains: the rows of ``retrains.parquet``.
        reads: how often the test images were read.
        against_first: each further rank but the baseline's, compared with the first in the test; None where a
            configuration has one seed.
        against_start: the best one compared with the start; None if there is no start besides it.
        diverged: how many retrains diverged.
        unfinished: names of those with a rank of which no trial reached the last epoch.
    """

    summary: pd.DataFrame
    predictions: pd.DataFrame
    retrains: pd.DataFrame
    reads: int
    against_first: dict[int, Comparison] | None
    against_start: Comparison | None
    diverged: int
    unfinished: list[str]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the configuration that ranks first."""
        return rows_of(self.summary)[0]

    @property
    def one_seed(self) -> bool:
        """Whether a configuration was retrained with a single seed, so that only models can be compared."""
        return bool((self.summary["seeds"] == 1).any())

    @property
    def start(self) -> dict[str, Any] | None:
        """The row of the start, None if the space has none or it is not retrained."""
        return next(iter(rows_of(self.summary[self.summary["is_start"]])), None)

    @classmethod
    def of(cls, results: Results) -> Self | None:
        """Return what has been retrained, None before the best configuration has been."""
        if not results.retrained or not (results.retrains["rank"] == 1).any():
            return None
        same = results.retrains.drop_duplicates("config_id").drop(columns="seed")
        summary = results.comparison.merge(same, on="config_id")
        summary = summary.sort_values(["rank", "is_baseline"], na_position="last", ignore_index=True)
        start = start_id(rows_of(results.trials[["number", "config_id"]]), results.record)
        summary["is_start"] = summary["config_id"] == start
        means = confirmed(rows_of(results.confirmations))
        summary["confirmed"] = [means.get(name, math.nan) for name in summary["config_id"]]
        summary["validation"] = summary["confirmed"].fillna(summary["score"])
        summary["name"] = [_name(row) for row in rows_of(summary)]
        summary["settings"] = [settings(row, results.record) for row in rows_of(summary)]
        predictions = results.tested_predictions
        best = predictions[predictions["config_id"] == summary["config_id"].iloc[0]]
        finished = results.trials.loc[results.trials["status"] == COMPLETED, "config_id"]
        unfinished = summary.loc[summary["rank"].notna() & ~summary["config_id"].isin(finished), "name"].tolist()
        against_first, against_start = _compared(summary, correctness(predictions))
        losses = results.retrain_epochs.groupby(["config_id", "seed"])["train_loss"].last()
        return cls(
            summary=summary,
            predictions=best,
            retrains=results.retrains,
            reads=len(results.test_reads),
            against_first=against_first,
            against_start=against_start,
            diverged=int((~np.isfinite(losses)).sum()),
            unfinished=unfinished,
        )


def _compared(
    summary: pd.DataFrame, correct: dict[str, pd.DataFrame]
) -> tuple[dict[int, Comparison] | None, Comparison | None]:
    """Return the further ranks compared with the first, and the first one with the start if it is another.

    The p-values are corrected for the number of all of these.
    """
    first, *rows = rows_of(summary)
    others = [row for row in rows if row["is_start"] or not (math.isnan(row["rank"]) or row["is_baseline"])]
    if not others:
        return {}, None
    images = correct[first["config_id"]].columns
    hits = [correct[row["config_id"]][images].to_numpy() for row in (first, *others)]
    if min(map(len, hits)) == 1:
        starts = [compare(hits[0], own) for row, own in zip(others, hits[1:], strict=True) if row["is_start"]]
        return None, next(iter(starts), None)
    found = list(zip(others, compare_with_first(hits), strict=True))
    ranks = {int(row["rank"]): one for row, one in found if not math.isnan(row["rank"])}
    return ranks, next((one.swapped() for row, one in found if row["is_start"]), None)


def _name(row: dict[str, Any]) -> str:
    rank = None if math.isnan(row["rank"]) else int(row["rank"])
    return configuration_name(rank, is_baseline=row["is_baseline"], is_start=row["is_start"])
