"""Folders that a check makes, and removes again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch_folder(results_dir: Path) -> Iterator[Path]:
    """Make a folder where results go; remove it and all that had to be made for it."""
    with left_as_found(results_dir):
        results_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".doctor-", dir=results_dir) as name:
            yield Path(name).resolve()


@contextmanager
def left_as_found(folder: Path) -> Iterator[None]:
    """Remove a folder and its parents after the block, those that were not there before it."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    finally:
        # They are not empty where a search has begun meanwhile.
        with suppress(OSError):
            for one in made:
                one.rmdir()
