"""Which configurations are retrained, with which seeds, for how many epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.seeds import named_seeds
from tune_fmnist.models.config import baseline, config_id, to_config
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import RetrainJob
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.record import SearchRecord


def choose(trials: Iterable[Mapping[str, Any]], record: SearchRecord, *, top_k: int, seeds: int) -> list[RetrainJob]:
    """Return the retrains: the ``top_k`` configurations by score and the baseline, each with ``seeds`` seeds.

    Each is trained for the search's longest length, also one whose trial was stopped before.  Searches of releases that
    scored a trial by its best epoch are retrained to that epoch, as their earlier retrains were.

    Args:
        trials: the rows of ``trials.parquet``.
        record: of the search.
        top_k: how many configurations, 1 or more.
        seeds: retrains of each, 1 or more.

    Raises:
        InputError: the baseline has no score.
    """
    best: dict[str, Mapping[str, Any]] = {}
    for row in ranked(trials, ended=True):
        best.setdefault(row["config_id"], row)
    first = config_id(baseline(record.model))
    if first not in best:
        what, hint = "the baseline, trial 0, has no score", "see its reason, and search again"
        raise InputError(what, file=record.name, key="trials.parquet: number 0", hint=hint)
    ranks: dict[str, int | None] = {name: rank for rank, name in enumerate(list(best)[:top_k], start=1)}
    ranks.setdefault(first, None)
    return [
        _job(best[name], rank, seed, record) for name, rank in ranks.items() for seed in retrain_seeds(record, seeds)
    ]


def retrain_seeds(record: SearchRecord, count: int) -> list[int]:
    """Return the seeds of a search's retrains, unrelated to those of any other search and of its trials.

    Records of earlier releases keep theirs, which follow the search's seed.
    """
    if record.split_seed is None:
        return list(range(record.seed, record.seed + count))
    return named_seeds(record.seed, f"{record.search_id} retrain", count)


def _job(row: Mapping[str, Any], rank: int | None, seed: int, record: SearchRecord) -> RetrainJob:
    seconds_per_epoch = row["seconds"] / row["epochs"] * record.images / record.train_size
    epochs = record.max_epochs if record.scored_epochs else row["best_epoch"]
    return RetrainJob(
        config=to_config(tables.config_values(row), file="trials.parquet"),
        rank=rank,
        seed=seed,
        epochs=epochs,
        horizon=record.max_epochs,
        score=row["score"],
        best_val_accuracy=row["best_val_accuracy"],
        expected_seconds=seconds_per_epoch * epochs,
    )
