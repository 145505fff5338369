"""Optuna's journal of a search: survives a writer that was killed, and a storage that fails for a while."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from optuna.storages.journal import JournalFileBackend

from tune_fmnist.base import signals
from tune_fmnist.base.files import STORAGE_PATIENCE_SECONDS, is_full

_RETRY_SECONDS = 0.5

_T = TypeVar("_T")


class Journal(JournalFileBackend):
    """A journal file with one writer, who holds the search's folder.

    Optuna alone cannot read a journal again to which something was appended after half a line, waits up to 30 s for a
    lock whose holder was killed (for ever, if the path is relative), raises at the first failure, and waits for the
    disk at each record, of which a trial has a dozen.  Here the writer says when, with ``sync``.

    Args:
        file: made if it is not there.

    Raises:
        ValueError: a line of it is not a JSON object.
    """

    def __init__(self, file: Path) -> None:
        self._file = file.resolve()
        if self._file.exists():
            content = self._file.read_bytes()
            whole = content.rfind(b"\n") + 1
            self._restore(whole)
            # Optuna would pass over the last line, and stumble over it once another stands behind it.
            for number, line in enumerate(content[:whole].splitlines(), 1):
                if not isinstance(json.loads(line), dict):
                    raise ValueError(f"line {number} is not an object")
        super().__init__(str(self._file))
        self._synced, self._since = self._file.stat().st_size, b""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, all or none of them; a storage that fails is tried again for five minutes."""
        lines = to_lines(logs)
        size = _patiently(lambda: self._file.stat().st_size)
        _patiently(lambda: self._append(lines), lambda: self._restore(size))
        self._since += lines

    def sync(self) -> None:
        """Return when all records would survive a power cut; a storage that fails is tried again for five minutes."""
        if self._since:
            _patiently(self._flush, self._append_again)
            self._synced, self._since = self._synced + len(self._since), b""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        """Yield the records from this number on; a storage that fails is tried again for five minutes."""
        return iter(_patiently(lambda: list(super(Journal, self).read_logs(log_number_from))))

    def _append(self, lines: bytes) -> None:
        self._lock.acquire()
        try:
            with self._file.open("ab") as opened:
                opened.write(lines)
        finally:
            self._lock.release()

    def _flush(self) -> None:
        with self._file.open("rb") as opened:
            os.fsync(opened.fileno())

    def _append_again(self) -> None:
        # What could not be flushed is no longer in the system's memory either.
        self._restore(self._synced)
        self._append(self._since)

    def _restore(self, size: int) -> None:
        """Cut off what was appended in part, and release the lock of whoever did not come to release it."""
        for left in self._file.parent.glob(f"{self._file.name}.lock*"):
            left.unlink(missing_ok=True)
        with self._file.open("r+b") as opened:
            opened.truncate(size)


def to_lines(records: list[dict[str, Any]]) -> bytes:
    """Return records as a journal's file has them."""
    return "".join(f"{json.dumps(record, separators=(',', ':'))}\n" for record in records).encode()


def _patiently(act: Callable[[], _T], restore: Callable[[], None] = lambda: None) -> _T:
    """Return what ``act`` returns; while the storage fails, ``restore`` what was and try again.

    Raises:
        OSError: the storage is full, or has failed for too long.
    """
    began, failed = time.monotonic(), False
    while True:
        try:
            if failed:
                signals.check()
                restore()
            return act()
        except (OSError, RuntimeError) as error:
            # Optuna's lock raises a RuntimeError if its file has gone.
            if is_full(error) or time.monotonic() - began > STORAGE_PATIENCE_SECONDS:
                raise
            if not failed:
                logging.getLogger(__name__).warning("the journal cannot be used, trying again: %s", error)
            failed = True
        time.sleep(_RETRY_SECONDS)
