"""``confirmations.parquet`` of a search, added to as each confirmation ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tune_fmnist.store import tables
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord


def read_confirmations(paths: SearchPaths) -> pa.Table:
    """Return the table, an empty one if there is none.

    Raises:
        InputError: it cannot be used.
    """
    if not paths.confirmations.exists():
        return tables.to_table([], tables.CONFIRMATIONS)
    return tables.read(paths.confirmations, tables.CONFIRMATIONS)


class ConfirmationTable:
    """The confirmations of a search; what is on the disk already is kept.

    Args:
        paths: where the table is.
        record: of the search.
        jobs: the confirmations that are wanted.
    """

    def __init__(self, paths: SearchPaths, record: SearchRecord, jobs: list[ConfirmationJob]) -> None:
        self._paths, self._jobs = paths, jobs
        self._same = {"search_id": record.search_id, "split_hash": record.split_hash}
        self._table = read_confirmations(paths)
        self._done = {(row["config_id"], row["seed"]) for row in self.rows}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of all confirmations of the search, also of those that are not among the jobs."""
        rows: list[dict[str, Any]] = self._table.to_pylist()
        return rows

    @property
    def pending(self) -> list[ConfirmationJob]:
        """The confirmations that are still to be run, in order."""
        return [job for job in self._jobs if job.key not in self._done]

    def add(self, job: ConfirmationJob, result: ConfirmationResult) -> None:
        """Publish the row of a confirmation."""
        row = {**self._same, "number": job.number, "config_id": job.key[0], "seed": job.seed, **vars(result)}
        self._table = pa.concat_tables([self._table, tables.to_table([row], tables.CONFIRMATIONS)])
        tables.write(self._table, self._paths.confirmations)
        self._done.add(job.key)


def packed(correct: NDArray[np.bool_]) -> bytes:
    """Return which images were right as a cell of ``correct`` holds it."""
    return np.packbits(correct).tobytes()


def hits(row: Mapping[str, Any], images: int) -> NDArray[np.float64]:
    """Return for each of a confirmation's ``images`` validation images the share of the scored epochs it was right in.

    Their mean is the confirmation's score.
    """
    bits = [np.unpackbits(np.frombuffer(cell, np.uint8), count=images) for cell in row["correct"]]
    mean: NDArray[np.float64] = np.mean(bits, axis=0)
    return mean
