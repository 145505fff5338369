"""Nodes that come and go under a search, as Ray's own on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.driver import drive
from benchmarks.simulated import tell
from tests.reliability import Note
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import Slots, place
from tune_fmnist.store.jobs import EpochResult
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow.options import Options


def patient(go: Path) -> Callable[[dict[str, Any]], None]:
    """Return a trial that says on which node it is and in which process, waits for a file, and ends."""

    def trial(config: dict[str, Any]) -> None:
        import ray

        where = f"{ray.get_runtime_context().get_node_id()} {os.getpid()}"
        results: list[EpochResult] = []
        tell(results, 0.5, node=where)
        while not go.exists():
            time.sleep(0.05)
        tell(results, 0.5, node=where)

    return trial


@pytest.fixture
def local_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that computes nothing, and sees in three seconds that a node is lost."""
    from ray.cluster_utils import Cluster

    names = {"initial_delay_ms": "1000", "period_ms": "1000", "timeout_ms": "1000", "failure_threshold": "3"}
    for name, value in names.items():
        monkeypatch.setitem(os.environ, f"RAY_health_check_{name}", value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def run(cluster: Any, folder: Path, trials: int, step: Callable[[TrialTables], None]) -> TrialTables:
    """Run patient trials, which end when ``step`` has made the file ``go`` in the folder."""
    options = Options(model="ann", trials=trials, max_epochs=2, searcher="random", scheduler="fifo")
    with running_ray(cluster.address):
        placement = place(1, 0, None)
        slots = Slots(placement, joined=True)
        trial = patient(folder / "go")
        return drive(trial, options, folder / "x", placement, slots=slots, on_step=lambda tables, ended: step(tables))


@pytest.mark.faults
def test_losses_of_nodes_are_not_a_trials_failures(local_cluster: Any, tmp_path: Path, count: Note) -> None:
    import ray

    nodes = [local_cluster.add_node(num_cpus=1, include_dashboard=False)]
    local_cluster.wait_for_nodes()
    lost: list[str] = []
    killed: list[str] = []

    def step(tables: TrialTables) -> None:
        node, _, process = (tables.trials.get(0, {}).get("node") or "").partition(" ")
        dead = {one["NodeID"] for one in ray.nodes() if not one["Alive"]}
        if not node or node in lost or process in killed or not dead.issuperset(lost):
            return
        if len(lost) < 5:
            # More often than a trial may fail.
            lost.append(node)
            nodes.append(local_cluster.add_node(num_cpus=1, include_dashboard=False))
            os.kill(int(process), signal.SIGKILL)
            local_cluster.remove_node(nodes.pop(0), allow_graceful=False)
        elif len(killed) < 2:
            # As often as it may.
            killed.append(process)
            os.kill(int(process), signal.SIGKILL)
        else:
            (tmp_path / "go").touch()

    tables = run(local_cluster, tmp_path, 1, step)
    assert len(lost) == 5
    assert len(killed) == 2
    assert [(trial["status"], trial["epochs"]) for trial in tables.trials.values()] == [("completed", 2)]
    count("node lost, its process killed first", 5)


def nodes_of(trials: Iterable[dict[str, Any]]) -> set[str]:
    return {trial["node"].partition(" ")[0] for trial in trials if "node" in trial}


@pytest.mark.faults
def test_a_node_that_joins_is_used(local_cluster: Any, tmp_path: Path) -> None:
    local_cluster.add_node(num_cpus=1, include_dashboard=False)
    local_cluster.wait_for_nodes()
    added = []

    def step(tables: TrialTables) -> None:
        nodes = nodes_of(tables.running)
        if nodes and not added:
            added.append(local_cluster.add_node(num_cpus=2, include_dashboard=False))
        # Three trials on two nodes at once: none ends before.
        if len(nodes) == 2 and len(tables.running) == 3:
            (tmp_path / "go").touch()

    tables = run(local_cluster, tmp_path, 6, step)
    assert {trial["status"] for trial in tables.trials.values()} == {"completed"}
    assert len(nodes_of(tables.trials.values())) == 2
