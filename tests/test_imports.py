"""Who may import what: the lines that keep commands quick, the report free of Ray, and the test set sealed."""

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
TREES = {file.stem: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.glob("*.py"))}
HEAVY = {"torch", "torchvision", "safetensors", "ray", "optuna", "scipy", "pandas", "matplotlib", "jinja2"}


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


def siblings(module: str, *, inside: bool) -> set[str]:
    """Return the modules of this package that a module imports."""
    parts = [name.split(".") for name in imports(TREES[module], inside=inside)]
    return {part[1] for part in parts if part[0] == "tune_fmnist" and len(part) > 1 and part[1] in TREES}


def importers(library: str, *, inside: bool) -> set[str]:
    return {module for module in TREES if library in libraries(module, inside=inside)}


def reached(module: str) -> set[str]:
    """Return the modules that are loaded when a module is."""
    found, waiting = {module}, [module]
    while waiting:
        new = siblings(waiting.pop(), inside=False) - found
        found |= new
        waiting += new
    return found


def test_ray_stays_at_the_edge() -> None:
    edge = {"trial", "searcher", "scheduler", "slots", "engine", "probe", "retrain"}
    assert importers("ray", inside=True) == edge


def test_ray_is_loaded_after_what_it_reads_then() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    program = (
        "import tune_fmnist.runtime.trials\n"
        "from ray._private.ray_constants import RAY_ENABLE_UV_RUN_RUNTIME_ENV\n"
        "raise SystemExit(RAY_ENABLE_UV_RUN_RUNTIME_ENV)"
    )
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_optuna_stays_in_the_searcher() -> None:
    assert {"searcher"} <= importers("optuna", inside=True) <= {"searcher", "journal", "report"}


def test_torch_is_loaded_only_to_train() -> None:
    assert importers("torch", inside=False) == {"graph", "layers", "models", "training", "weights"}
    users = {"graph", "layers", "models", "training", "weights", "trial", "retrain", "probe", "retrains", "checkpoint"}
    assert importers("torch", inside=True) <= users | {"node", "doctor"}


@pytest.mark.parametrize("module", ["report", "figures", "statistics", "words", "results", "tables", "names"])
def test_report_needs_neither_torch_nor_ray(module: str) -> None:
    assert not libraries(module, inside=True) & {"torch", "safetensors", "ray", "optuna"}
    for other in reached(module):
        assert not libraries(other, inside=False) & {"torch", "safetensors", "ray", "optuna"}, other


@pytest.mark.parametrize("module", ["cli", *COMMANDS])
def test_command_loads_no_library_before_it_needs_it(module: str) -> None:
    for other in reached(module):
        assert not libraries(other, inside=False) & HEAVY, other


def test_test_set_is_read_only_by_retrain() -> None:
    for module, tree in TREES.items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports(tree, inside=True)}
        assert ("read_test" in names) == (module == "retrain"), module
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert any("t10k" in text for text in texts) == (module == "data"), module


@pytest.mark.parametrize("module", TREES)
def test_nothing_imports_in_a_circle(module: str) -> None:
    assert all(module not in reached(other) for other in siblings(module, inside=False))


@pytest.mark.parametrize("module", ["names", "errors", "paths", "config", "space", "tables", "data"])
def test_nouns_know_nothing_of_what_is_above_them(module: str) -> None:
    assert siblings(module, inside=True) <= {"names", "errors", "paths", "config"}
