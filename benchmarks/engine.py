"""What the driver costs a trial: trials that do nothing but report, ``python -m benchmarks.engine``.

The trials run as a search's do: the searcher with its study on disk, the ledger with its tables, ASHA's rungs off so
that each reports as often.  Memory is what the driver's process holds, per trial after the first tenth.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from tune_fmnist.runtime.slots import place, running_ray
from tune_fmnist.runtime.trials import run_trials
from tune_fmnist.store.paths import SearchPaths, default_space
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.tuning.scheduler import Fifo
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space import read_space

REPORTS = 3


class Moment(NamedTuple):
    """Wall seconds, processor seconds and resident bytes of the driver when a trial ended."""

    wall: float
    processor: float
    resident: int


def nothing(job: dict[str, Any]) -> None:
    """Report made-up epochs."""
    from ray import tune

    for epoch in range(1, job["max_epochs"] + 1):
        accuracy = 0.8 + 0.01 * epoch + 0.001 * (job["number"] % 7)
        figures = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.5, "val_accuracy": accuracy}
        seconds = {"train_seconds": 0.0, "eval_seconds": 0.0, "overhead_seconds": 0.0}
        where = {"node": platform.node(), "device": "cpu", "precision": "float32"}
        rate = {"learning_rate": 1e-3, "diverged": False, "reported_at": time.time()}
        tune.report({"epoch": epoch, **figures, **seconds, **where, **rate})


def now() -> Moment:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Moment(time.monotonic(), time.process_time(), resident)


def measure(searcher: Any, trials: int, folder: Path) -> list[Moment]:
    """Run trials in the Ray that is running; return the moments of the start and of each trial's end."""
    paths = SearchPaths(folder)
    paths.folder.mkdir()
    space = read_space(default_space("ann"))
    study = OptunaSearcher(space, searcher, seed=0, max_epochs=REPORTS, journal=paths.journal, name="engine")
    moments = [now()]

    def on_step(ended: int | None) -> None:
        if ended is not None:
            moments.append(now())

    run_trials(
        nothing,
        study,
        Fifo(REPORTS),
        Ledger(paths, "engine", REPORTS),
        place(None, None, None),
        trials=trials,
        time_budget=None,
        on_step=on_step,
    )
    return [*moments, now()]


def main(
    trials: Annotated[int, typer.Option(min=20, help="how many")] = 1000,
    searcher: Annotated[list[str] | None, typer.Option(help="random or tpe; may be repeated [both]")] = None,
) -> None:
    """Measure what a trial costs the driver, in time and in memory."""
    table = Table(title=f"{trials} trials of {REPORTS} reports, driver")
    for heading in ("searcher", "wall, s", "processor, s", "ms a trial, first tenth", "last tenth", "KB a trial"):
        table.add_column(heading, justify="right")
    tenth = trials // 10
    with tempfile.TemporaryDirectory() as folder, running_ray(None):
        for name in searcher or ["random", "tpe"]:
            moments = measure(name, trials, Path(folder) / name)
            wall = [moment.wall for moment in moments]
            first, last = wall[tenth] - wall[0], wall[trials] - wall[trials - tenth]
            grown = (moments[trials].resident - moments[tenth].resident) / (trials - tenth)
            table.add_row(
                name,
                f"{wall[-1] - wall[0]:.1f}",
                f"{moments[-1].processor - moments[0].processor:.1f}",
                f"{1000 * first / tenth:.1f}",
                f"{1000 * last / tenth:.1f}",
                f"{grown / 1000:.1f}",
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
