"""Ctrl-C and SIGTERM: the first is obeyed where nothing is half done, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_asked = threading.Event()


@contextmanager
def obeyed_between_steps() -> Iterator[None]:
    """Keep the block's first SIGINT or SIGTERM until ``check`` is called or the block ends; a second ends the process.

    An exception raised wherever the program happens to be could leave a table half changed, or be lost: Optuna's
    journal lock takes one for a lock that is not its own, and Python drops one raised in a callback from C.  Ray would
    abort the process at the first SIGTERM, and go on with its shutdown at the second Ctrl-C.

    Raises:
        KeyboardInterrupt: the block has ended with a signal that nobody asked for.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may set handlers; a caller elsewhere keeps its own.
        yield
        return

    def note(number: int, frame: Any) -> None:
        for one in before:
            signal.signal(one, signal.SIG_DFL)
        _asked.set()

    _asked.clear()
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
        check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come.  Called often, where everything that was begun is finished."""
    if _asked.is_set():
        raise KeyboardInterrupt
