"""Whether Ray's head, and its process on this machine, still answer; Ray waits a minute, then ends this program."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import GetTimeoutError, LocalRayletDiedError, RayError, RaySystemError

from tune_fmnist.base.errors import FailedError, last_line

_PERIOD = 1.0
"""Seconds between two questions, and how long an answer may take."""

_QUESTIONS = 5
"""After how many questions in a row without an answer the head is lost; a process that was halted asks again."""

_PATIENCE = 4.0
"""Seconds after which whoever has not noticed the loss must be waiting for the head."""

_GONE = (LocalRayletDiedError, GetTimeoutError, RaySystemError)
"""What Ray raises when one of its own processes has gone."""

_WHAT = "its head or its process on this machine does not answer any more"

_lost = threading.Event()
_asked: list[tuple[str, int]] = []
"""Host and port of the head and of this machine's process, in a block of ``watched``."""


def answers() -> bool:
    """Return whether both can be reached; Ray's own questions would wait for the head, out of reach of Python."""
    try:
        for one in _asked:
            socket.create_connection(one, timeout=_PERIOD).close()
    except OSError:
        return False
    return True


def _addresses() -> list[tuple[str, int]]:
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    own = [node for node in nodes if node["NodeID"] == context.get_node_id()]
    return [
        (host.strip("[]"), int(port)),
        *((node["NodeManagerAddress"], int(node["NodeManagerPort"])) for node in own),
    ]


def check() -> None:
    """Raise FailedError if Ray is lost.  Called often, where everything that was begun is finished."""
    if _lost.is_set():
        raise FailedError(_loss(_WHAT))


def _loss(what: str) -> str:
    return f"Ray is lost ({what}); what was computed is kept: run the same again, a search with --resume"


@contextmanager
def watched(at_last: Callable[[], None]) -> Iterator[None]:
    """Let ``check`` notice the loss of Ray in this block, and end the process if nobody calls it.

    Args:
        at_last: called before the process ends so, in another thread.

    Raises:
        FailedError: the block has failed because one of Ray's own processes has gone.
    """
    left = threading.Event()

    def watch() -> None:
        silent = 0
        while not left.wait(_PERIOD) and silent < _QUESTIONS:
            silent = 0 if answers() else silent + 1
        if silent < _QUESTIONS:
            return
        _lost.set()
        if not left.wait(_PATIENCE):
            try:
                at_last()
            finally:
                print(f"error: {_loss(_WHAT)}", file=sys.stderr, flush=True)
                os._exit(1)

    _lost.clear()
    _asked[:] = _addresses()
    threading.Thread(target=watch, name="head", daemon=True).start()
    try:
        yield
    except (RayError, OSError) as error:
        # A call that its process on this machine does not answer any more ends in a broken pipe.
        if not isinstance(error, _GONE) and answers():
            raise
        raise FailedError(_loss(last_line(error).rstrip("."))) from error
    finally:
        left.set()
        _asked.clear()
