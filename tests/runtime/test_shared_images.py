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

from benchmarks.driver import drive
from tune_fmnist import data
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import place
from tune_fmnist.runtime.trials import training as training_on
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import JOB
from tune_fmnist.workflow.options import Options

TRIALS, PROCESSES = 8, 2
CHUNK_BYTES = 1_000_000


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[Path]]]:
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


@pytest.mark.long
def test_a_node_gets_the_images_once(two_nodes: tuple[Any, list[Path]], training: data.Images, tmp_path: Path) -> None:
    split = data.split(data.limited(training, 20_000, 0), 0)
    size = sum(part.images.nbytes + part.labels.nbytes for part in (split.train, split.validation))
    marks, begun = tmp_path / "marks", tmp_path / "begun"
    marks.mkdir()
    begun.mkdir()
    options = Options(model="ann", trials=TRIALS, max_epochs=1, searcher="random", scheduler="fifo")
    with running_ray(two_nodes[0].address):
        train = training_on(split, Folder.at(str(tmp_path / "checkpoints")), None)

        def marked(config: dict[str, Any]) -> None:
            import ray

            (begun / str(os.getpid())).touch()
            # A process that starts slowly gets a trial as well.
            while len(list(begun.iterdir())) < 2 * PROCESSES:
                time.sleep(0.05)
            train(config)
            (marks / f"{ray.get_runtime_context().get_node_id()}-{os.getpid()}-{config[JOB].number}").touch()

        tables = drive(marked, options, tmp_path / "x", place(1, 0, None))
        ended = time.time()
        received = [chunks(folder, ended) for folder in two_nodes[1]]
    assert {trial["status"] for trial in tables.trials.values()} == {"completed"}
    ran = [mark.name.split("-") for mark in marks.iterdir()]
    processes = Counter(node for node, _ in {(node, process) for node, process, _ in ran})
    assert len(ran) == TRIALS
    assert sorted(processes.values()) == [PROCESSES, PROCESSES]
    # What else a trial is given is an object of a chunk each: the folder for checkpoints, the timeout.
    assert all(size <= count * CHUNK_BYTES < 1.5 * size for count in received), received
