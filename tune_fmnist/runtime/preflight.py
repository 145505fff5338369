"""What a search asks of Ray and of this machine, as far as it is known before Ray is imported."""

from __future__ import annotations

import math
import os
import socket
import tempfile
from pathlib import Path

from tune_fmnist.base import ray_environment
from tune_fmnist.base.errors import InputError


def check(address: str | None, cpus: float | None, gpus: float | None) -> None:
    """See that a cluster answers at ``address``, or that this machine can hold a trial in a Ray of one's own.

    Args:
        address: of a running cluster; None if one is started here.
        cpus: of one trial; None is one.
        gpus: of one trial, or a share of one; None is decided later.

    Raises:
        InputError: it does not, or cannot.
    """
    if gpus and gpus > 1 and gpus != int(gpus):
        hint = f"use {math.ceil(gpus)}: a trial has a share of one GPU, or whole ones"
        raise InputError(f"a trial of {gpus:g} GPU cannot be placed", key="--gpus-per-trial", hint=hint)
    if address is not None:
        find_cluster(address)
        return
    if "RAY_OVERRIDE_RESOURCES" not in os.environ:
        _check_slot(cpus or 1.0, gpus or 0.0)
    ray_environment.keep_token()
    make_folder().rmdir()


def _check_slot(cpus: float, gpus: float) -> None:
    # Where a container may use fewer, Ray counts again.
    cores = os.cpu_count() or math.inf
    if cpus > cores:
        raise _too_large(cpus, "CPU", f"use at most {cores}")
    if gpus:
        # Torch takes two seconds to import, and nobody who leaves the option out waits for it.
        from torch.cuda import device_count

        if gpus > (present := device_count()):
            raise _too_large(gpus, "GPU", f"use at most {present}" if present else "leave it out: there is no GPU")


def _too_large(number: float, kind: str, hint: str) -> InputError:
    what = f"a trial of {number:g} {kind} does not fit this machine"
    return InputError(what, key=f"--{kind.lower()}s-per-trial", hint=hint)


def make_folder() -> Path:
    """Make a folder for the files of a Ray of one's own, which nobody else can enter, and return it.

    Raises:
        InputError: there is no place for it, or its path is too long.
    """
    try:
        within = ray_environment.temporary_folder()
        within.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=ray_environment.FOLDER_PREFIX, dir=within))
    except OSError as error:
        what, hint = f"no place for Ray's files ({error})", "set RAY_TMPDIR to a folder that can be written"
        raise InputError(what, key="RAY_TMPDIR", hint=hint) from None


def find_cluster(address: str) -> str:
    """Return the address of a cluster that answers; ``auto`` is the one that was started on this machine.

    Ray itself tries an address where nothing answers for a quarter of an hour.

    Raises:
        InputError: there is none.
    """
    found = address
    if address == "auto":
        started = os.environ.get("RAY_ADDRESS") or _running_cluster()
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


def _running_cluster() -> str | None:
    # Ray takes two seconds to import, and only it knows where its processes are.
    from tune_fmnist.runtime import ray_private

    return ray_private.running_cluster()
