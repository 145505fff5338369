"""Which configurations are confirmed and retrained, with which seeds, for how many epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.seeds import named_seeds
from tune_fmnist.models.config import Config, to_config
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import ConfirmationJob, RetrainJob
from tune_fmnist.store.ranking import confirmed, ranked, start_id
from tune_fmnist.store.record import SearchRecord

CANDIDATES_PER_PLACE: Final = 2
"""Configurations that are confirmed for each one that is retrained."""

FEWEST_CANDIDATES: Final = 3
"""Configurations that are confirmed at least.

Replayed on recorded curves of the ANN (20 and 40 trials), the best of a search's completed trials is 0.03 to 0.05
points better than the one of the highest score; three candidates with two seeds each gain 0.01 to 0.03 of them, six
candidates no more."""

Row = Mapping[str, Any]


def confirmations(trials: Iterable[Row], record: SearchRecord, *, top_k: int, count: int) -> list[ConfirmationJob]:
    """Return the confirmations: of the candidates for ``top_k`` places, the baseline and the start.

    Args:
        trials: the rows of ``trials.parquet``.
        record: of the search.
        top_k: how many configurations are to be retrained, 1 or more.
        count: confirmations of each; 0 gives none.

    Raises:
        InputError: the baseline has no score.
    """
    best, fixed = _best(trials := list(trials), record), _fixed(trials, record)
    names = list(best)[: max(CANDIDATES_PER_PLACE * top_k, FEWEST_CANDIDATES)]
    rows = [best[name] for name in dict.fromkeys([*names, *(name for name in fixed if name in best)])]
    return [
        ConfirmationJob(
            number=row["number"],
            config=_config(row),
            seed=seed,
            epochs=record.max_epochs,
            expected_seconds=row["seconds"] / row["epochs"] * record.max_epochs,
        )
        for row in rows
        for seed in named_seeds(record.seed, f"{record.search_id} confirm", count)
    ]


def choose(
    trials: Iterable[Row], record: SearchRecord, *, top_k: int, seeds: int, by: Iterable[Row] = ()
) -> list[RetrainJob]:
    """Return the retrains: the ``top_k`` best configurations, the baseline and the start, each with ``seeds`` seeds.

    The best are those with the highest mean score in ``by``, or, where nothing was confirmed, of the trials.  Each is
    trained for the search's longest length, also one whose trial was stopped before.  Searches of releases that scored
    a trial by its best epoch are retrained to that epoch, as their earlier retrains were.

    Args:
        trials: the rows of ``trials.parquet``.
        record: of the search.
        top_k: how many configurations, 1 or more.
        seeds: retrains of each, 1 or more.
        by: the rows of ``confirmations.parquet``.

    Raises:
        InputError: the baseline has no score.
    """
    best, fixed = _best(trials := list(trials), record), _fixed(trials, record)
    order = [name for name in confirmed(by) if name in best] or list(best)
    ranks: dict[str, int | None] = {name: rank for rank, name in enumerate(order[:top_k], start=1)}
    ranks |= {name: None for name in fixed if name in best and name not in ranks}
    return [
        _job(best[name], rank, seed, record, is_start=name in fixed and name != record.baseline_id)
        for name, rank in ranks.items()
        for seed in retrain_seeds(record, seeds)
    ]


def retrain_seeds(record: SearchRecord, count: int) -> list[int]:
    """Return the seeds of a search's retrains, unrelated to those of any other search and of its trials.

    Records of earlier releases keep theirs, which follow the search's seed.
    """
    if record.split_seed is None:
        return list(range(record.seed, record.seed + count))
    return named_seeds(record.seed, f"{record.search_id} retrain", count)


def _best(trials: Iterable[Row], record: SearchRecord) -> dict[str, Row]:
    """Return each configuration's best trial, the best configuration first."""
    best: dict[str, Row] = {}
    for row in ranked(trials, ended=True):
        best.setdefault(row["config_id"], row)
    if record.baseline_id not in best:
        what, hint = "the baseline, trial 0, has no score", "see its reason, and search again"
        raise InputError(what, file=record.name, key="trials.parquet: number 0", hint=hint)
    return best


def _fixed(trials: Iterable[Row], record: SearchRecord) -> list[str]:
    """Return the baseline and the start, if the space has one: both are confirmed and retrained whatever their rank."""
    start = start_id(trials, record)
    return [record.baseline_id, *([] if start is None else [start])]


def _config(row: Row) -> Config:
    return to_config(tables.config_values(row), file="trials.parquet")


def _job(row: Row, rank: int | None, seed: int, record: SearchRecord, *, is_start: bool) -> RetrainJob:
    epochs = record.max_epochs if record.scored_epochs else row["best_epoch"]
    seconds_per_epoch = row["seconds"] / row["epochs"] * record.images / record.train_size
    return RetrainJob(
        config=_config(row),
        rank=rank,
        seed=seed,
        epochs=epochs,
        horizon=record.max_epochs,
        score=row["score"],
        best_val_accuracy=row["best_val_accuracy"],
        expected_seconds=seconds_per_epoch * epochs,
        is_start=is_start,
    )
