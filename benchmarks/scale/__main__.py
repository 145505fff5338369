"""``python -m benchmarks.scale``: what the driver of a search costs, with trials that train nothing on many nodes.

The nodes are Ray's own, several on this machine.  What they compute is simulated, what the driver does is real:
searcher, scheduler, tables and study.  Suggestions are random ones: those of TPE grow dearer with each trial, which is
Optuna's and is not what is measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tune_fmnist.base.vocabulary import SchedulerName, SearcherName
from tune_fmnist.runtime.slots import Slots, place, running_ray
from tune_fmnist.runtime.trials import run_trials
from tune_fmnist.store.paths import SearchPaths, default_space
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.tuning.scheduler import SCHEDULERS
from tune_fmnist.tuning.searcher import SAMPLERS, OptunaSearcher
from tune_fmnist.tuning.space import read_space


def simulated(seconds: float, epochs: int) -> Callable[[dict[str, Any]], None]:
    """Return a trial of so many epochs that take so many seconds together and compute nothing."""

    def trial(job: dict[str, Any]) -> None:
        import random
        import time

        from ray import tune

        draw = random.Random(job["number"])  # noqa: S311 -- no secret
        level = draw.uniform(0.8, 0.9)
        for epoch in range(1, epochs + 1):
            time.sleep(seconds / epochs)
            row: dict[str, Any] = {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1 / epoch, "diverged": False}
            row |= {"train_accuracy": level, "val_accuracy": level + 0.01 * epoch / epochs, "learning_rate": 0.001}
            row |= {"train_seconds": seconds / epochs, "eval_seconds": 0.0, "overhead_seconds": 0.0}
            row |= {"reported_at": time.time(), "node": "simulated", "device": "cpu", "precision": "float32"}
            tune.report(row)

    return trial


def measure(
    trials: int, nodes: int, seconds: float, epochs: int, searcher: SearcherName, scheduler: SchedulerName
) -> dict[str, Any]:
    """Run a search of simulated trials on ``nodes`` nodes of one processor each; return what it took."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.wait_for_nodes()
    with tempfile.TemporaryDirectory(prefix="scale-") as name, running_ray(cluster.address):
        paths = SearchPaths(Path(name))
        placement = place(1, 0, None)
        design = OptunaSearcher(
            read_space(default_space("ann")), searcher, seed=0, max_epochs=epochs, journal=paths.journal, name="scale"
        )
        ledger = Ledger(paths, "scale", epochs)
        began, cpu = time.monotonic(), time.process_time()
        marks: list[tuple[int, float, float]] = []

        def step(ended: int | None) -> None:
            done = sum(ledger.counts.values()) - ledger.counts["running"]
            if ended is not None and done % max(1, trials // 10) == 0:
                marks.append((done, time.monotonic() - began, time.process_time() - cpu))
                print(f"{done} trials, {marks[-1][1]:.1f} s, driver {marks[-1][2]:.1f} s", file=sys.stderr, flush=True)

        run_trials(
            simulated(seconds, epochs),
            design,
            SCHEDULERS[scheduler](epochs),
            ledger,
            placement,
            trials=trials,
            time_budget=None,
            slots=Slots(placement, joined=True),
            on_step=step,
        )
        wall, spent = time.monotonic() - began, time.process_time() - cpu
        sizes = {file.name: file.stat().st_size for file in (paths.trials, paths.epochs, paths.journal)}
    cluster.shutdown()  # type: ignore[no-untyped-call]
    tenths = [later[2] - before[2] for before, later in pairwise(marks)]
    return {
        "trials": trials,
        "epochs": ledger.epochs,
        "nodes": nodes,
        "seconds_a_trial": seconds,
        "searcher": searcher,
        "scheduler": scheduler,
        "wall_seconds": round(wall, 1),
        "slots_busy": round(ledger.epochs * seconds / epochs / (nodes * wall), 3),
        "driver_cpu_seconds": round(spent, 1),
        "driver_cpu_ms_a_trial": round(1000 * spent / trials, 2),
        "driver_cpu_ms_a_trial_first_and_last_tenth": [round(1e4 * tenths[i] / trials, 2) for i in (0, -1)]
        if tenths
        else [],
        "decisions_a_second": round(ledger.epochs / wall, 1),
        "driver_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "bytes": sizes,
        "cores_of_this_machine": os.cpu_count(),
    }


def main() -> None:
    """Measure what is asked for, and print one JSON object a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial that is not stopped")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--searcher", default="random", choices=SAMPLERS)
    parser.add_argument("--scheduler", default="fifo", choices=SCHEDULERS)
    given = parser.parse_args()
    for trials in given.trials:
        found = measure(trials, given.nodes, given.seconds, given.epochs, given.searcher, given.scheduler)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
