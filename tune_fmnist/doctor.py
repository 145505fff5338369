"""``python -m tune_fmnist.doctor``: what would go wrong in a search, before it does, here and on every node."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.cli import Debug

if TYPE_CHECKING:
    from rich.console import Console

    from tune_fmnist.runtime.nodes import Facts
    from tune_fmnist.runtime.slots import Placement

State = Literal["ok", "warning", "failure"]
_COLOURS: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}

_HERE: Final = platform.node()
_GIB: Final = 2**30
_REINSTALL: Final = "install it again with all it needs, in the versions of constraints.txt"

_PATIENCE: Final = 60
"""Seconds without an answer from any node after which the silent ones count as out of reach."""

_RAY_UNITS: Final = 10_000
"""Ray counts a resource in whole ten-thousandths, and drops the rest: seven of 1/7 fit a GPU, seven of 0.1429 not."""

_IDLE: Final = 0.05
"""How much of a GPU a share may leave idle: 0.33 typed for a third leaves 0.01, 0.15 leaves 0.1."""


@dataclass(frozen=True)
class Finding:
    """What one check found on one node; ``mend`` is empty where there is nothing to do."""

    check: str
    node: str
    state: State
    found: str
    mend: str = ""


class Node(NamedTuple):
    """A node as Ray has it, its facts or why there are none, and the seconds its clock is ahead of this machine's."""

    name: str
    resources: dict[str, float]
    facts: Facts | str
    ahead: float


def examine(
    data_root: Path | None, results_dir: Path, address: str | None, cpus: float | None, gpus: float | None
) -> Iterator[Finding]:
    """Check what a search with these options needs, and yield what is found as soon as it is.

    Nothing is left behind, except Fashion-MNIST in the cache where it had to be fetched.  ``cpus`` and ``gpus`` are
    those of a trial, None for the search's defaults.
    """
    yield _packages()
    try:
        from tune_fmnist.runtime import nodes
        from tune_fmnist.runtime.slots import find_cluster, place, running_ray
        from tune_fmnist.workflow.options import Plan
    except ImportError as error:
        yield Finding("packages", _HERE, "failure", f"cannot be imported ({error})", _REINSTALL)
        return
    yield _data(data_root)
    yield _uv()
    with ExitStack() as stack:
        probe = None
        try:
            probe = stack.enter_context(nodes.probe_folder(results_dir))
            nodes.write(probe)
            yield _disk(results_dir, shutil.disk_usage(results_dir).free)
        except OSError as error:
            yield Finding("storage", _HERE, "failure", f"{results_dir}: {error}", "name another with --results-dir")
        try:
            which = f"joining the cluster at {find_cluster(address)}" if address else "starting one here"
            yield Finding("Ray", _HERE, "ok", which)
            stack.enter_context(running_ray(address))
        except InputError as error:
            yield _refused("Ray", error)
            return
        except (ConnectionError, RuntimeError, ValueError) as error:
            mend = "see the newest logs in /tmp/ray; free the ports, the memory or the disk that it lacks"
            yield Finding("Ray", _HERE, "failure", f"cannot be started ({last_line(error)})", mend)
            return
        yield _tokens()
        placement = None
        try:
            plan = Plan.of(cpus_per_trial=cpus, gpus_per_trial=gpus)
            placement = place(plan.cpus_per_trial, plan.gpus_per_trial, None)
            yield Finding("placement", _HERE, "ok", str(placement))
        except InputError as error:
            yield _refused("placement", error)
        asked = _ask(probe)
        if placement and gpus and any(one.resources.get("GPU") for one in asked):
            yield _share(gpus)
        for one in asked:
            yield from _judge(one, placement, results_dir)


def _finding(check: str, bad: State, wrong: bool, found: str, mend: str, node: str = _HERE) -> Finding:
    return Finding(check, node, bad, found, mend) if wrong else Finding(check, node, "ok", found)


def _refused(check: str, error: InputError) -> Finding:
    where = [str(part) for part in (error.file, error.key) if part is not None]
    return Finding(check, _HERE, "failure", ": ".join([*where, error.what]), error.mend)


