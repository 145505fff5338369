"""Where every file of a search lives."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError

RESULTS_DIR: Final = Path("results")
"""Where searches are, unless a command is told otherwise."""

_LONGEST_NAME: Final = 100
"""Characters of the longest name of a search."""

_LONGEST_BYTES: Final = 240
"""Bytes of it, whatever its characters: usual file systems take 255, of which endings such as ``.log`` need some."""


def checked_name(name: str, key: str = "--name") -> str:
    """Return the name of a search, which is a folder's and cannot lead out of the folder that this one lies in.

    Args:
        name: as the user gave it.
        key: the option or argument that it was given by.

    Raises:
        InputError: it is empty, begins with a dot, is too long, or holds what no name should.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        hint = "use letters, digits, '-' and '_'"
        raise InputError(f"{name!r} is not a folder's name", key=key, hint=hint)
    if len(name) > _LONGEST_NAME or len(name.encode()) > _LONGEST_BYTES:
        what = f"a name of {len(name)} characters, {name[:20]!r}..., is too long"
        raise InputError(what, key=key, hint=f"use at most {_LONGEST_NAME} plain ones")
    return name


_LONGEST_PART: Final = 255
"""Bytes of the longest name of a folder that usual file systems take."""

_LONGEST_PATH: Final = 4095
"""Bytes of the longest path that Linux takes."""

_INSIDE: Final = 100
"""Bytes that the paths of a search's files add to its folder's, at most."""


@dataclass
class SearchPaths:
    """The files of one search, all under ``folder``."""

    folder: Path

    def __post_init__(self) -> None:
        self.search = self.folder / "search.json"
        self.trials = self.folder / "trials.parquet"
        self.epochs = self.folder / "epochs.parquet"
        self.confirmations = self.folder / "confirmations.parquet"
        self.retrains = self.folder / "retrains.parquet"
        self.retrain_epochs = self.folder / "retrain_epochs.parquet"
        self.predictions = self.folder / "predictions.parquet"
        self.test_reads = self.folder / "test_reads.parquet"
        self.journal = self.folder / "optuna.journal"
        self.checkpoints = self.folder / "checkpoints"
        self.best = self.folder / "best"
        self.page = self.folder / "report.html"
        self.figures = self.folder / "figures"
        self.lock = self.folder / ".lock"
        self.holder = self.folder / ".holder.json"

    @property
    def pictures(self) -> list[Path]:
        """The figures' files that are there, in order."""
        return sorted([*self.figures.glob("*.png"), *self.figures.glob("*.svg")])

    @classmethod
    def named(cls, results_dir: Path, name: str) -> SearchPaths:
        """Return the paths of search ``name`` under ``results_dir``; a name cannot lead out of it."""
        folder = results_dir / checked_name(name)
        _check_length(folder)
        return cls(folder)

    @classmethod
    def of(cls, name: str, results_dir: Path = RESULTS_DIR) -> SearchPaths:
        """Return the paths of a search that is there: of this name under ``results_dir``, or in the folder so called.

        Raises:
            InputError: there is no such folder.
        """
        folder = Path(name)
        if "/" not in name and not name.startswith("."):
            named = cls.named(results_dir, name)
            if named.folder.is_dir() or not folder.is_dir():
                folder = named.folder
        if not folder.is_dir():
            hint = f"name a search in {results_dir}, or the folder of one"
            raise InputError("folder not found", file=folder, hint=hint)
        return cls(folder)


def _check_length(folder: Path) -> None:
    """Refuse a folder in which a search's files would have paths that the system does not take."""
    size = len(os.fsencode(folder.absolute()))
    if size > _LONGEST_PATH - _INSIDE or max(len(os.fsencode(part)) for part in folder.parts) > _LONGEST_PART:
        what = f"a path of {size} bytes, {str(folder)[:20]!r}..., is too long"
        hint = f"use at most {_LONGEST_PATH - _INSIDE}, and {_LONGEST_PART} between two slashes"
        raise InputError(what, key="--results-dir", hint=hint)
