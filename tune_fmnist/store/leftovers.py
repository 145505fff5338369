"""What a search leaves that ended before its first trial: it does not take the name."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

_LOCK: Final = (".lock", ".holder.json")
_LEFT: Final = (
    *("search.json", "trials.parquet", "epochs.parquet", "optuna.journal", "optuna.journal.lock*"),
    # What was about to be published.
    *(".*.partial", ".tmp*"),
)


def only_leftovers(paths: SearchPaths) -> bool:
    """Return whether a search's folder holds what one leaves that has no row of a trial, and nothing else.

    An empty folder may be anybody's.
    """
    if paths.folder.is_symlink() or not paths.folder.is_dir():
        return False
    files = [file for file in paths.folder.iterdir() if not _is_empty(file)]
    if not files or not all(not file.is_dir() and _matches(file, (*_LOCK, *_LEFT)) for file in files):
        return False
    try:
        if paths.search.exists() and SearchRecord.read(paths).state == "finished":
            return False
        counted = ((paths.trials, tables.TRIALS), (paths.epochs, tables.EPOCHS))
        return all(len(tables.read(file, schema)) == 0 for file, schema in counted if file.exists())
    except InputError:
        # It is damaged, and may have been more.
        return False


def remove_leftovers(paths: SearchPaths) -> bool:
    """Remove what ``only_leftovers`` finds, but the lock, which the caller holds; return False if there is more."""
    if not only_leftovers(paths):
        return False
    for file in paths.folder.iterdir():
        if _matches(file, _LEFT):
            file.unlink()
    return True


def _is_empty(folder: Path) -> bool:
    """Return whether this is the empty folder that checkpoints were about to lie in."""
    return folder.name == "checkpoints" and folder.is_dir() and not any(folder.iterdir())


def _matches(file: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in patterns)
