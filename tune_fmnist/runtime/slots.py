"""Ray's cluster: joining or starting it, the slots it gives, and asking every node of it."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

# Read by Ray when it is imported.  A search keeps its own tables, so Ray's loggers and snapshots only cost time; its
# own handling of Ctrl-C would swallow the interruption.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray._private.services import find_bootstrap_address
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_fmnist.base import signals
from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.store.folder import Folder

_COUNT_SECONDS = 2.0
"""Least time between two counts of the cluster's slots."""

_GPU_SHARE = 0.25
"""A trial's share of a GPU by default: one of these models leaves most of a GPU idle."""


class Placement(NamedTuple):
    """What one trial or retrain occupies, how many run at once and on how many nodes; ``most`` is the user's limit."""

    cpus: float
    gpus: float
    slots: int
    nodes: int
    most: int | None = None

    @property
    def resources(self) -> dict[str, float]:
        return {"cpu": self.cpus, "gpu": self.gpus}

    def __str__(self) -> str:
        gpu = f" and {self.gpus:g} GPU" if self.gpus else ""
        nodes = f" on {self.nodes} nodes" if self.nodes > 1 else ""
        return f"{self.slots} slots of {self.cpus:g} CPU{gpu}{nodes}"


class Slots:
    """The slots of a cluster whose nodes come and go, and how many trials may be under way for them.

    On a cluster that was joined, more are under way than there are slots: what waits is what an autoscaler starts
    nodes for.  It starts as many as ``most`` needs, and one after the other without it.

    Args:
        placement: the slots there are now.
        joined: whether the cluster was here before the search.
    """

    def __init__(self, placement: Placement, *, joined: bool) -> None:
        self._placement, self._joined = placement, joined
        self.now = placement.slots
        self._seconds = 0.0
        self._counted = time.monotonic()
        self._lost = self._dead(ray.nodes())  # type: ignore[no-untyped-call]

    @property
    def wanted(self) -> int:
        """How many may be under way, 1 or more."""
        if not self._joined:
            return max(1, self.now)
        return self._placement.most or self.now + 1

    @property
    def seconds(self) -> float:
        """The sum of all slots' time so far."""
        return self._seconds + self.now * (time.monotonic() - self._counted)

    def count(self) -> int | None:
        """Count again if it is time; return how many nodes were lost since the last time, None if it is not."""
        now = time.monotonic()
        if now - self._counted < _COUNT_SECONDS:
            return None
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        self._seconds, self._counted = self._seconds + self.now * (now - self._counted), now
        cpus, gpus, *_, most = self._placement
        self.now = _count(nodes, cpus, gpus, most)
        dead, before = self._dead(nodes), self._lost
        self._lost = dead
        return len(dead - before)

    @staticmethod
    def _dead(nodes: list[dict[str, Any]]) -> set[str]:
        return {node["NodeID"] for node in nodes if not node["Alive"]}


@contextmanager
def running_ray(address: str | None) -> Iterator[None]:
    """Join the Ray cluster at ``address``, or start one on this machine; leave or end it afterwards.

    Raises:
        InputError: no cluster answers at the address, or it refuses this program.
    """
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
                mend="set its token and RAY_AUTH_MODE=token here, or start it with this Ray and this Python",
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
    found = os.environ.get("RAY_ADDRESS") or find_bootstrap_address(None) if address == "auto" else address
    if found is None:
        raise InputError("no cluster runs here", key="--address", mend="`ray start --head` one, or leave this out")
    host, _, port = found.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"nothing answers at {found!r} ({error})", key="--address", mend="start it, or leave this out"
        ) from None
    return found


def place(
    cpus_per_trial: float | None, gpus_per_trial: float | None, max_concurrent: int | None, *, wait: bool = False
) -> Placement:
    """Divide the cluster into slots: one CPU each, and a share of a GPU where there are any, unless told otherwise.

    With ``wait``, nodes that can hold a trial may still join: there is no slot yet.

    Raises:
        InputError: no node of the cluster can hold one trial.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    resources = [node["Resources"] for node in nodes]
    gpus = gpus_per_trial if gpus_per_trial is not None else _GPU_SHARE * any(one.get("GPU") for one in resources)
    cpus = cpus_per_trial if cpus_per_trial is not None else 1.0
    slots = _count(nodes, cpus, gpus, max_concurrent)
    if slots == 0 and not wait:
        most = {kind: max(one.get(kind, 0) for one in resources) for kind in ("CPU", "GPU")}
        raise InputError(
            f"no node can hold a trial of {cpus:g} CPU and {gpus:g} GPU",
            key="--gpus-per-trial" if gpus > most["GPU"] else "--cpus-per-trial",
            mend=f"the largest node has {most['CPU']:g} CPU and {most['GPU']:g} GPU",
        )
    of_use = sum(slots_of(one, cpus, gpus) > 0 for one in resources)
    return Placement(cpus, gpus, slots, of_use, max_concurrent)


def _count(nodes: list[dict[str, Any]], cpus: float, gpus: float, most: int | None) -> int:
    """Return how many trials fit into those nodes that live, ``most`` of them at the most."""
    slots = sum(slots_of(node["Resources"], cpus, gpus) for node in nodes if node["Alive"])
    return min(slots, most or slots)


def slots_of(node: dict[str, float], cpus: float, gpus: float) -> int:
    """Return how many trials fit into a node with these resources, by Ray's names."""
    fits = []
    if cpus:
        fits.append(int(node.get("CPU", 0) / cpus + 1e-9))
    if gpus:
        # A share of a GPU cannot straddle two of them.
        fits.append(int(node.get("GPU", 0)) * int(1 / gpus + 1e-9) if gpus < 1 else int(node.get("GPU", 0) / gpus))
    return min(fits)


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


def probe_storage(folder: Folder, key: str) -> None:
    """Write, read and remove a file of a storage on every node, before the first trial needs it there.

    Args:
        folder: where the search's files go.
        key: the option that names it.

    Raises:
        InputError: a node cannot use it, or sees another folder under its name.
    """
    seen = f"probe-{uuid.uuid4().hex}"
    try:
        folder.write(seen, b"")
        try:
            answers = ask_every_node(_probe, folder, seen, patience=60)
        finally:
            folder.remove(seen)
    except OSError as error:
        what = f"cannot be used from here ({last_line(error)})"
        raise InputError(what, file=str(folder), key=key, mend="see that it can be written") from None
    failed = [(answer.node, answer.error or answer.value) for answer in answers if answer.error or answer.value]
    if failed:
        also = f", nor {len(failed) - 1} others of {len(answers)}" if len(failed) > 1 else ""
        what = f"node {failed[0][0]} cannot use it{also}: {failed[0][1]}"
        mend = "name a folder that every node shares, or s3://BUCKET/PREFIX, with --storage"
        raise InputError(what, file=str(folder), key=key, mend=mend)


def _probe(folder: Folder, seen: str) -> str:
    return folder.probe(seen)
