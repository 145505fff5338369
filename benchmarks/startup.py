"""From a command to its first training step, and to its help: ``python -m benchmarks.startup``.

Medians over turns on a warm machine, that is after a first turn that does not count.  The first step is the beginning
of the first epoch of the first trial, as the table of epochs has it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from tune_fmnist.store.paths import SearchPaths


def help_seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments, "--help"], check=True, capture_output=True)
    return time.perf_counter() - started


def first_step_seconds(model: str) -> float:
    """Return the seconds from a search's command to its first training step, on all images."""
    with tempfile.TemporaryDirectory() as folder:
        size = ["--trials", "2", "--max-epochs", "1", "--no-retrain"]
        where = ["--results-dir", folder, "--name", "x"]
        started = time.time()
        command = [sys.executable, "-m", "tune_fmnist.search", "--model", model, *size, *where]
        subprocess.run(command, check=True, capture_output=True)
        epochs = pd.read_parquet(SearchPaths(Path(folder) / "x").epochs).to_dict("records")
    starts = [row["reported_at"].timestamp() - row["train_seconds"] - row["eval_seconds"] for row in epochs]
    return float(min(starts)) - started


def main(turns: Annotated[int, typer.Option(min=1, help="turns that count")] = 5) -> None:
    """Measure how long commands take to start."""
    measures: dict[str, Callable[[], float]] = {
        "search --help": lambda: help_seconds(["tune_fmnist.search"]),
        "report --help": lambda: help_seconds(["tune_fmnist.report"]),
        "search to its first training step": lambda: first_step_seconds("ann"),
    }
    table = Table("", "median, s", "range", title=f"start-up, {turns} turns")
    seconds = [{name: measure() for name, measure in measures.items()} for _ in range(turns + 1)][1:]
    for name in measures:
        of = [turn[name] for turn in seconds]
        table.add_row(name, f"{statistics.median(of):.2f}", f"{min(of):.2f} to {max(of):.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
