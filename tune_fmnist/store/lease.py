"""Who writes a search on a storage: a lease that its holder renews, and that a dead one loses."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lock import holder, in_use
from tune_fmnist.store.record import now

RENEW_SECONDS: Final = 5.0
"""Time between two renewals."""

_SILENCE_SECONDS: Final = 20.0
"""After so long without a renewal, a holder counts as dead."""

_FILE: Final = "holder.json"


class Lease:
    """The right to write one search's folder on a storage.

    Args:
        folder: the search's.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._token = uuid.uuid4().hex
        self._since = now().isoformat()
        self._renewals = 0

    def take(self) -> None:
        """Become the holder; wait for a sign of life of whoever holds it, and take over from a silent one.

        Raises:
            InputError: another process holds it, or the storage cannot be used.
        """
        try:
            seen, until = self._holder(), time.monotonic() + _SILENCE_SECONDS
            while seen and time.monotonic() < until:
                time.sleep(1)
                other = self._holder()
                if other and other != seen:
                    raise in_use(other, str(self._folder), "--storage")
                seen = other
            self._write()
        except OSError as error:
            said = " ".join(str(error).split())
            hint = "check that it exists, that it can be written, and its keys"
            raise InputError(f"cannot be used ({said})", file=str(self._folder), key="--storage", hint=hint) from None

    def renew(self) -> None:
        """Give a sign of life.

        Raises:
            InputError: another process has taken over meanwhile.
            OSError: the storage cannot be used.
        """
        if (other := self._holder()) and other.get("token") != self._token:
            raise in_use(other, str(self._folder), "--storage")
        self._write()

    def release(self) -> None:
        """Hold it no longer."""
        self._folder.remove(_FILE)

    def _holder(self) -> dict[str, Any]:
        if _FILE not in self._folder.names():
            return {}
        try:
            held_by: dict[str, Any] = json.loads(self._folder.read(_FILE))
        except (FileNotFoundError, ValueError):
            return {}
        return held_by

    def _write(self) -> None:
        self._renewals += 1
        held_by = {**holder(self._since), "token": self._token, "beat": self._renewals}
        self._folder.write(_FILE, json.dumps(held_by).encode())
