"""Where every file of a search lives, and how a file is published."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError

STORAGE_PATIENCE_SECONDS: Final = 300.0
"""How long a storage may fail before the search ends."""

_LONGEST_NAME: Final = 255
"""Bytes of the longest name of a folder that usual file systems take."""


@dataclass(frozen=True)
class SearchPaths:
    """The files of one search, all under ``folder``."""

    folder: Path

    @classmethod
    def named(cls, results_dir: Path, name: str) -> SearchPaths:
        """Return the paths of search ``name`` under ``results_dir``; a name cannot lead out of it."""
        if not name or name in {".", ".."} or Path(name).name != name or "\\" in name or not name.isprintable():
            raise InputError(f"{name!r} is not a folder's name", key="--name", mend="use letters, digits, '-' and '_'")
        if (size := len(name.encode())) > _LONGEST_NAME:
            what, mend = f"a name of {size} bytes, {name[:20]!r}..., is too long", f"use at most {_LONGEST_NAME}"
            raise InputError(what, key="--name", mend=mend)
        return cls(results_dir / name)

    @property
    def search(self) -> Path:
        return self.folder / "search.json"

    @property
    def trials(self) -> Path:
        return self.folder / "trials.parquet"

    @property
    def epochs(self) -> Path:
        return self.folder / "epochs.parquet"

    @property
    def retrains(self) -> Path:
        return self.folder / "retrains.parquet"

    @property
    def retrain_epochs(self) -> Path:
        return self.folder / "retrain_epochs.parquet"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions.parquet"

    @property
    def test_reads(self) -> Path:
        return self.folder / "test_reads.parquet"

    @property
    def journal(self) -> Path:
        return self.folder / "optuna.journal"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"

    @property
    def holder(self) -> Path:
        return self.folder / ".holder.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def best(self) -> Path:
        return self.folder / "best"

    @property
    def best_weights(self) -> Path:
        return self.best / "model.safetensors"

    @property
    def best_config(self) -> Path:
        return self.best / "config.json"


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Give a path to write to, and rename what was written there to ``path`` if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or what it comes from, says that a storage has no room left; waiting does not help."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def default_space(model: str) -> Path:
    """Return the search space that comes with the package, from the wheel or from a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces" / f"{model}.toml"
    return installed if installed.exists() else package.parent / "search_spaces" / f"{model}.toml"


def cache_dir() -> Path:
    """Return where fetched data is kept: ``$XDG_CACHE_HOME/tune_fmnist``, ``~/.cache/tune_fmnist`` without it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tune_fmnist"