def _packages() -> Finding:
    """Compare what is installed with what this package's metadata asks for."""
    from importlib.metadata import PackageNotFoundError, metadata, version

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        about = metadata("tune_fmnist")
    except PackageNotFoundError:
        return Finding("packages", _HERE, "failure", "tune_fmnist is not installed", _REINSTALL)
    python, unfit = platform.python_version(), []
    if python not in SpecifierSet(about["Requires-Python"]):
        unfit.append(f"Python {python}, not {about['Requires-Python']}")
    for text in about.get_all("Requires-Dist", []):
        needs = Requirement(text)
        if needs.marker and not needs.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needs.name)
        except PackageNotFoundError:
            found = ""
        if not found or not needs.specifier.contains(found, prereleases=True):
            unfit.append(f"{needs.name} {found or 'missing'}, not {needs.specifier}")
    found = "; ".join(unfit) or f"tune_fmnist {about['Version']} and all it needs, Python {python}"
    return _finding("packages", "failure", bool(unfit), found, _REINSTALL)


def _data(data_root: Path | None) -> Finding:
    from tune_fmnist.data import fashion_mnist as data

    try:
        source = data.locate(data_root, partial(print, file=sys.stderr))
        data.verify(source)
    except InputError as error:
        return _refused("data", error)
    return Finding("data", _HERE, "ok", f"all four files of Fashion-MNIST in {source.folder}")


def _uv() -> Finding:
    # Importing the slots' module sets it to 0, unless the user has set it.
    value = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"]
    found = f"RAY_ENABLE_UV_RUN_RUNTIME_ENV={value}"
    mend = "set it to 0: under `uv run`, Ray builds an environment for each worker"
    return _finding("uv run", "warning", value.lower() in {"1", "true"}, found, mend)


def _disk(results_dir: Path, free: int) -> Finding:
    """Judge the ``free`` bytes where results go."""
    found = f"{results_dir} can be written, {free / _GIB:.1f} GiB free"
    bad: State = "failure" if free < 200 * 2**20 else "warning"
    return _finding("storage", bad, free < 2 * _GIB, found, "free some, or name another disk with --results-dir")


def _tokens() -> Finding:
    # Ray sets this when it starts a cluster here, or joins one that it finds by itself.
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    found = f"RAY_AUTH_MODE={mode}" + ("" if mode == "token" else ": whoever reaches Ray's ports can run code there")
    return _finding("tokens", "warning", mode != "token", found, "set it to token, for the cluster too")


def _share(gpus: float) -> Finding:
    """Judge how trials of ``gpus`` each, more than 0, fill a GPU or several."""
    if gpus >= 1:
        found = f"{gpus:g} GPUs a trial" + ("" if gpus == int(gpus) else ": above 1, Ray gives whole ones only")
        return _finding("GPU share", "failure", gpus != int(gpus), found, f"use --gpus-per-trial {gpus:.0f}")
    trials = _RAY_UNITS // max(1, int(gpus * _RAY_UNITS))
    idle = 1 - trials * gpus
    found = f"{trials} trials of {gpus:g} leave {max(0.0, idle):.2f} of a GPU idle"
    below = min(math.floor(1 / gpus), _RAY_UNITS - 1)
    nearest = min(below, below + 1, key=lambda count: abs(1 / count - gpus))
    mend = f"use --gpus-per-trial {_RAY_UNITS // nearest / _RAY_UNITS:g}, {nearest} to a GPU"
    return _finding("GPU share", "failure", idle > _IDLE, found, mend)


def _ask(probe: Path | None) -> list[Node]:
    """Let every node look around, all at once."""
    from tune_fmnist.runtime import nodes
    from tune_fmnist.runtime.slots import ask_every_node

    return [
        Node(one.node, one.resources, one.error, 0.0)
        if one.error
        else Node(one.node, one.resources, one.value, one.value["clock"] - one.arrived)
        for one in ask_every_node(nodes.look, probe, patience=_PATIENCE)
    ]


