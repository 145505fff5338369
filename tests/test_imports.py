"""Who may import what: the directions of the house, quick commands, Ray and Optuna in their rooms, the sealed test."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tune_fmnist
from tune_fmnist.cli import COMMANDS

PACKAGE = Path(tune_fmnist.__file__).parent
HEAVY = {"torch", "torchvision", "ray", "optuna", "scipy", "pandas", "altair", "vl_convert", "sklearn", "jinja2"}

LAYERS = (
    {"commands"},
    {"workflow"},
    {"runtime", "reporting"},
    {"tuning", "training"},
    {"store"},
    {"models", "data"},
    {"base"},
)
"""From the top down: a folder may import what stands below it, never what stands above it or beside it."""


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


TREES = {module_name(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))}


def imports(node: ast.AST, *, inside: bool) -> Iterator[str]:
    """Yield what a module imports, in full; ``inside`` its functions too, never for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif inside or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, inside=inside)


def libraries(module: str, *, inside: bool) -> set[str]:
    names = imports(TREES[module], inside=inside)
    return {"torch" if name.startswith("safetensors.torch") else name.partition(".")[0] for name in names}


def own(module: str, *, inside: bool) -> set[str]:
    """Return the modules of this package that a module imports, with the packages that are loaded for it."""
    found = set()
    for name in imports(TREES[module], inside=inside):
        parts = name.split(".")
        if parts[0] == "tune_fmnist":
            *packages, last = [name for end in range(len(parts)) if (name := ".".join(parts[1 : end + 1])) in TREES]
            # Those that it lies in itself are being loaded already.
            found |= {last} | {package for package in packages if not module.startswith(f"{package}.")}
    return found - {""}


def importers(library: str, *, inside: bool) -> set[str]:
    return {module for module in TREES if library in libraries(module, inside=inside)}


def reached(module: str) -> set[str]:
    """Return the modules that are loaded when a module is."""
    found, waiting = {module}, [module]
    while waiting:
        new = own(waiting.pop(), inside=False) - found
        found |= new
        waiting += new
    return found


def room(module: str) -> str:
    """Return the folder that a module lies in."""
    folder = module.partition(".")[0]
    return folder if (PACKAGE / folder).is_dir() else "commands"


def floor(module: str) -> int:
    return next(number for number, folders in enumerate(LAYERS) if room(module) in folders)


def test_every_folder_has_its_place() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders | {"commands"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", [name for name in TREES if name])
def test_imports_lead_downwards(module: str) -> None:
    for other in own(module, inside=True):
        assert room(other) == room(module) or floor(other) > floor(module), f"{module} imports {other}"


@pytest.mark.parametrize("module", TREES)
def test_nothing_imports_in_a_circle(module: str) -> None:
    # A module's import loads the package it lies in as well.
    others = {other for other in own(module, inside=False) - {module} if not module.startswith(f"{other}.")}
    assert all(module not in reached(other) for other in others if not other.startswith(f"{module}."))


def test_ray_stays_in_its_rooms() -> None:
    assert {room(module) for module in importers("ray", inside=True)} == {"runtime", "tuning"}


def test_optuna_stays_in_its_room() -> None:
    assert {room(module) for module in importers("optuna", inside=True)} == {"tuning"}


# Each folder that imports Ray does so by its `__init__` first: one of its modules stands for all.
BY_ROOM = {room(module): module for module in sorted(TREES) if "ray" in libraries(module, inside=False)}


@pytest.mark.parametrize("module", [*BY_ROOM.values(), "workflow.search", "workflow.compute"])
def test_ray_is_loaded_after_what_it_reads_then(module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    program = (
        f"import tune_fmnist.{module}\n"
        "from ray._private.ray_constants import RAY_ENABLE_UV_RUN_RUNTIME_ENV\n"
        "raise SystemExit(RAY_ENABLE_UV_RUN_RUNTIME_ENV)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_torch_is_loaded_only_to_train() -> None:
    assert {room(module) for module in importers("torch", inside=False)} == {"models", "training"}


@pytest.mark.parametrize("module", [name for name in TREES if room(name) == "reporting"])
def test_reporting_needs_neither_torch_nor_ray(module: str) -> None:
    for other in reached(module):
        assert not libraries(other, inside=False) & {"torch", "ray", "optuna"}, other


@pytest.mark.parametrize("module", ["", "cli", *COMMANDS])
def test_command_loads_no_library_before_it_needs_it(module: str) -> None:
    for other in reached(module):
        assert not libraries(other, inside=False) & HEAVY, other


def test_test_set_is_read_only_by_the_retrains() -> None:
    readers = set()
    for module, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports(tree, inside=True)}
        if "read_test" in names:
            readers.add(module)
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not any("t10k" in text for text in texts) or room(module) == "data", module
    assert {module for module in readers if room(module) != "data"} == {"runtime.retrains"}
