"""One writer a search: whoever comes second is told who holds it; a dead process holds nothing."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from tune_fmnist.base.errors import InputError
from tune_fmnist.store.paths import SearchPaths, publish
from tune_fmnist.store.record import now


@contextmanager
def only_writer(paths: SearchPaths) -> Iterator[None]:
    """Hold a search's folder for the block; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = json.loads(paths.holder.read_text()) if paths.holder.exists() else {}
        who = "process {pid} on {node} since {since}".format_map({"pid": "?", "node": "?", "since": "?"} | holder)
        raise InputError(f"is in use by {who}", file=paths.folder, key="--name", mend="wait for it or end it") from None
    except OSError as error:
        what, mend = f"cannot be written ({error.strerror})", "make it writable or copy it elsewhere"
        raise InputError(what, file=paths.folder, mend=mend) from None
    try:
        _clear(paths)
        since = now()
        with publish(paths.holder) as partial:
            partial.write_text(json.dumps({"pid": os.getpid(), "node": platform.node(), "since": since}) + "\n")
        yield
    finally:
        paths.holder.unlink(missing_ok=True)
        lock.release()


def _clear(paths: SearchPaths) -> None:
    """Remove what writers that were killed left half-written."""
    for pattern in (".*.partial", ".tmp*"):
        for file in paths.folder.rglob(pattern):
            file.unlink(missing_ok=True)
