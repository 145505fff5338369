"""The images reach a node once, whatever number of its trials and processes read them: by Ray's own count."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_fmnist.data import fashion_mnist as data
from tune_fmnist.runtime import slots
from tune_fmnist.runtime import trials as engine
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.paths import SearchPaths, default_space
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.tuning.scheduler import SCHEDULERS
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space import read_space

TRIALS, PROCESSES = 8, 2
CHUNK_BYTES = 1_000_000


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[Path]]]:
    """A head that computes nothing and two nodes with room for two processes each, and a folder for each node's files.

    The nodes send each other objects in chunks, and write what they count each second.
    """
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_object_manager_default_chunk_size", str(CHUNK_BYTES))
    monkeypatch.setenv("RAY_debug_dump_period_milliseconds", "1000")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    # Not pytest's folder: a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="nodes-") as name:
        folders = [Path(name) / str(number) for number in range(2)]
        for folder in folders:
            folder.mkdir()
            cluster.add_node(num_cpus=PROCESSES, include_dashboard=False, temp_dir=str(folder))
        cluster.wait_for_nodes()
        yield cluster, folders
        cluster.shutdown()


def chunks(folder: Path, since: float) -> int:
    """Return how many chunks of objects a node has received from others, by what it wrote after ``since``."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for file in folder.glob("session_2*/logs/debug_state.txt"):
            count = re.search(r"num chunks received total: (\d+)\n", file.read_text())
            if count and file.stat().st_mtime > since:
                return int(count[1])
        # It is looked at from outside: nothing tells when it is written.
        time.sleep(0.1)
    raise AssertionError(f"nothing was counted in {folder}")


def test_a_node_gets_the_images_once(cluster: tuple[Any, list[Path]], training: data.Images, tmp_path: Path) -> None:
    split = data.split(data.limited(training, 20_000, 0), 0)
    size = sum(array.nbytes for part in (split.train, split.validation) for array in part)
    paths, marks = SearchPaths(tmp_path / "x"), tmp_path / "marks"
    for folder in (paths.folder, marks):
        folder.mkdir()
    with slots.running_ray(cluster[0].address):
        train = engine.training(split, Folder.at(str(paths.checkpoints)), None)

        def marked(job: dict[str, Any]) -> None:
            import ray

            train(job)
            (marks / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}-{job['number']}").touch()

        ledger = Ledger(paths, "x", 1)
        engine.run_trials(
            marked,
            OptunaSearcher(
                read_space(default_space("ann")), "random", seed=0, max_epochs=1, journal=paths.journal, name="x"
            ),
            SCHEDULERS["fifo"](1),
            ledger,
            slots.place(1, 0, None),
            trials=TRIALS,
            time_budget=None,
            on_step=lambda ended: None,
        )
        ended = time.time()
        received = [chunks(folder, ended) for folder in cluster[1]]
    assert {trial["status"] for trial in ledger.trials.values()} == {"completed"}
    ran = [mark.name.split("-") for mark in marks.iterdir()]
    processes = Counter(node for node, _ in {(node, process) for node, process, _ in ran})
    assert len(ran) == TRIALS
    assert sorted(processes.values()) == [PROCESSES, PROCESSES]
    # What else a trial is given is an object of a chunk each: the folder for checkpoints, the timeout.
    assert all(size <= count * CHUNK_BYTES < 1.5 * size for count in received), received
