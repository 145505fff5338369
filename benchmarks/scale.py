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
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.driver import drive
from benchmarks.simulated import simulated
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import Slots, place
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.proposals import SAMPLERS
from tune_fmnist.workflow.options import Options


def measure(options: Options, nodes: int, seconds: float) -> dict[str, Any]:
    """Run a search of trials of so many seconds on ``nodes`` nodes of one processor each; return what it took."""
    # Ray reads its environment when it is imported: the runtime, imported above, has set it.
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=1, include_dashboard=False)
    cluster.wait_for_nodes()
    trials = options.trials
    assert trials is not None
    marks: list[float] = []
    with tempfile.TemporaryDirectory(prefix="scale-") as name, running_ray(cluster.address):
        placement = place(1, 0, None)
        began, cpu = time.monotonic(), time.process_time()

        def step(tables: TrialTables, ended: int | None) -> None:
            done = sum(tables.counts.values()) - tables.counts["running"]
            if ended is not None and done % max(1, trials // 10) == 0:
                wall, spent = time.monotonic() - began, time.process_time() - cpu
                marks.append(spent)
                print(f"{done} trials, {wall:.1f} s, driver {spent:.1f} s", file=sys.stderr, flush=True)

        slots = Slots(placement, joined=True)
        tables = drive(simulated(seconds), options, Path(name), placement, slots=slots, on_step=step)
        wall, spent = time.monotonic() - began, time.process_time() - cpu
        paths = SearchPaths(Path(name))
        sizes = {file.name: file.stat().st_size for file in (paths.trials, paths.epochs, paths.journal)}
    cluster.shutdown()  # type: ignore[no-untyped-call]
    tenths = [later - before for before, later in pairwise(marks)]
    return {
        "trials": trials,
        "epochs": tables.epochs,
        "nodes": nodes,
        "seconds_per_trial": seconds,
        "searcher": options.searcher,
        "scheduler": options.scheduler,
        "wall_seconds": round(wall, 1),
        "slots_busy": round(tables.epochs * seconds / tables.max_epochs / (nodes * wall), 3),
        "driver_cpu_seconds": round(spent, 1),
        "driver_cpu_ms_per_trial": round(1000 * spent / trials, 2),
        "driver_cpu_ms_per_trial_first_and_last_tenth": [round(1e4 * tenths[i] / trials, 2) for i in (0, -1)]
        if tenths
        else [],
        "decisions_per_second": round(tables.epochs / wall, 1),
        "driver_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "bytes": sizes,
        "cores_of_this_machine": os.cpu_count(),
    }


def main() -> None:
    """Measure what is asked for, and print one JSON object per line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a trial that is not stopped")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--searcher", default="random", choices=SAMPLERS)
    parser.add_argument("--scheduler", default="fifo", choices=["fifo", "asha"])
    given = parser.parse_args()
    design = {"max_epochs": given.epochs, "searcher": given.searcher, "scheduler": given.scheduler}
    for trials in given.trials:
        found = measure(Options.of(model="ann", trials=trials, **design), given.nodes, given.seconds)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
