"""What would go wrong on the nodes of a cluster, or of the Ray that a search starts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NamedTuple

from tune_fmnist.base import provenance
from tune_fmnist.base.errors import InputError
from tune_fmnist.runtime.nodes import SHM, Facts, ask_every_node, check_storage, facts
from tune_fmnist.runtime.preflight import find_cluster
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import Placement, place, slots_of
from tune_fmnist.store.folder import Folder
from tune_fmnist.workflow.findings import GIB, HERE, Finding, State, judged, refused
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.scratch import left_as_found

__all__ = ["examine", "found", "running_ray"]

_PATIENCE: Final = 60
"""Seconds without an answer from any node after which the silent ones count as out of reach."""

_RAY_UNITS: Final = 10_000
"""Ray counts a resource in whole ten-thousandths, and drops the rest: seven of 1/7 fit a GPU, seven of 0.1429 not."""

_IDLE: Final = 0.05
"""How much of a GPU a share may leave idle: 0.33 typed for a third leaves 0.01, 0.15 leaves 0.1."""


class Node(NamedTuple):
    """A node as Ray has it, its facts or why there are none, and the seconds its clock is ahead of this machine's."""

    name: str
    resources: dict[str, float]
    facts: Facts | str
    ahead: float


def found(address: str | None) -> str:
    """Return in words which Ray a search will use; errors as of ``find_cluster``."""
    return f"joining the cluster at {find_cluster(address)}" if address else "starting one here"


def examine(options: Options, scratch: Path | None) -> Iterator[Finding]:
    """Check the cluster that was joined or started, and each of its nodes."""
    yield _tokens()
    placement = None
    try:
        placement = place(options.cpus_per_trial, options.gpus_per_trial, None)
        yield Finding("placement", HERE, "ok", str(placement))
    except InputError as error:
        yield refused("placement", error)
    if options.storage is not None:
        yield _shared_storage(options.storage)
    nodes = _ask(scratch)
    if placement and options.gpus_per_trial and any(one.resources.get("GPU") for one in nodes):
        yield _share(options.gpus_per_trial)
    for one in nodes:
        yield from _judge(one, placement, options)


def _shared_storage(uri: str) -> Finding:
    """Check that every node can use what ``--storage`` names."""
    try:
        folder = Folder.at(uri)
        with nullcontext() if folder.root else left_as_found(Path(folder.path)):
            check_storage(folder, "--storage")
    except InputError as error:
        return refused("storage", error)
    return Finding("storage", HERE, "ok", f"{folder} can be written and read from every node")


def _tokens() -> Finding:
    # Ray sets this when it starts a cluster here, or joins one that it finds by itself.
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    found = f"RAY_AUTH_MODE={mode}" + ("" if mode == "token" else ": whoever reaches Ray's ports can run code there")
    hint = "set it to token, for the cluster too"
    return judged("tokens", HERE, found, bad=mode != "token", state="warning", hint=hint)


def _share(gpus: float) -> Finding:
    """Judge how trials of ``gpus`` each, more than 0, fill a GPU or several."""
    if gpus >= 1:
        whole = gpus == int(gpus)
        found = f"{gpus:g} GPUs per trial" + ("" if whole else ": above 1, Ray gives whole ones only")
        hint = f"use --gpus-per-trial {gpus:.0f}"
        return judged("GPU share", HERE, found, bad=not whole, state="failure", hint=hint)
    trials = _RAY_UNITS // max(1, int(gpus * _RAY_UNITS))
    idle = 1 - trials * gpus
    found = f"{trials} trials of {gpus:g} leave {max(0.0, idle):.2f} of a GPU idle"
    below = min(math.floor(1 / gpus), _RAY_UNITS - 1)
    nearest = min(below, below + 1, key=lambda count: abs(1 / count - gpus))
    hint = f"use --gpus-per-trial {_RAY_UNITS // nearest / _RAY_UNITS:g}, {nearest} to a GPU"
    return judged("GPU share", HERE, found, bad=idle > _IDLE, state="failure", hint=hint)


