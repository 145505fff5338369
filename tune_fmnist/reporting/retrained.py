"""The configurations that were retrained and tested, as the page, the screen and the README's table name them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from tune_fmnist.base.vocabulary import COMPLETED
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.wording import configuration_name, settings


@dataclass(frozen=True)
class Retrained:
    """The retrained configurations.

    Attributes:
        summary: one row per configuration, by rank, an unranked baseline last: the columns of
            ``statistics.summarise`` and of ``retrains.parquet`` that are the same for all seeds, and ``name`` and
            ``settings`` in words.
        predictions: the test images under the best configuration, all seeds.
        retrains: the rows of ``retrains.parquet``.
        reads: how often the test images were read.
        unfinished: names of those with a rank of which no trial reached the last epoch.
    """

    summary: pd.DataFrame
    predictions: pd.DataFrame
    retrains: pd.DataFrame
    reads: int
    unfinished: list[str]

    @property
    def best(self) -> dict[str, Any]:
        """The row of the configuration that ranks first."""
        return rows_of(self.summary)[0]

    @classmethod
    def of(cls, results: Results) -> Self | None:
        """Return what has been retrained, None before the best configuration has been."""
        if not results.retrained or not (results.retrains["rank"] == 1).any():
            return None
        same = results.retrains.drop_duplicates("config_id").drop(columns="seed")
        summary = results.comparison.merge(same, on="config_id")
        summary = summary.sort_values(["rank", "is_baseline"], na_position="last", ignore_index=True)
        summary["name"] = [_name(row) for row in rows_of(summary)]
        summary["settings"] = [settings(row) for row in rows_of(summary)]
        predictions = results.tested_predictions
        best = predictions[predictions["config_id"] == summary["config_id"].iloc[0]]
        finished = results.trials.loc[results.trials["status"] == COMPLETED, "config_id"]
        unfinished = summary.loc[summary["rank"].notna() & ~summary["config_id"].isin(finished), "name"].tolist()
        return cls(summary, best, results.retrains, len(results.test_reads), unfinished)


def _name(row: dict[str, Any]) -> str:
    rank = None if math.isnan(row["rank"]) else int(row["rank"])
    return configuration_name(rank, is_baseline=row["is_baseline"])
