"""Test images that note each time they are opened, in whatever process: reads counted without the table of reads.

``python -m tests.runtime.noted --results-dir DIR --name NAME LOG SEEDS`` retrains a search with them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from tune_fmnist import retrain
from tune_fmnist.data.images import Images
from tune_fmnist.data.known import KnownFiles
from tune_fmnist.store.paths import SearchPaths

# A test module cannot be imported by Ray's processes: its functions travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Opening(NamedTuple):
    """One opening: in which process, how many were noted before, and what was on the disk then."""

    pid: int
    before: int
    rows: int
    model: bool


class Noted:
    """Stands for test images: whoever unpickles it gets them, and has opened them.

    Args:
        images: the test images.
        log: a file that gets a line for each opening.
        folder: of the search whose table of reads is to have a row by then.
        kill: how many of the first openings cost the process that opens them its life.
    """

    def __init__(self, images: Images, log: Path, folder: Path, kill: int = 0) -> None:
        self.labels, self._parts = images.labels, (*images, str(log), str(folder), kill)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, self._parts


def _open(images: NDArray[Any], labels: NDArray[Any], classes: int, log: str, folder: str, kill: int) -> Images:
    paths = SearchPaths(Path(folder))
    before = len(openings(Path(log)))
    rows = pq.read_metadata(paths.test_reads).num_rows if paths.test_reads.exists() else 0
    with Path(log).open("a") as opened:
        opened.write(json.dumps(Opening(os.getpid(), before, rows, paths.best.exists())) + "\n")
    if before < kill:
        os.kill(os.getpid(), signal.SIGKILL)
    return Images(images, labels, classes)


def openings(log: Path) -> list[Opening]:
    """Return the openings that were noted."""
    return [Opening(*json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


if __name__ == "__main__":
    _, _, results, _, name, log, seeds = sys.argv
    searched, read_test = Path(results) / name, KnownFiles.read_test
    KnownFiles.read_test = lambda source, shape: Noted(read_test(source), Path(log), searched)  # type: ignore[assignment,method-assign,misc,return-value]
    retrain(searched, confirm=0, top_k=1, retrain_seeds=int(seeds))
