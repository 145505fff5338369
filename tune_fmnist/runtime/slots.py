"""How many trials fit into Ray's cluster at once."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import ray

from tune_fmnist.base.errors import InputError
from tune_fmnist.runtime import head

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
        slots = "1 slot" if self.slots == 1 else f"{self.slots} slots"
        return f"{slots} of {self.cpus:g} CPU{gpu}{nodes}"


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
        if now - self._counted < _COUNT_SECONDS or not head.answers():
            return None
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        self._seconds, self._counted = self._seconds + self.now * (now - self._counted), now
        self.now = _count(nodes, self._placement.cpus, self._placement.gpus, self._placement.most)
        dead, before = self._dead(nodes), self._lost
        self._lost = dead
        return len(dead - before)

    @staticmethod
    def _dead(nodes: list[dict[str, Any]]) -> set[str]:
        return {node["NodeID"] for node in nodes if not node["Alive"]}


def place(
    cpus_per_trial: float | None, gpus_per_trial: float | None, max_concurrent: int | None, *, joined: bool = False
) -> Placement:
    """Divide the cluster into slots of one CPU each, and a share of a GPU where there are any, unless told otherwise.

    A cluster that was ``joined`` may have no slot yet: where ``max_concurrent`` says how many there will be, or no node
    has a CPU to give, nodes that can hold a trial are still to come, as those that an autoscaler starts.

    Raises:
        InputError: no node of the cluster can hold one trial.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    resources = [node["Resources"] for node in nodes]
    by_default = _GPU_SHARE if any(one.get("GPU") for one in resources) else 0.0
    gpus = by_default if gpus_per_trial is None else gpus_per_trial
    cpus = 1.0 if cpus_per_trial is None else cpus_per_trial
    slots = _count(nodes, cpus, gpus, max_concurrent)
    grows = joined and (max_concurrent is not None or not any(one.get("CPU") for one in resources))
    if slots == 0 and not grows:
        most = {kind: max(one.get(kind, 0) for one in resources) for kind in ("CPU", "GPU")}
        raise InputError(
            f"no node can hold a trial of {cpus:g} CPU and {gpus:g} GPU",
            key="--gpus-per-trial" if gpus > most["GPU"] else "--cpus-per-trial",
            hint=f"the largest node has {most['CPU']:g} CPU and {most['GPU']:g} GPU",
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
