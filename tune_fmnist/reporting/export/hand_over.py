"""A search handed over to a tool: once, or until the search has ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import cache_dir
from tune_fmnist.base.vocabulary import Tool
from tune_fmnist.reporting.export.runs import Runs, read_runs
from tune_fmnist.reporting.export.target import Target
from tune_fmnist.reporting.export.to_mlflow import Mlflow
from tune_fmnist.reporting.export.to_tensorboard import TensorBoard
from tune_fmnist.reporting.export.to_wandb import Wandb
from tune_fmnist.store.paths import SearchPaths, checked_name
from tune_fmnist.store.record import SearchRecord

_POLL_SECONDS: Final = 2.0
"""How often the tables of a running search are looked at; the search itself writes them once a second at most."""


def target_of(tool: Tool, into: str | None, paths: SearchPaths) -> Target:
    """Return a tool, ready to be exported to.

    Args:
        tool: which.
        into: a folder, or MLflow's tracking URI; if None, a folder of the tool's name in the search's, or MLflow's own
            settings.
        paths: of the search.

    Raises:
        InputError: the tool is not installed.
    """
    name = paths.folder.resolve().name
    if tool == "mlflow":
        return Mlflow(into, name)
    folder = Path(into) if into else paths.folder / tool
    return TensorBoard(folder, name) if tool == "tensorboard" else Wandb(folder.absolute())


def hand_over(
    paths: SearchPaths,
    tool: Tool,
    into: str | None = None,
    *,
    follow: bool = False,
    said: Callable[[str], None] = lambda line: None,
) -> Target:
    """Export a search's runs, and return where they are.

    Args:
        paths: of the search; its files are only read.
        tool: which to export to.
        into: see ``target_of``.
        follow: whether to go on until the search's record no longer says that it runs.
        said: called with a line each time that something was exported.

    Raises:
        InputError: the search or the tool cannot be used, or another process exports the search to it.
        FailedError: the tool refuses what it is given.
    """
    search_id = SearchRecord.read(paths).search_id
    target = target_of(tool, into, paths)
    with _alone(search_id, tool, paths):
        seen: list[tuple[int, int]] | None = None
        while True:
            # First: what changes while the tables are read is seen the next time.
            now = _files(paths)
            if now != seen:
                runs = read_runs(paths)
                if changed := target.export(runs):
                    said(_line(runs, changed, tool))
                if not follow or runs.state != "running":
                    return target
            seen = now
            time.sleep(_POLL_SECONDS)


@contextmanager
def _alone(search_id: str, tool: Tool, paths: SearchPaths) -> Iterator[None]:
    """Let one process of this user at a time export a search to a tool; the system ends the lock with its process."""
    folder = cache_dir() / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f"{checked_name(search_id, key='search_id')}-{tool}.lock", timeout=0):
            yield
    except Timeout:
        hint = "wait for it or end it"
        raise InputError(f"is being exported to {tool} by another process", file=paths.folder, hint=hint) from None


def _files(paths: SearchPaths) -> list[tuple[int, int]]:
    """Return what changes when one of the files that runs are read from is published anew."""
    files = (paths.search, paths.trials, paths.epochs, paths.retrains)
    found = [file.stat() for file in files if file.exists()]
    return [(stat.st_ino, stat.st_mtime_ns) for stat in found]


def _line(runs: Runs, changed: int, tool: Tool) -> str:
    kinds = Counter(run.kind for run in runs.runs)
    counted = f"{kinds['trial']} trials and {kinds['retrain']} retrains"
    return f"{tool}: {changed} runs brought up to date, of {counted}"
