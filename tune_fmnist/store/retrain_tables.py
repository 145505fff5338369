"""The tables of a search's retrains and ``best/``, added to as each retrain ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tune_fmnist.models.config import config_id
from tune_fmnist.models.saved import save, saved_config
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import RetrainJob, RetrainResult
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

_SCHEMAS: Final = {
    "test_reads": tables.TEST_READS,
    "predictions": tables.PREDICTIONS,
    "retrain_epochs": tables.RETRAIN_EPOCHS,
    "retrains": tables.RETRAINS,
}


def read_tables(paths: SearchPaths) -> dict[str, pa.Table]:
    """Return the retrain tables that are there, empty ones for those that are not.

    Raises:
        InputError: one of them, or the configuration in ``best/``, cannot be used.
    """
    saved_config(paths.best)
    files = {name: _file(paths, name) for name in _SCHEMAS}
    return {
        name: tables.read(file, _SCHEMAS[name]) if file.exists() else tables.to_table([], _SCHEMAS[name])
        for name, file in files.items()
    }


class RetrainTables:
    """The retrain tables and ``best/``; ``retrains.parquet`` is published last, as the mark that a retrain is done.

    Args:
        paths: where they are; what is there already is kept.
        record: of the search.
        jobs: all retrains of the search; the first is the best one's with the first seed, whose model is kept.
    """

    def __init__(self, paths: SearchPaths, record: SearchRecord, jobs: list[RetrainJob]) -> None:
        # Chosen by validation and by order of the seeds, not by the test.
        self._paths, self._record, self._jobs, self._best = paths, record, jobs, jobs[0]
        self._tables = read_tables(paths)
        # More trials or confirmations may have changed the ranks since.
        ranks = {config_id(job.config): job.rank for job in jobs}
        rows = self._tables["retrains"].to_pylist()
        ranked = [row | {"rank": ranks.get(row["config_id"])} for row in rows]
        self._ranks_changed = ranked != rows
        self._schema = tables.with_config(tables.RETRAINS, type(self._best.config))
        self._tables["retrains"] = tables.to_table(ranked, self._schema)
        self._done = {(row["config_id"], row["seed"]) for row in rows}
        if saved_config(paths.best) != self._best.config:
            # It ranked lower when it was retrained, so that its model was not kept.
            self._done.discard(self._best.key)

    @property
    def pending(self) -> list[RetrainJob]:
        """The retrains that are still to be run, in order."""
        return [job for job in self._jobs if job.key not in self._done]

    def publish_ranks(self) -> None:
        """Publish the ranks if they have changed since the retrains."""
        if self._ranks_changed:
            tables.write(self._tables["retrains"], self._paths.retrains, self._record.classes)
            self._ranks_changed = False

    def begin_read(self, job: RetrainJob) -> None:
        """Publish that the test set is about to be read for a retrain: no model sees it without a row on the disk."""
        row = {"search_id": self._record.search_id, "config_id": job.key[0], "seed": job.key[1]}
        row |= {"read_at": datetime.now(UTC), "by": "retrain"}
        self._publish("test_reads", tables.to_table([row], tables.TEST_READS))

    def add(self, job: RetrainJob, result: RetrainResult, labels: NDArray[Any]) -> None:
        """Publish the rows of a retrain, and its model if it is the best one's; ``labels`` are the test images'.

        Raises:
            ValueError: its read of the test set was not begun.
        """
        same = {"search_id": self._record.search_id, "config_id": job.key[0], "seed": job.key[1]}
        epochs = [_known(row, tables.RETRAIN_EPOCHS) | same for row in result.epochs]
        self._finish_read(job)
        self._publish("predictions", _predictions(same, result, labels), instead_of=job.key)
        self._publish("retrain_epochs", tables.to_table(epochs, tables.RETRAIN_EPOCHS), instead_of=job.key)
        if job.key == self._best.key:
            save(result.weights, job.config, self._record.shape, self._paths.best)
        self._publish("retrains", tables.to_table([same | _row(job, result)], self._schema), instead_of=job.key)
        self._done.add(job.key)

    def _finish_read(self, job: RetrainJob) -> None:
        """Note when the result of the read that was begun last for a retrain had come."""
        rows = self._tables["test_reads"].to_pylist()
        own = [row for row in rows if (row["config_id"], row["seed"]) == job.key and row["finished_at"] is None]
        if not own:
            raise ValueError(f"no read of the test set was begun for {job.key}")
        own[-1]["finished_at"] = datetime.now(UTC)
        self._tables["test_reads"] = tables.to_table([], tables.TEST_READS)
        self._publish("test_reads", tables.to_table(rows, tables.TEST_READS))

    def _publish(self, name: str, rows: pa.Table, instead_of: tuple[str, int] | None = None) -> None:
        """Publish a table with these rows added, in place of those of a retrain that was cut off or is run again."""
        table = self._tables[name]
        if instead_of is not None:
            config, seed = instead_of
            same = pc.and_(pc.equal(table["config_id"], config), pc.equal(table["seed"], seed))
            table = table.filter(pc.invert(same))
        self._tables[name] = pa.concat_tables([table, rows])
        tables.write(self._tables[name], _file(self._paths, name), self._record.classes)


def _file(paths: SearchPaths, name: str) -> Path:
    return paths.folder / f"{name}.parquet"


def _known(values: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in schema.names}


def _row(job: RetrainJob, result: RetrainResult) -> dict[str, Any]:
    return {
        **_known(vars(job), tables.RETRAINS),
        **_known(vars(result), tables.RETRAINS),
        "is_baseline": job.is_baseline,
        "epochs": len(result.epochs),
        "seconds": result.train_seconds + result.test_seconds,
        **tables.config_columns(job.config),
    }


def _predictions(same: Mapping[str, Any], result: RetrainResult, labels: NDArray[Any]) -> pa.Table:
    count, schema = len(labels), tables.PREDICTIONS
    columns = {name: [value] * count for name, value in same.items()} | {
        "index": np.arange(count),
        "label": labels.astype("int16"),
        "predicted": result.predicted,
        "confidence": result.confidence,
        "picture": [result.pictures.get(index) for index in range(count)],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return tables.checked(pa.Table.from_arrays(arrays, schema=schema), schema)
