"""What a second machine costs, ``python -m benchmarks.nodes``: a search on a node of two CPUs and on two nodes of one.

The nodes are Ray's own, on this machine, and the head has no CPU: the processors are the same, what differs is what
lies between driver, images and trials.  Suggestions are random and no trial is stopped, so both train the same.  The
utilisation is the search's own, training and evaluation over slots and time while trials wait.  Under four minutes on
two cores that nothing else uses.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

_NODES: Final = {"one node of 2 CPUs": [2], "two nodes of 1 CPU": [1, 1]}


def utilisation(nodes: list[int], trials: int, epochs: int, images: int) -> float:
    """Search on a cluster of nodes with so many CPUs each; return the utilisation while trials wait, 0 to 1."""
    # Ray takes two seconds to import, which a mistake in the options need not wait for.
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for cpus in nodes:
        cluster.add_node(num_cpus=cpus, include_dashboard=False)
    cluster.wait_for_nodes()
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        size = ["--trials", str(trials), "--max-epochs", str(epochs), "--limit-train", str(images), "--no-retrain"]
        order = ["--searcher", "random", "--scheduler", "fifo"]
        where = ["--address", cluster.address, "--results-dir", folder, "--name", "x"]
        command = [sys.executable, "-m", "tune_fmnist.search", "--model", "ann", *size, *order, *where]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        record = SearchRecord.read(SearchPaths(Path(folder) / "x"))
    cluster.shutdown()  # type: ignore[no-untyped-call]
    assert record.utilisation_while_trials_wait is not None
    return record.utilisation_while_trials_wait


def main(
    turns: Annotated[int, typer.Option(min=1, help="searches on each")] = 3,
    trials: Annotated[int, typer.Option(min=4, help="of a search")] = 18,
    epochs: Annotated[int, typer.Option(min=1, help="of a trial")] = 3,
    images: Annotated[int, typer.Option(min=100, help="of the training files")] = 30_000,
) -> None:
    """Measure the utilisation of two nodes against that of one."""
    found: dict[str, list[float]] = {name: [] for name in _NODES}
    for _ in range(turns):
        for name, nodes in _NODES.items():
            found[name].append(utilisation(nodes, trials, epochs, images))
    table = Table("", "median utilisation", "range", title=f"while trials wait, {trials} trials, {turns} turns")
    for name, of in found.items():
        table.add_row(name, f"{statistics.median(of):.3f}", f"{min(of):.3f} to {max(of):.3f}")
    out = Console()
    out.print(table)
    one, two = (statistics.median(of) for of in found.values())
    out.print(f"two nodes over one: {two / one:.3f}")


if __name__ == "__main__":
    typer.run(main)
