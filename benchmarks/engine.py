"""What the driver costs per trial: trials that do nothing but report, ``python -m benchmarks.engine``.

The trials run as a search's do: the searcher with its study on disk, the tables, and no early stopping, so that each
trial reports as often.  Memory is what the driver's process holds, per trial after the first tenth.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.driver import drive
from benchmarks.simulated import simulated
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import place
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow.options import Options

EPOCHS = 3


class Moment(NamedTuple):
    """Wall seconds, processor seconds and resident bytes of the driver when a trial ended."""

    wall: float
    processor: float
    resident: int


def now() -> Moment:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Moment(time.monotonic(), time.process_time(), resident)


def measure(searcher: str, trials: int, folder: Path) -> list[Moment]:
    """Run trials in the Ray that is running; return the moments of the start, of each trial's end, and of the end."""
    moments = [now()]

    def on_step(tables: TrialTables, ended: int | None) -> None:
        if ended is not None:
            moments.append(now())

    options = Options.of(model="ann", trials=trials, max_epochs=EPOCHS, searcher=searcher, scheduler="fifo")
    drive(simulated(0.0), options, folder, place(None, None, None), on_step=on_step)
    return [*moments, now()]


def main(
    trials: Annotated[int, typer.Option(min=20, help="how many")] = 1000,
    searcher: Annotated[list[str] | None, typer.Option(help="random or tpe; may be repeated [both]")] = None,
) -> None:
    """Measure what the driver costs per trial, in time and in memory."""
    table = Table(title=f"{trials} trials of {EPOCHS} epochs, driver")
    for heading in ("searcher", "wall, s", "processor, s", "ms per trial, first tenth", "last tenth", "KB per trial"):
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
