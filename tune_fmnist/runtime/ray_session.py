"""Ray's cluster, started here or joined, and left."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from tune_fmnist.base import signals
from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.runtime import ray_private


@contextmanager
def running_ray(address: str | None) -> Iterator[None]:
    """Join the Ray cluster at ``address``, or start one on this machine; leave or end it afterwards.

    Raises:
        InputError: no cluster answers at the address, or it refuses this program.
        RuntimeError: this Ray lacks something that this program uses of its inside.
    """
    ray_private.check()
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address is None:
        # "local" starts one also where another is running already.
        ray.init(address="local", include_dashboard=False, **common)
    else:
        found = find_cluster(address)
        try:
            ray.init(address=found, **common)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            raise InputError(
                f"the cluster at {found} refuses this program ({last_line(error)})",
                key="--address",
                hint="set its token and RAY_AUTH_MODE=token here, or start it with this Ray and this Python",
            ) from None
    # Only errors of this program reach the screen; a trial's own end up in its row.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with signals.obeyed_between_steps():
        try:
            yield
        finally:
            ray.shutdown()


def find_cluster(address: str) -> str:
    """Return the address of a cluster that answers; ``auto`` is the one that was started on this machine.

    Ray itself tries an address where nothing answers for a quarter of an hour.

    Raises:
        InputError: there is none.
    """
    found = address
    if address == "auto":
        started = os.environ.get("RAY_ADDRESS") or ray_private.running_cluster()
        if started is None:
            hint = "start one with `ray start --head`, or leave this out"
            raise InputError("no cluster runs here", key="--address", hint=hint)
        found = started
    host, _, port = found.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        what = f"nothing answers at {found!r} ({error})"
        raise InputError(what, key="--address", hint="start it, or leave this out") from None
    return found
