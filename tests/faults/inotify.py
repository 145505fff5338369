"""What happens to the files of a folder, as events of the system: no file is looked at in a loop."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import NamedTuple

MODIFIED, MOVED_IN, CREATED = 0x2, 0x80, 0x100

_libc = ctypes.CDLL(None, use_errno=True)
_HEAD = struct.Struct("iIII")


class Event(NamedTuple):
    """A file of the folder was written to, renamed to this name, or created."""

    mask: int
    name: str


class Watch:
    """The events of one folder, from now on; ``fileno`` is for ``select``."""

    def __init__(self, folder: Path) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, bytes(folder), MODIFIED | MOVED_IN | CREATED) < 0:
            raise OSError(ctypes.get_errno(), "inotify", str(folder))

    def fileno(self) -> int:
        return self._fd

    def read(self) -> list[Event]:
        """Return what has happened since the last call."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return []
        events, at = [], 0
        while at < len(data):
            _, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            events.append(Event(mask, data[at : at + length].rstrip(b"\0").decode()))
            at += length
        return events

    def close(self) -> None:
        os.close(self._fd)
