"""One writer per search: whoever comes second is told who holds it; a dead process holds nothing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import now


@contextmanager
def only_writer(paths: SearchPaths) -> Iterator[None]:
    """Hold a search's folder for the block; the system releases it when the process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        said = b""
        with suppress(OSError):
            said = paths.holder.read_bytes()
        raise in_use(said_by(said), paths.folder, "--name") from None
    except OSError as error:
        what, hint = f"cannot be written ({error.strerror})", "make it writable or copy it elsewhere"
        raise InputError(what, file=paths.folder, hint=hint) from None
    try:
        _clear(paths)
        with publish(paths.holder) as partial:
            partial.write_text(json.dumps(holder(now().isoformat())) + "\n")
        yield
    finally:
        paths.holder.unlink(missing_ok=True)
        lock.release()


def holder(since: str) -> dict[str, Any]:
    """Return what a writer says of itself to others: process, machine, and since when it holds the search."""
    return {"pid": os.getpid(), "node": platform.node(), "since": since}


def said_by(content: bytes) -> dict[str, Any]:
    """Return what the holder said of itself in a file of this content; nothing, if the file is damaged."""
    try:
        held_by = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return held_by if isinstance(held_by, dict) else {}


def in_use(held_by: Mapping[str, Any], folder: Path | str, key: str) -> InputError:
    """Return the error that names who holds a search; ``held_by`` is what the holder said of itself."""
    who = "process {pid} on {node} since {since}".format_map({"pid": "?", "node": "?", "since": "?", **held_by})
    return InputError(f"is in use by {who}", file=folder, key=key, hint="wait for it or end it")


def _clear(paths: SearchPaths) -> None:
    """Remove what writers that were killed left half-written."""
    for pattern in (".*.partial", ".tmp*"):
        for file in paths.folder.rglob(pattern):
            file.unlink(missing_ok=True)
