"""Nodes that come and go under a search, as Ray's own on this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_fmnist.runtime.slots import Slots, place, running_ray
from tune_fmnist.runtime.trials import run_trials
from tune_fmnist.store.paths import SearchPaths, default_space
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.tuning.scheduler import SCHEDULERS
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space import read_space


def patient(go: Path) -> Callable[[dict[str, Any]], None]:
    """Return a trial that says on which node it is and in which process, waits for a file, and ends."""

    def trial(job: dict[str, Any]) -> None:
        import ray
        from ray import tune

        def report(epoch: int) -> None:
            row = {"epoch": epoch, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}
            row |= {"learning_rate": 0.1, "train_seconds": 0.0, "eval_seconds": 0.0, "overhead_seconds": 0.0}
            row |= {"reported_at": time.time(), "diverged": False, "device": "cpu", "precision": "float32"}
            tune.report(row | {"node": f"{ray.get_runtime_context().get_node_id()} {os.getpid()}"})

        report(1)
        while not go.exists():
            time.sleep(0.05)
        report(2)

    return trial


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that computes nothing, and sees in three seconds that a node is lost."""
    from ray.cluster_utils import Cluster

    names = {"initial_delay_ms": "1000", "period_ms": "1000", "timeout_ms": "1000", "failure_threshold": "3"}
    for name, value in names.items():
        monkeypatch.setitem(os.environ, f"RAY_health_check_{name}", value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def run(cluster: Any, paths: SearchPaths, go: Path, trials: int, step: Callable[[Ledger], None]) -> Ledger:
    paths.folder.mkdir()
    with running_ray(cluster.address):
        placement = place(1, 0, None)
        ledger = Ledger(paths, "x", 2)
        run_trials(
            patient(go),
            OptunaSearcher(
                read_space(default_space("ann")), "random", seed=0, max_epochs=2, journal=paths.journal, name="x"
            ),
            SCHEDULERS["fifo"](2),
            ledger,
            placement,
            trials=trials,
            time_budget=None,
            slots=Slots(placement, joined=True),
            on_step=lambda ended: step(ledger),
        )
        return ledger


@pytest.mark.faults
def test_losses_of_nodes_are_not_a_trials_failures(cluster: Any, tmp_path: Path) -> None:
    import ray

    nodes = [cluster.add_node(num_cpus=1, include_dashboard=False)]
    cluster.wait_for_nodes()
    lost: list[str] = []
    killed: list[str] = []

    def step(ledger: Ledger) -> None:
        node, _, process = (ledger.trials.get(0, {}).get("node") or "").partition(" ")
        dead = {one["NodeID"] for one in ray.nodes() if not one["Alive"]}
        if not node or node in lost or process in killed or not dead.issuperset(lost):
            return
        if len(lost) < 5:
            # More often than a trial may fail.
            lost.append(node)
            nodes.append(cluster.add_node(num_cpus=1, include_dashboard=False))
            os.kill(int(process), signal.SIGKILL)
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        elif len(killed) < 2:
            # As often as it may.
            killed.append(process)
            os.kill(int(process), signal.SIGKILL)
        else:
            (tmp_path / "go").touch()

    ledger = run(cluster, SearchPaths(tmp_path / "x"), tmp_path / "go", 1, step)
    assert len(lost) == 5
    assert len(killed) == 2
    assert [(trial["status"], trial["epochs"]) for trial in ledger.trials.values()] == [("completed", 2)]


def nodes_of(trials: Iterable[dict[str, Any]]) -> set[str]:
    return {trial["node"].partition(" ")[0] for trial in trials if "node" in trial}


@pytest.mark.faults
def test_a_node_that_joins_is_used(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.wait_for_nodes()
    added = []

    def step(ledger: Ledger) -> None:
        nodes = nodes_of(ledger.running)
        if nodes and not added:
            added.append(cluster.add_node(num_cpus=2, include_dashboard=False))
        # Three trials on two nodes at once: none ends before.
        if len(nodes) == 2 and len(ledger.running) == 3:
            (tmp_path / "go").touch()

    ledger = run(cluster, SearchPaths(tmp_path / "x"), tmp_path / "go", 6, step)
    assert {trial["status"] for trial in ledger.trials.values()} == {"completed"}
    assert len(nodes_of(ledger.trials.values())) == 2