def _judge(of: Node, placement: Placement | None, results_dir: Path) -> Iterator[Finding]:
    """Judge what a node says of itself."""
    from tune_fmnist.base import provenance
    from tune_fmnist.runtime import nodes
    from tune_fmnist.runtime.slots import slots_of

    facts, resources, finding = of.facts, of.resources, partial(_finding, node=of.name)
    if isinstance(facts, str):
        yield finding("node", "failure", True, facts, "install there what is installed here, in the same versions")
        return
    here, there = provenance.versions(), facts["versions"]
    other = [f"{name} {there.get(name)} ({here[name]} here)" for name in here if there.get(name) != here[name]]
    found = ", ".join(other) or "the same as here"
    yield finding("versions", "failure", bool(other), found, "install the same versions on every node")

    found = facts["torch"] or f"torch {there['torch']}, torchvision {there['torchvision']}"
    mend = "install both from one place: pip install --force-reinstall torch torchvision"
    yield finding("torch", "failure", bool(facts["torch"]), found, mend)
    counted, gpus = int(resources.get("GPU", 0)), facts["gpus"]
    if counted or gpus:
        mend = "install a Torch built for its driver, or start Ray there with --num-gpus 0"
        found = f"Torch sees {len(gpus)}, Ray counts {counted}"
        yield finding("GPUs", "failure", len(gpus) < counted, found, mend)
    for index, (name, used) in enumerate(gpus):
        found = f"{index}, {name}: {used:.0%} of its memory in use"
        yield finding("GPU", "warning", used > 0.1, found, "end what else runs there")

    unwritable, shared = facts["storage"], facts["shared"]
    if shared is not None:
        found = unwritable or f"{results_dir} {'can be written from there' if shared else 'is not shared with it'}"
        mend = "name a folder with --results-dir that every node shares: a trial cut off goes on from there"
        bad: State = "failure" if unwritable else "warning"
        yield finding("storage", bad, bool(unwritable) or not shared, found, mend)

    found = f"{abs(of.ahead):.1f} s {'ahead of' if of.ahead > 0 else 'behind'} this machine's"
    yield finding("clock", "warning", abs(of.ahead) > 1, found, "set it by NTP")

    slots = slots_of(resources, placement.cpus, placement.gpus) if placement else 1
    store = resources.get("object_store_memory", 0)
    # Ray knows of a container's limit, the system of what others use now.
    memory = min(facts["memory"] or math.inf, resources.get("memory", 0) + store)
    found = f"{memory / _GIB:.1f} GiB available for {slots} slots"
    mend = "free some, or have fewer slots by more --cpus-per-trial: each can take 1 GiB"
    yield finding("memory", "warning", memory < slots * _GIB, found, mend)
    if facts["shm"] is not None:
        found = f"{nodes.SHM} has {facts['shm'] / _GIB:.1f} GiB, Ray's object store {store / _GIB:.1f} GiB"
        mend = "enlarge it (in Docker with --shm-size): without it, Ray uses a slow folder"
        yield finding("shm", "warning", facts["shm"] < store, found, mend)


def main(
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root [found or fetched]")] = None,
    results_dir: Annotated[Path, typer.Option(help="where results will go")] = Path("results"),
    address: Annotated[str | None, typer.Option(help="a running Ray cluster [start one here]")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs of a trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of a trial, or a share of one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON array")] = False,
    debug: Debug = False,
) -> None:
    """Say what would go wrong in a search with these options, and how to mend it (exit status 1 if anything fails)."""
    from rich.console import Console

    out, findings = Console(), []
    for finding in examine(data_root, results_dir, address, cpus_per_trial, gpus_per_trial):
        findings.append(finding)
        if not as_json:
            _show(finding, out)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.state == "failure" for finding in findings):
        raise typer.Exit(1)


def _show(finding: Finding, out: Console) -> None:
    """Print a finding: one line, wrapped within 80 columns on a terminal."""
    from rich.table import Table
    from rich.text import Text

    at = f" ({finding.node})" if finding.node != _HERE else ""
    words = Text(f"{finding.check}{at}: {finding.found}{finding.mend and '; ' + finding.mend}")
    if out.is_terminal:
        line = Table.grid(padding=(0, 1))
        line.add_column(width=7)
        line.add_row(Text(finding.state, _COLOURS[finding.state]), words)
        out.print(line, width=min(80, out.width))
    else:
        out.print(f"{finding.state:<7}", words, soft_wrap=True)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("doctor")
