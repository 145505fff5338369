"""Files: published by rename, their format versions, and where the user's cache is."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError

SCHEMA_VERSION: Final = 2
"""Of the tables and ``search.json``; version 1 is read as well."""

MODEL_FORMAT: Final = 2
"""Of ``best/`` and checkpoints.  Format 1, which carried no number, had the CNN's features in two different orders."""

STORAGE_PATIENCE_SECONDS: Final = 300.0
"""How long a storage may fail before the search ends."""


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Give a path to write to, and rename what was written there to ``path`` if the block ends without an error.

    Whenever the process is killed or the power fails, ``path`` is the old file or the new one, whole; when this has
    returned, it is the new one.
    """
    new = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another thread, or a machine that shares the folder and counts its processes alike, may publish the same file now.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{os.getpid()}.partial")
    try:
        yield partial
        # A rename may reach the disk before the content of what is renamed, which would then be an empty file.
        _flush(partial)
        partial.replace(path)
        for folder in (path.parent, *(made.parent for made in new)):
            _flush(folder)
    finally:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Return when a file's content, or the names in a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        # Some network file systems cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(opened)


def check_version(found: object, *, oldest: int, newest: int, file: Path | str, key: str) -> int:
    """Return a file's format version if this program can read it.

    Raises:
        InputError: it is not a whole number from ``oldest`` to ``newest``.
    """
    if not isinstance(found, int) or isinstance(found, bool) or not oldest <= found <= newest:
        readable = f"version {newest}" if oldest == newest else f"versions {oldest} to {newest}"
        hint = f"this release reads {readable}: use the release that wrote it, or make the file anew"
        raise InputError(f"unsupported version {found!r}", file=file, key=key, hint=hint)
    return found


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, says that a storage has no room left; waiting does not help."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def cache_dir() -> Path:
    """Return where fetched data is kept: ``$XDG_CACHE_HOME/tune_fmnist``, ``~/.cache/tune_fmnist`` without it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tune_fmnist"
