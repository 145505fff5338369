"""A search's files on a storage: copied there while it runs, fetched from there by whoever goes on with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tune_fmnist.base import signals
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import STORAGE_PATIENCE_SECONDS, publish
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lease import RENEW_SECONDS, Lease, usable
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

PERIOD_SECONDS: Final = 2.0
"""Least time between two copies."""

_SHARE: Final = 0.2
"""Largest share of the time that copying may take as the files grow."""

_RECORD: Final = "search.json"
_ORDER: Final = (
    *("test_reads.parquet", "best/model.safetensors", "best/config.json", "optuna.journal", "epochs.parquet"),
    *("trials.parquet", "confirmations.parquet", "predictions.parquet", "retrain_epochs.parquet"),
    *("retrains.parquet", "report.html"),
)
"""Copied in this order and looked at in the reverse one, so that a copy can be resumed whenever it ends: no table is
ahead of the study, no trial of its epochs, no confirmation of its trial, no retrain of the confirmations and of its
predictions, and nothing of the reads of the test set."""


class Mirror:
    """One search's folder on a storage, held by this process.

    Args:
        paths: the search's files on this machine.
        storage: where each search has a folder of its name.
        name: the search's; None is the name of its folder here.
    """

    def __init__(self, paths: SearchPaths, storage: Folder, name: str | None = None) -> None:
        self.storage, self.folder = storage, storage / (name or paths.folder.name)
        self.checkpoints = self.folder / "checkpoints"
        self._paths = paths
        self._lease = Lease(self.folder)
        self._begun, self._stop, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._copied: dict[str, tuple[int, int, int]] = {}
        self._ended: list[int] = []
        self._error: Exception | None = None

    @contextmanager
    def held(self) -> Iterator[Mirror]:
        """Hold the search for the block: nobody else writes it; copy it, once ``begin`` is called, and at the end.

        Raises:
            InputError: another process holds it, or the storage cannot be used.
        """
        self._lease.take()
        thread = threading.Thread(target=self._run, daemon=True, name="mirror")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            if self._error is None:
                self._release()
        self.check()

    def begin(self) -> None:
        """Copy from now on; the first copy is there when this returns."""
        self.copy()
        self._begun.set()

    def discard(self, number: int) -> None:
        """Remove the checkpoints of a trial when the rows that stand in the tables now have been copied."""
        self._ended.append(number)

    def finish(self) -> None:
        """Copy what has changed, and remove all checkpoints: every trial has ended.

        Raises:
            InputError: another process has taken over.
        """
        self.copy()
        with self._lease.writing():
            self.checkpoints.clear()

    def check(self) -> None:
        """Raise what ended the copying, if anything did: another writer, a storage that failed too long, or a bug."""
        if self._error is not None:
            raise self._error

    def exists(self) -> bool:
        """Return whether the storage holds the search.

        Raises:
            InputError: the storage cannot be used.
        """
        with usable(self.folder):
            return _RECORD in self.folder.names()

    def find(self) -> None:
        """Raise ``InputError`` if the storage does not hold the search, or cannot be used; nothing is made there."""
        if not self.exists():
            raise InputError("search not found", file=str(self.folder), key="--storage", hint="check --name")

    def fetch(self) -> None:
        """Bring the search's files here, unless those that are here are as new, or continue the storage's.

        Raises:
            InputError: there is no such search, or another one of that name is here.
        """
        self.find()
        theirs = SearchRecord.parse(self.folder.read(_RECORD), f"{self.folder}/{_RECORD}")
        if self._paths.search.exists():
            ours = SearchRecord.read(self._paths)
            if ours.search_id != theirs.search_id:
                what, hint = "is another search than that of the storage", "move it away, or use another --results-dir"
                raise InputError(what, file=self._paths.folder, key="--name", hint=hint)
            # A run that is not among ours was on another machine.
            if theirs.resumed_at == ours.resumed_at[: len(theirs.resumed_at)]:
                return
        self._paths.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self._paths):
            # Whatever is here is of an older run than the storage's; its record comes last.
            for name in (*_ORDER, _RECORD):
                where, _, file = name.rpartition("/")
                there, here = self.folder / where if where else self.folder, self._paths.folder / name
                here.unlink(missing_ok=True)
                if file in there.names():
                    with publish(here) as partial:
                        partial.write_bytes(there.read(file))

    def copy(self) -> None:
        """Copy what has changed, and remove the checkpoints of trials whose rows are there.

        Raises:
            InputError: another process has taken over.
        """
        with self._lock:
            ended = list(self._ended)
            figures = [f"figures/{file.name}" for file in self._paths.pictures]
            changed = {}
            for name in (_RECORD, *reversed(_ORDER), *figures):
                file = self._paths.folder / name
                if file.exists() and (state := _state(file)) != self._copied.get(name):
                    changed[name] = state, file.read_bytes()
            for name in (*figures, *_ORDER, _RECORD):
                if name in changed:
                    where, _, file_name = name.rpartition("/")
                    with self._lease.writing():
                        (self.folder / where if where else self.folder).write(file_name, changed[name][1])
                    self._copied[name] = changed[name][0]
            for number in ended:
                with self._lease.writing():
                    Checkpoints(self.checkpoints, number).remove()
                self._ended.remove(number)

    def settle(self) -> None:
        """Return when what has changed is copied; a storage that fails is tried again until ``check`` raises."""
        while True:
            try:
                return self.copy()
            except OSError:
                self.check()
                signals.check()
                time.sleep(PERIOD_SECONDS)

    def _run(self) -> None:
        """Renew the lease and copy, until the end; a storage that fails is tried again for five minutes."""
        failing_since: float | None = None
        renewed = due = time.monotonic()
        while not self._stop.wait(PERIOD_SECONDS):
            started = time.monotonic()
            try:
                if started - renewed >= RENEW_SECONDS:
                    self._lease.renew()
                    renewed = started
                if self._begun.is_set() and started >= due:
                    self.copy()
                    due = started + (time.monotonic() - started) / _SHARE
                failing_since = None
            except OSError as error:
                if failing_since is None:
                    failing_since = started
                    logging.getLogger(__name__).warning("the storage cannot be used, trying again: %s", error)
                elif started - failing_since > STORAGE_PATIENCE_SECONDS:
                    self._error = error
                    return
            except Exception as error:  # noqa: BLE001 -- whatever it is, without copies the search must not go on
                self._error = error
                return

    def _release(self) -> None:
        self._lease.confirm()
        if self._begun.is_set():
            if self._lease.took_over:
                # On S3, what the other one was about to write when it fell silent may have come since.
                self._copied.clear()
            self.copy()
        self._lease.release()


def _state(file: Path) -> tuple[int, int, int]:
    """Return what differs when a file does."""
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
