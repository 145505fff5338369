"""Ctrl-C, SIGTERM and SIGHUP: the first is obeyed where nothing is half done, a second Ctrl-C or SIGTERM at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

INTERRUPTED: Final = 130
"""The exit status of a command that a signal has ended."""

_HEARD: Final = b"\r\nending: what is half done is finished first; Ctrl-C again ends at once\r\n"
"""Said to a person at a terminal, who else would see nothing for a second or two."""

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_asked = threading.Event()
_told = False
_waits = False
"""Whether a block of ``obeyed_between_steps`` is running."""


def end_the_process() -> None:
    """Let a signal end this process without a word from now on: for a command's imports, and for its last moments."""
    _handle(_leave)


def interrupt() -> None:
    """Let a signal raise KeyboardInterrupt from now on, wherever the program is; a second ends the process."""
    _handle(_raise)


def _handle(handler: Any) -> dict[int, Any]:
    """Set the handler of each signal, and return those before; what is ignored, as under nohup, stays so."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _NUMBERS}
    heard = {number: one for number, one in before.items() if one is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, handler)
    return heard


def _leave(number: int, frame: Any) -> NoReturn:
    os._exit(INTERRUPTED)


def _raise(number: int, frame: Any) -> NoReturn:
    _handle(_leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt


def _note(number: int, frame: Any) -> None:
    _handle(signal.SIG_DFL)
    # A terminal that closes may send it more than once, and a system that shuts down right after SIGTERM.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    global _told
    _asked.set()
    if number == signal.SIGINT and os.isatty(2):
        # Not by print, in the middle of whose work the signal may have come.
        os.write(2, _HEARD)
        _told = True


@contextmanager
def obeyed_between_steps() -> Iterator[None]:
    """Keep the block's first signal until ``check`` is called or the block ends; a second ends the process.

    An exception raised wherever the program happens to be could leave a table half changed, or be lost: Optuna's
    journal lock takes one for a lock that is not its own, and Python drops one raised in a callback from C.  Ray would
    abort the process at the first SIGTERM, and go on with its shutdown at the second Ctrl-C.

    A block within a block belongs to it.

    Raises:
        KeyboardInterrupt: the block has ended with a signal that nobody asked for.
    """
    global _told, _waits
    if _waits or threading.current_thread() is not threading.main_thread():
        # Only the main thread may set handlers; a caller elsewhere keeps its own.
        yield
        return
    _asked.clear()
    _told = False
    _waits, before = True, _handle(_note)
    try:
        yield
        check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _waits = False
        _asked.clear()


def asked() -> bool:
    """Return whether a signal has come that ``check`` will raise for."""
    return _asked.is_set()


def lines_told() -> int:
    """Return how many lines below the cursor the answer to Ctrl-C has taken; 0 if there was none."""
    return _HEARD.count(b"\n") if _told else 0


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come.  Called often, where everything that was begun is finished."""
    if _asked.is_set():
        raise KeyboardInterrupt
