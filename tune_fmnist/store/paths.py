"""Where every file of a search lives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError

_LONGEST_NAME: Final = 255
"""Bytes of the longest name of a folder that usual file systems take."""


@dataclass
class SearchPaths:
    """The files of one search, all under ``folder``."""

    folder: Path

    def __post_init__(self) -> None:
        self.search = self.folder / "search.json"
        self.trials = self.folder / "trials.parquet"
        self.epochs = self.folder / "epochs.parquet"
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

    @classmethod
    def named(cls, results_dir: Path, name: str) -> SearchPaths:
        """Return the paths of search ``name`` under ``results_dir``; a name cannot lead out of it."""
        if not name or name in {".", ".."} or Path(name).name != name or "\\" in name or not name.isprintable():
            hint = "use letters, digits, '-' and '_'"
            raise InputError(f"{name!r} is not a folder's name", key="--name", hint=hint)
        if (size := len(name.encode())) > _LONGEST_NAME:
            what = f"a name of {size} bytes, {name[:20]!r}..., is too long"
            raise InputError(what, key="--name", hint=f"use at most {_LONGEST_NAME}")
        return cls(results_dir / name)
