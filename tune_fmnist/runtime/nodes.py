"""What every node of the cluster says before a search: its facts, and whether it can use the storage."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_fmnist.base import provenance
from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.store.folder import Folder

SHM: Final = Path("/dev/shm")  # noqa: S108 -- looked at only
"""Where Ray keeps its object store on Linux, if that is large enough."""


class Facts(TypedDict):
    """A node's facts, in plain values: it may run other versions than the machine that reads them.

    ``torch`` and ``storage`` are errors, empty where there is none.  ``gpus`` are those that Torch sees: name and share
    of the memory in use.  ``shared`` is whether the driver's scratch folder was there, None without one.  ``memory``
    (available) and ``shm`` (all of it) are bytes, None where the system does not tell.  ``clock`` is in seconds since
    1970.
    """

    versions: dict[str, str]
    torch: str
    gpus: list[tuple[str, float]]
    shared: bool | None
    storage: str
    memory: int | None
    shm: int | None
    clock: float


def facts(scratch: Path | None) -> Facts:
    """Collect the facts of the node that this runs on.

    Args:
        scratch: a new folder where results go, which another machine may not see; None if it could not be made.
    """
    torch_error, gpus = _torch()
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    return Facts(
        versions=provenance.versions(),
        torch=torch_error,
        gpus=gpus,
        shared=scratch.exists() if scratch is not None else None,
        storage=_storage(scratch) if scratch is not None else "",
        memory=next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None),
        shm=shutil.disk_usage(SHM).total if SHM.exists() else None,
        # Last, so that only the way back lies between this and its arrival.
        clock=time.time(),
    )


def _torch() -> tuple[str, list[tuple[str, float]]]:
    """Return why Torch cannot be used, and its GPUs."""
    gpus = []
    try:
        # Each node tries it in a process of its own, and says where it fails; the driver goes on without Torch.
        import torch

        # Made for another Torch, it fails here.
        import_module("torchvision")
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            gpus.append((torch.cuda.get_device_name(index), 1 - free / total))
    except (ImportError, OSError, RuntimeError) as error:
        return last_line(error), gpus
    return "", gpus


def _storage(scratch: Path) -> str:
    """Return why results cannot be written here; a folder that is not there is only asked for, not made."""
    if scratch.exists():
        return Folder(str(scratch)).trouble()
    present = next(folder for folder in scratch.parents if folder.exists())
    return "" if present.is_dir() and os.access(present, os.W_OK) else f"{present} cannot be written"


class Answer(NamedTuple):
    """What a node of the cluster returned, or why it did not; ``arrived`` is when, in seconds since 1970."""

    node: str
    resources: dict[str, float]
    value: Any
    error: str | None
    arrived: float


def ask_every_node(function: Callable[..., Any], *arguments: Any, patience: float) -> list[Answer]:
    """Run a function on every node at once, sorted by the nodes' names; it takes no CPU from those who compute there.

    Args:
        patience: seconds without an answer from any node after which the silent ones count as out of reach.
    """
    alive = [one for one in ray.nodes() if one["Alive"]]  # type: ignore[no-untyped-call]
    hosts = [one["NodeManagerHostname"] for one in alive]
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    asked: dict[Any, tuple[str, dict[str, float]]] = {}
    for one, host in zip(alive, hosts, strict=True):
        pinned = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(one["NodeID"], soft=False))
        name = host if hosts.count(host) == 1 else f"{host}:{one['NodeManagerPort']}"
        asked[pinned.remote(*arguments)] = (name, one["Resources"])
    answers, waiting = [], list(asked)
    while waiting:
        done, waiting = ray.wait(waiting, timeout=patience)
        arrived = time.time()
        if not done:
            silent = f"has not answered for {patience:g} s"
            answers += [Answer(*asked[one], None, silent, arrived) for one in waiting]
            break
        try:
            answers.append(Answer(*asked[done[0]], ray.get(done[0]), None, arrived))
        except RayError as error:
            why = f"cannot run this program ({last_line(error)})"
            answers.append(Answer(*asked[done[0]], None, why, arrived))
    return sorted(answers, key=lambda answer: answer.node)


def check_storage(folder: Folder, key: str) -> None:
    """Write, read and remove a file of a storage on every node, before the first trial needs it there.

    Args:
        folder: where the search's files go.
        key: the option that names it.

    Raises:
        InputError: a node cannot use it, or sees another folder under its name.
    """
    seen = f"check-{uuid.uuid4().hex}"
    try:
        folder.write(seen, b"")
        try:
            answers = ask_every_node(_trouble, folder, seen, patience=60)
        finally:
            folder.remove(seen)
    except OSError as error:
        what = f"cannot be used from here ({last_line(error)})"
        raise InputError(what, file=str(folder), key=key, hint="check that it can be written") from None
    failed = [(answer.node, answer.error or answer.value) for answer in answers if answer.error or answer.value]
    if failed:
        also = f", nor {len(failed) - 1} others of {len(answers)}" if len(failed) > 1 else ""
        what = f"node {failed[0][0]} cannot use it{also}: {failed[0][1]}"
        hint = "name a folder that every node shares, or s3://BUCKET/PREFIX, with --storage"
        raise InputError(what, file=str(folder), key=key, hint=hint)


def check_code(module: str) -> None:
    """Import a module of the user's on every node, before the first trial needs it there.

    Raises:
        InputError: a node cannot.
    """
    for answer in ask_every_node(_import_error, module, patience=120):
        if said := answer.error or answer.value:
            hint = "install there what it imports; its own file or package is brought there"
            raise InputError(f"node {answer.node} cannot import {module}: {said}", key="--model", hint=hint)


def _import_error(module: str) -> str:
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
        return f"{type(error).__name__}: {last_line(error)}"
    return ""


def _trouble(folder: Folder, seen: str) -> str:
    return folder.trouble(seen)
