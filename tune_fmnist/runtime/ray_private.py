"""What this program uses of Ray that is not public, with a check that it is there.

Ray may change these names in any release, so that pyproject.toml admits the releases that were tried.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import ray
import ray.tune.tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

TRIED: Final = ("2.60.0",)
"""The releases of Ray with which all tests passed."""

_NAMES: Final = (
    "ray._private.ray_constants:ENABLE_RAY_CLUSTER",
    "ray._private.services:find_bootstrap_address",
    "ray._private.utils:set_sigterm_handler",
    "ray._private.worker:connect",
    "ray.tune.tune:TuneController",
    "ray.tune.execution.tune_controller:TuneController._actor_failed",
    "ray.tune.execution.tune_controller:TuneController._unstage_trial_with_resources",
    "ray.tune.execution.tune_controller:TuneController._set_trial_status",
    "ray.tune.execution.tune_controller:TuneController.get_live_trials",
    "ray.tune.experiment.trial:Trial.num_failures",
)
"""Module and name of each; the two of an instance are looked at in ``_Controller``."""

_FAILURE_HANDLER: Final = "_ZN3ray6RayLog27InstallFailureSignalHandlerEPKcb"
"""The function of Ray's C++ that takes over SIGSEGV and its like once per process, and SIGTERM with them."""


def check() -> None:
    """See that all private names are there.

    Raises:
        RuntimeError: some are missing; the message names them.
    """
    missing = [name for name in _NAMES if not _exists(name)]
    if not hasattr(_raylet(), _FAILURE_HANDLER):
        missing.append(_FAILURE_HANDLER)
    if missing:
        raise RuntimeError(
            f"Ray {ray.__version__} lacks {', '.join(missing)}; this program was tried with Ray {', '.join(TRIED)}: "
            "install one of these"
        )


def _get(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _raylet() -> ctypes.CDLL:
    return ctypes.CDLL(import_module("ray._raylet").__file__)


def _exists(name: str) -> bool:
    try:
        _get(name)
    except (ImportError, AttributeError):
        return False
    return True


def running_cluster() -> str | None:
    """Return the address of the Ray cluster that was started on this machine, or None."""
    found: str | None = _get("ray._private.services:find_bootstrap_address")(None)
    return found


@contextmanager
def listening_here() -> Iterator[None]:
    """Let a Ray that the block starts listen on the loopback address, not on every one that the machine has.

    Ray gives a node that address where it takes the system for one without clusters, and no parameter says so.  The
    environment variable behind it would hold for clusters that this process joins as well, whose nodes must be reached.
    """
    constants: Any = import_module("ray._private.ray_constants")
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Let ``ray.init`` leave SIGTERM to this program in this block, and start its processes deaf to SIGHUP.

    Otherwise a SIGTERM while Ray starts ends the process with Ray's own status, and one afterwards aborts it with a
    stack on the screen.  A terminal that closes sends SIGHUP to all processes: Ray's have to outlive the search.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    # What has been done is not done again.
    getattr(_raylet(), _FAILURE_HANDLER)(None, True)
    signal.signal(signal.SIGTERM, handler)
    utils: Any = import_module("ray._private.utils")
    before, blocked = utils.set_sigterm_handler, signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextmanager
def silent_core() -> Iterator[None]:
    """Let the compiled part of Ray that ``ray.init`` loads into this process write nothing on the screen.

    When Ray is lost it tells of each task that ends; this program says once what that means.  Ray's other processes,
    which inherit the environment, go on writing their errors to their logs.  The line that says that its level was set
    is left out.
    """
    worker: Any = import_module("ray._private.worker")
    connect, variable = worker.connect, "RAY_BACKEND_LOG_LEVEL"

    def silently(*arguments: Any, **keywords: Any) -> Any:
        chosen = os.environ.get(variable)
        if chosen is not None:
            return connect(*arguments, **keywords)
        os.environ[variable] = "fatal"
        try:
            with _without_line(variable):
                return connect(*arguments, **keywords)
        finally:
            del os.environ[variable]

    worker.connect = silently
    try:
        yield
    finally:
        worker.connect = connect


@contextmanager
def _without_line(about: str) -> Iterator[None]:
    """Leave out lines with this text from what anything in this process writes to the error output in the block."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        screen = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            written.seek(0)
            os.write(2, b"".join(line for line in written if about.encode() not in line))


def process_of(trial: Trial) -> Any:
    """Return the handle of the process that a trial runs in, or is about to; None without one."""
    return trial.temporary_state.ray_actor


def forgive(trial: Trial) -> None:
    """Take back one failure from Ray's count of a trial's failures."""
    if trial.run_metadata.num_failures:
        trial.run_metadata.num_failures -= 1


@contextmanager
def resilient_controller() -> Iterator[None]:
    """Let ``tune.run`` use ``_Controller`` in this block; it cannot be told to, so its name for it is replaced."""
    before = ray.tune.tune.TuneController  # type: ignore[attr-defined]
    ray.tune.tune.TuneController = _Controller  # type: ignore[attr-defined]
    try:
        yield
    finally:
        ray.tune.tune.TuneController = before  # type: ignore[attr-defined]


class _Controller(TuneController):
    """Ray's controller, except that a trial survives the death of the reused process that it was handed.

    Ray reports that death twice.  The first time it puts the trial back into the queue; the second time it ends the
    trial as failed, whatever its retries, because it is not running then.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        missing = [name for name in ("_actor_to_trial", "_resetting_trials") if not hasattr(self, name)]
        if missing:
            raise RuntimeError(f"Ray {ray.__version__}: its controller lacks {', '.join(missing)}")

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        trial = self._actor_to_trial[tracked_actor]
        if trial in self._resetting_trials:
            self._resetting_trials.remove(trial)
            self._unstage_trial_with_resources(trial)
            self._set_trial_status(trial, Trial.RUNNING)
        super()._actor_failed(tracked_actor, exception)
