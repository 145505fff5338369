"""The searches of a results folder, a line each."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from tune_fmnist.base.datasets import title_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import UNFINISHED
from tune_fmnist.reporting.confirmed import validation
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.wording import DASH, percent
from tune_fmnist.store.paths import SearchPaths


class Line(NamedTuple):
    """A search in a few words; accuracies are percentages, a dash where there is none."""

    name: str
    model: str
    dataset: str
    state: str
    trials: str
    validation: str
    test: str
    began: str


def lines(results_dir: Path) -> list[Line | InputError]:
    """Return a line for each search of a folder, the newest first; what is wrong with one that cannot be read.

    Raises:
        InputError: there is no such folder, or no search in it.
    """
    if not results_dir.is_dir():
        raise InputError("folder not found", file=results_dir, key="--results-dir", hint="name one that holds searches")
    folders = sorted(file.parent for file in results_dir.glob("*/search.json"))
    if not folders:
        hint = "begin one with `tune-fmnist search`, or name another folder"
        raise InputError("holds no search", file=results_dir, key="--results-dir", hint=hint)
    found: list[tuple[str, Line | InputError]] = []
    for folder in folders:
        try:
            line = _line(Results(SearchPaths(folder)))
        except InputError as error:
            found.append(("", error))
        else:
            found.append((line.began, line))
    return [line for _, line in sorted(found, key=lambda one: one[0], reverse=True)]


def _line(results: Results) -> Line:
    record = results.record
    tested = rows_of(results.retrains[results.retrains["rank"] == 1]) if results.retrained else []
    ended = int((~results.trials["status"].isin(UNFINISHED)).sum())
    return Line(
        name=results.paths.folder.name,
        model=record.model,
        dataset=title_of(record.dataset),
        state=record.state,
        trials=f"{ended}/{record.trials}",
        validation=percent(validation(results)),
        test=percent(fmean(row["test_accuracy"] for row in tested)) if tested else DASH,
        began=f"{record.started_at.astimezone():%Y-%m-%d %H:%M}",
    )


def table(found: list[Line | InputError]) -> Table:
    """Return the lines as a table of a terminal; a search that cannot be read has its error instead."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in Line._fields:
        numbers = name in ("trials", "validation", "test")
        drawn.add_column(
            name, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers or name == "began"
        )
    for line in found:
        if isinstance(line, Line):
            drawn.add_row(*(Text(cell) for cell in line))
    return drawn
