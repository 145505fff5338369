"""Who writes a search on a storage: a lease that its holder renews, and that a dead one loses.

Each process claims a search with a file that it alone writes, ``holder-GENERATION-TOKEN.json``, and whoever takes over
writes one of the next generation: no sign of life, however late, replaces the claim of a successor.  A holder is sure
of its lease for half the time after which it counts as dead, by its own clock, which also counts while it is stopped;
later it looks before it writes.  On a folder, look and write are one step under a lock.  Arrow's S3 offers no
conditional write: a process that is stopped between its look and its request, or within the request, may still send
this one file.  It then notices, and the successor writes all files again at its end.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from filelock import Timeout

from tune_fmnist.base.errors import InputError
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lock import holder, in_use, said_by
from tune_fmnist.store.record import now

RENEW_SECONDS: Final = 5.0
"""Time between two renewals."""

_SILENCE_SECONDS: Final = 20.0
"""After so long without a renewal, a holder counts as dead."""

_CLAIM: Final = re.compile(r"holder(?:-(\d+)-[0-9a-f]{32})?\.json")
"""A claim's name, and its generation; releases before 0.2.0 wrote ``holder.json``."""

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts on while the machine sleeps."""


class Lease:
    """The right to write one search's folder on a storage; its methods may be called by several threads.

    Args:
        folder: the search's.

    Attributes:
        took_over: whether a process that held it before fell silent without having released it.
    """

    def __init__(self, folder: Folder) -> None:
        self.took_over = False
        self._folder = folder
        self._name = ""
        self._since = now().isoformat()
        self._renewals = 0
        self._sure_until = -math.inf
        self._lost: InputError | None = None
        self._mutex = threading.Lock()

    def take(self) -> None:
        """Become the holder; wait for a sign of life of whoever holds it, and take over from a silent one.

        Raises:
            InputError: another process holds it, or the storage cannot be used.
        """
        with usable(self._folder):
            while True:
                seen = self._await_silence()
                try:
                    with self._folder.alone(_SILENCE_SECONDS):
                        if self._claim(seen):
                            return
                except Timeout:
                    # Whoever holds the lock was stopped while it wrote.
                    claims = self._claims()
                    raise self._in_use(claims[max(claims, key=_generation)] if claims else b"") from None

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            InputError: another process has taken over meanwhile.
            OSError: the storage cannot be used.
        """
        with self._folder.alone(_SILENCE_SECONDS):
            self._renew()

    def confirm(self) -> None:
        """Make sure that nobody has taken over; nothing is asked of the storage soon after a renewal.

        Raises:
            InputError: another process has taken over.
            OSError: the storage cannot be used.
        """
        if not self._sure():
            self.renew()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold it for sure while the block writes, as far as the storage allows.  Errors as of ``confirm``."""
        with self._folder.alone(_SILENCE_SECONDS):
            if not self._sure():
                self._renew()
            yield
        self.confirm()

    def release(self) -> None:
        """Hold it no longer."""
        self._folder.remove(self._name)

    def _await_silence(self) -> dict[str, bytes]:
        """Return the claims of processes that give no sign of life; raise ``InputError`` at the first sign."""
        seen, until = self._claims(), time.monotonic() + _SILENCE_SECONDS
        while seen and time.monotonic() < until:
            time.sleep(1)
            found = self._claims()
            for name, said in found.items():
                if seen.get(name) != said:
                    raise self._in_use(said)
            seen = found
        return seen

    def _claim(self, seen: dict[str, bytes]) -> bool:
        """Claim it, and return whether this process is the holder now: nobody else moved meanwhile.

        Raises:
            InputError: another one claimed it as well; of two, the one whose name is less tries again.
        """
        generation = max(map(_generation, seen), default=0) + 1
        if self._claims() != seen:
            return False
        self._name = f"holder-{generation:08d}-{uuid.uuid4().hex}.json"
        try:
            began = self._beat()
            others = {name: said for name, said in self._claims().items() if name != self._name}
            moved = [(_generation(name), name) for name, said in others.items() if seen.get(name) != said]
            if not moved:
                for name in others:
                    self._folder.remove(name)
                self.took_over = bool(others)
                self._sure_until = began + _SILENCE_SECONDS / 2
                return True
        except BaseException:
            with suppress(OSError):
                self._folder.remove(self._name)
            raise
        self._folder.remove(self._name)
        if min(moved) < (generation, self._name):
            raise self._in_use(others[min(moved)[1]])
        return False

    def _sure(self) -> bool:
        return self._lost is None and time.clock_gettime(_CLOCK) < self._sure_until

    def _renew(self) -> None:
        with self._mutex:
            self._prove()
            began = self._beat()
            self._prove()
            self._sure_until = began + _SILENCE_SECONDS / 2

    def _prove(self) -> None:
        """Raise ``InputError`` if another process has taken over."""
        if self._lost is None:
            names = [name for name in self._folder.names() if _CLAIM.fullmatch(name)]
            newest = max(names, key=_generation, default="")
            if _generation(newest) > _generation(self._name):
                self._lost = self._in_use(self._said(newest) or b"")
                self._folder.remove(self._name)
            elif self._name not in names:
                what, hint = "was written by another process meanwhile", "go on with --resume"
                self._lost = InputError(what, file=str(self._folder), key="--storage", hint=hint)
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> float:
        """Write a sign of life; return when it began."""
        began = time.clock_gettime(_CLOCK)
        self._renewals += 1
        self._folder.write(self._name, json.dumps({**holder(self._since), "beat": self._renewals}).encode())
        return began

    def _claims(self) -> dict[str, bytes]:
        """Return what each process that claims it says."""
        claims = {name: self._said(name) for name in self._folder.names() if _CLAIM.fullmatch(name)}
        return {name: said for name, said in claims.items() if said is not None}

    def _said(self, name: str) -> bytes | None:
        """Return a claim's content, None if it has been released meanwhile."""
        try:
            return self._folder.read(name)
        except OSError:
            # A server may call it an internal error if that happens while it answers.
            if name in self._folder.names():
                raise
            return None

    def _in_use(self, said: bytes) -> InputError:
        return in_use(said_by(said), str(self._folder), "--storage")


@contextmanager
def usable(folder: Folder) -> Iterator[None]:
    """Raise ``InputError`` in place of an ``OSError`` of the block: the storage cannot be used."""
    try:
        yield
    except OSError as error:
        said = " ".join(str(error).split())
        hint = "check that it exists, that it can be written, and its keys"
        raise InputError(f"cannot be used ({said})", file=str(folder), key="--storage", hint=hint) from None


def _generation(name: str) -> int:
    match = _CLAIM.fullmatch(name)
    return int(match[1] or 0) if match else 0
