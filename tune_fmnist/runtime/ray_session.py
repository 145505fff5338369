"""Ray's cluster, started here or joined, and left."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayError

from tune_fmnist.base import ray_environment, signals
from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.runtime import head, ray_private
from tune_fmnist.runtime.preflight import find_cluster, make_folder


@contextmanager
def running_ray(
    address: str | None, at_last: Callable[[], None] = lambda: None, *, code: Path | None = None
) -> Iterator[None]:
    """Join the Ray cluster at ``address``, or start one on this machine; leave or end it afterwards.

    One that is started listens on this machine only, asks everybody for the user's token, and keeps its files in a
    folder that nobody else can enter.

    Args:
        address: of the cluster's head.
        at_last: called if the head is lost and the process has to end in the middle of the block.
        code: a file or a package of the user's that the nodes of a joined cluster need as well.

    Raises:
        FailedError: the cluster is lost.
        InputError: no cluster answers at the address, or it refuses this program; or there is no place for the token
            or the sockets of one's own.
        RuntimeError: this Ray lacks something that this program uses of its inside.
    """
    ray_private.check()
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    with signals.obeyed_between_steps(), ExitStack() as held:
        folder = None
        if address is None:
            # Ray lets every user of the machine write in the folders that it makes, but nobody gets into this one.
            outer = make_folder()
            held.push(partial(_leave, outer))
            folder = f"{outer}/r"
        held.callback(ray.shutdown)
        with ray_private.signals_left_alone(), ray_private.silent_core():
            if folder is not None:
                _start(folder, common)
            elif address is not None:
                # On this machine it is found where this process found it.
                shipped = {} if code is None else {"runtime_env": {"py_modules": [str(code)]}}
                _join(find_cluster(address), {**common, **shipped})
        signals.check()
        # Only errors of this program reach the screen; a trial's own end up in its row.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        with head.watched(at_last):
            yield


def _start(folder: str, common: dict[str, Any]) -> None:
    """Start Ray here; unless told otherwise, it asks for a token."""
    mode = os.environ.pop("RAY_AUTH_MODE", "")
    if mode and mode.lower() != "token":
        what = f"RAY_AUTH_MODE={mode} does not hold for the Ray that a search starts: it asks for a token"
        logging.getLogger(__name__).warning(what)
    ray_environment.keep_token()
    with ray_private.listening_here():
        # "local" starts one also where another is running already.
        ray.init(address="local", include_dashboard=False, _temp_dir=folder, **common)


def _leave(
    folder: Path, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Remove the folder for Ray's files, unless an error ends the search: it stays then, for Ray's logs."""
    if not isinstance(error, Exception):
        shutil.rmtree(folder, ignore_errors=True)


def _join(found: str, common: dict[str, Any]) -> None:
    try:
        ray.init(address=found, **common)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise InputError(
            f"the cluster at {found} refuses this program ({last_line(error)})",
            key="--address",
            hint="set its token and RAY_AUTH_MODE=token here, or start it with this Ray and this Python",
        ) from None
