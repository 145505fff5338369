"""The runs of a search, from its tables alone: one per trial and one per retrain, as every tool gets them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pyarrow as pa

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, UNFINISHED, SearchState
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

Kind = Literal["trial", "retrain"]
Cells = dict[str, bool | int | float | str]
"""Values by column; a column that is null is left out."""

Row = Mapping[str, Any]

EPOCH_METRICS: Final[dict[Kind, tuple[str, ...]]] = {
    "trial": (
        *("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"),
        *("train_seconds", "eval_seconds", "overhead_seconds"),
    ),
    "retrain": ("train_loss", "train_accuracy", "learning_rate", "train_seconds"),
}
"""Columns of ``epochs.parquet`` and ``retrain_epochs.parquet`` that each epoch of a run has."""

RESULTS: Final[dict[Kind, tuple[str, ...]]] = {
    "trial": ("score", "best_val_accuracy", "best_epoch", "epochs", "seconds", "parameters"),
    "retrain": ("test_accuracy", "test_loss", "epochs", "seconds", "parameters"),
}
"""Columns of ``trials.parquet`` and ``retrains.parquet`` that a run has once, at its end."""

BEGUN_WITH: Final[dict[Kind, tuple[str, ...]]] = {
    "trial": ("trial_id", "number", "origin", "seed", "dataset", "train_size", "split_hash", "config_id"),
    "retrain": ("rank", "is_baseline", "seed", "train_size", "config_id"),
}
"""Columns that say what a run is; they stand as soon as it has begun."""

ENDED_WITH: Final = ("status", "reason", "audited_at", "node", "device", "precision")
"""Columns that say how a run ended, and where it ran."""


class Epoch(NamedTuple):
    """An epoch of a run: its number from 1, when it was reported, UTC, and its metrics."""

    number: int
    at: datetime
    metrics: dict[str, float]


@dataclass(frozen=True)
class Run:
    """A trial or a retrain.

    Attributes:
        key: its name, which no run of any search shares.
        name: for people, unique within the search; a folder may have it.
        kind: what it is.
        config: the configuration, by the tables' columns ``config_*``.
        begun_with: what it is, by column.
        ended_with: how it ended, by column; empty for one in progress.
        epochs: those reported so far.
        results: by column; none for one in progress.
        began: when it began, UTC; of a retrain, the time of its end less its seconds.
        ended: when it ended, UTC; None for one in progress.
        succeeded: whether it ended neither diverged nor failed.
    """

    key: str
    name: str
    kind: Kind
    config: Cells
    begun_with: Cells
    ended_with: Cells
    epochs: list[Epoch]
    results: dict[str, float]
    began: datetime
    ended: datetime | None
    succeeded: bool


@dataclass(frozen=True)
class Runs:
    """All runs of a search that its tables have at a moment.

    Attributes:
        record: of the search, read before the tables.
        runs: the trials in order of issue, then the retrains, the ranked ones first.
    """

    record: SearchRecord
    runs: list[Run]

    @property
    def state(self) -> SearchState:
        """The state of the search when the tables were read, or earlier."""
        return self.record.state


def read_runs(paths: SearchPaths) -> Runs:
    """Read the runs of a search, while it runs or afterwards.

    Raises:
        InputError: the record or a table cannot be read.
    """
    record = SearchRecord.read(paths)
    # A trial's epochs are written before its row, so that none is missing where the rows are read first.
    trials = _rows(paths.trials, tables.TRIALS)
    epochs = _grouped(_rows(paths.epochs, tables.EPOCHS), "trial_id")
    runs = [_trial(row, epochs[(row["trial_id"],)], record) for row in sorted(trials, key=lambda row: row["number"])]
    retrains = _rows(paths.retrains, tables.RETRAINS)
    if retrains:
        curves = _grouped(_rows(paths.retrain_epochs, tables.RETRAIN_EPOCHS), "config_id", "seed")
        reads = _grouped(_rows(paths.test_reads, tables.TEST_READS), "config_id", "seed")
        for row in sorted(retrains, key=lambda row: (row["rank"] is None, row["rank"], row["config_id"], row["seed"])):
            key = row["config_id"], row["seed"]
            runs.append(_retrain(row, curves[key], reads[key], record))
    return Runs(record, runs)


def _rows(file: Path, schema: pa.Schema) -> list[Row]:
    """Return a table's rows; none where a search has not written it yet."""
    return list(tables.read(file, schema).to_pylist()) if file.exists() else []


def _grouped(rows: Iterable[Row], *columns: str) -> defaultdict[tuple[Any, ...], list[Row]]:
    grouped: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[tuple(row[name] for name in columns)].append(row)
    return grouped


def _trial(row: Row, curve: list[Row], record: SearchRecord) -> Run:
    epochs = [
        Epoch(told["epoch"], told["reported_at"], _numbers(told, EPOCH_METRICS["trial"]))
        for told in sorted(curve, key=lambda told: int(told["epoch"]))
    ]
    began = row["started_at"] or record.started_at
    running = row["status"] in UNFINISHED
    return Run(
        key=row["trial_id"],
        name=f"trial-{row['number']:05d}",
        kind="trial",
        config=_config(row),
        begun_with=_cells(row, BEGUN_WITH["trial"]),
        ended_with={} if running else _cells(row, ENDED_WITH),
        epochs=epochs,
        results={} if running else _numbers(row, RESULTS["trial"]),
        began=began,
        ended=None if running else (epochs[-1].at if epochs else began + timedelta(seconds=row["seconds"])),
        succeeded=row["status"] not in (DIVERGED, FAILED),
    )


def _retrain(row: Row, curve: list[Row], reads: list[Row], record: SearchRecord) -> Run:
    """Return a retrain; its times are those of its test, less what the training took."""
    moments = [read["finished_at"] or read["read_at"] for read in reads]
    ended = max(moments, default=record.finished_at or record.started_at)
    began = ended - timedelta(seconds=row["seconds"])
    epochs, clock = [], 0.0
    for told in sorted(curve, key=lambda told: int(told["epoch"])):
        clock += told["train_seconds"]
        at = min(began + timedelta(seconds=clock), ended)
        epochs.append(Epoch(told["epoch"], at, _numbers(told, EPOCH_METRICS["retrain"])))
    return Run(
        key=f"{record.search_id}-retrain-{row['config_id']}-{row['seed']}",
        name=f"retrain-{row['config_id']}-seed-{row['seed']}",
        kind="retrain",
        config=_config(row),
        begun_with=_cells(row, BEGUN_WITH["retrain"]),
        ended_with={"status": COMPLETED} | _cells(row, ENDED_WITH),
        epochs=epochs,
        results=_numbers(row, RESULTS["retrain"]),
        began=began,
        ended=ended,
        succeeded=True,
    )


def _config(row: Row) -> Cells:
    return {f"config_{name}": value for name, value in tables.config_values(row).items()}


def _numbers(row: Row, columns: Iterable[str]) -> dict[str, float]:
    return {name: float(row[name]) for name in columns if row.get(name) is not None}


def _cells(row: Row, columns: Iterable[str]) -> Cells:
    return {name: row[name] for name in columns if row.get(name) is not None}


def milliseconds(moment: datetime) -> int:
    """Return a moment as milliseconds since 1970."""
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def description_of(kind: Kind, column: str) -> str:
    """Return a column's description, as the tables' schemas have it."""
    schemas = {"trial": (tables.EPOCHS, tables.TRIALS), "retrain": (tables.RETRAIN_EPOCHS, tables.RETRAINS)}
    schema = next(schema for schema in schemas[kind] if column in schema.names)
    return str(schema.field(column).metadata[b"description"].decode())