def _ask(scratch: Path | None) -> list[Node]:
    """Collect the facts of every node, all at once."""
    answers = ask_every_node(facts, scratch, patience=_PATIENCE)
    return [
        Node(one.node, one.resources, one.error, 0.0)
        if one.error
        else Node(one.node, one.resources, one.value, one.value["clock"] - one.arrived)
        for one in answers
    ]


def _judge(node: Node, placement: Placement | None, options: Options) -> Iterator[Finding]:
    """Judge what a node says of itself."""
    said = node.facts
    if isinstance(said, str):
        hint = "install there what is installed here, in the same versions"
        yield Finding("node", node.name, "failure", said, hint)
        return
    yield from _software(node, said)
    if options.storage is None and said["shared"] is not None:
        yield _results_dir(node, said, options.results_dir)
    found = f"{abs(node.ahead):.1f} s {'ahead of' if node.ahead > 0 else 'behind'} this machine's"
    yield judged("clock", node.name, found, bad=abs(node.ahead) > 1, state="warning", hint="set it by NTP")
    yield from _memory(node, said, placement)


def _software(node: Node, said: Facts) -> Iterator[Finding]:
    """Judge a node's versions, its Torch and its GPUs."""
    here, there = provenance.versions(), said["versions"]
    other = [f"{name} {there.get(name)} ({here[name]} here)" for name in here if there.get(name) != here[name]]
    found, hint = ", ".join(other) or "the same as here", "install the same versions on every node"
    yield judged("versions", node.name, found, bad=bool(other), state="failure", hint=hint)
    found = said["torch"] or f"torch {there['torch']}, torchvision {there['torchvision']}"
    hint = "install both from one place: pip install --force-reinstall torch torchvision"
    yield judged("torch", node.name, found, bad=bool(said["torch"]), state="failure", hint=hint)
    counted, gpus = int(node.resources.get("GPU", 0)), said["gpus"]
    if counted or gpus:
        hint = "install a Torch built for its driver, or start Ray there with --num-gpus 0"
        found, bad = f"Torch sees {len(gpus)}, Ray counts {counted}", len(gpus) < counted
        yield judged("GPUs", node.name, found, bad=bad, state="failure", hint=hint)
    for index, (name, used) in enumerate(gpus):
        found = f"{index}, {name}: {used:.0%} of its memory in use"
        yield judged("GPU", node.name, found, bad=used > 0.1, state="warning", hint="end what else runs there")


def _results_dir(node: Node, said: Facts, results_dir: Path) -> Finding:
    """Judge whether a node can write where results go, if there is no other storage."""
    unwritable, shared = said["storage"], said["shared"]
    found = unwritable or f"{results_dir} {'can be written from there' if shared else 'is not shared with it'}"
    hint = "name a folder that every node shares with --storage or --results-dir: a trial cut off goes on from there"
    state: State = "failure" if unwritable else "warning"
    return judged("storage", node.name, found, bad=bool(unwritable) or not shared, state=state, hint=hint)


def _memory(node: Node, said: Facts, placement: Placement | None) -> Iterator[Finding]:
    """Judge a node's memory for the trials that fit there, and for Ray's object store."""
    slots = slots_of(node.resources, placement.cpus, placement.gpus) if placement else 1
    store = node.resources.get("object_store_memory", 0)
    # Ray knows of a container's limit, the system of what others use now.
    memory = min(said["memory"] or math.inf, node.resources.get("memory", 0) + store)
    found = f"{memory / GIB:.1f} GiB available for {slots} slots"
    hint = "free some, or have fewer slots by more --cpus-per-trial: each can take 1 GiB"
    yield judged("memory", node.name, found, bad=memory < slots * GIB, state="warning", hint=hint)
    if said["shm"] is not None:
        found = f"{SHM} has {said['shm'] / GIB:.1f} GiB, Ray's object store {store / GIB:.1f} GiB"
        hint = "enlarge it (in Docker with --shm-size): without it, Ray uses a slow folder"
        yield judged("shm", node.name, found, bad=said["shm"] < store, state="warning", hint=hint)
