"""The Python API: its names, what it says about a mistake, and a small search from end to end."""

from __future__ import annotations

import ast
import inspect
import io
import json
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import Console

import tune_fmnist
from tune_fmnist import load, open_search, report, retrain, search
from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import COMMANDS
from tune_fmnist.reporting.results import Results
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.workflow.options import Options, option, python_names

SPACE: dict[str, Any] = {
    "parameters": {"hidden1": {"type": "int", "low": 16, "high": 32}},
    "fixed": {"hidden2": 16, "batch_size": 128},
}


def quiet() -> Console:
    return Console(file=io.StringIO())


# Names.

FUNCTIONS = "from tune_fmnist import load, open_search, report, retrain, search"
MODULES = "; ".join(f"import tune_fmnist.{name}" for name in COMMANDS)
CHECK = """
import inspect, sys, tune_fmnist
for name in ("load", "open_search", "report", "retrain", "search"):
    assert inspect.isfunction(globals()[name]), name
    assert inspect.isfunction(getattr(tune_fmnist, name)), name
for name in ("search", "retrain", "report", "trial", "doctor", "cluster"):
    assert inspect.isfunction(sys.modules[f"tune_fmnist.{name}"].main), name
"""


@pytest.mark.parametrize(
    "order", [(FUNCTIONS, MODULES), (MODULES, FUNCTIONS)], ids=["functions first", "commands first"]
)
def test_functions_and_commands_of_the_same_names_live_together(order: tuple[str, str]) -> None:
    program = "\n".join((*order, CHECK))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_package_names_what_it_has() -> None:
    assert dir(tune_fmnist) == sorted(tune_fmnist.__all__)
    assert all(callable(getattr(tune_fmnist, name)) for name in tune_fmnist.__all__)
    with pytest.raises(AttributeError, match="'tune_fmnist' has no attribute 'serach'"):
        tune_fmnist.serach  # noqa: B018


def test_parameters_are_those_of_the_command() -> None:
    def of(function: Any, *without: str) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters.values()
        return {one.name: one.default for one in parameters if one.name not in without}

    command = import_module("tune_fmnist.search").main
    defaults = {name: field.default for name, field in Options.model_fields.items()}
    # What a program gets in place of words, it gets from the function as Results.
    given = of(command, "debug", "quiet", "json_lines")
    assert {name: Path(value) if name == "results_dir" else value for name, value in given.items()} == defaults
    assert of(search, "out", "others") == defaults | {"results_dir": "results"}
    command = import_module("tune_fmnist.retrain").main
    assert list(of(retrain, "folder", "out")) == list(of(command, "name", "debug", "quiet", "json_lines"))


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"model": "ann", "trails": 3}, "trails: unknown; did you mean trials?"),
        ({"model": "ann", "max-epochs": 3}, "max-epochs: unknown; did you mean max_epochs?"),
        ({"trails": 3, "resume": True}, "trails: unknown; did you mean trials?"),
        ({"model": "ann", "max_epochs": 0}, "max_epochs: invalid value 0; must be at least 1"),
        ({"model": "ann", "trials": 2.5}, "trials: invalid value 2.5; must be a valid integer, got a number with a "),
        ({"model": "ann", "retrain_seeds": "x"}, "retrain_seeds: invalid value 'x'; must be a valid integer"),
        ({"model": "ann", "time_budget": "soon"}, "time_budget: invalid value 'soon'; write it as 90s, 10m or 2h"),
        ({"model": "ann", "cpus_per_trial": -1}, "cpus_per_trial: invalid value -1; must be at least 0.01"),
        ({"model": "rnn"}, "model: invalid value 'rnn'; must be 'ann' or 'cnn'"),
        ({}, "model: missing; use ann, cnn, or MODULE:CLASS of your own"),
        ({"resume": True}, "name: missing; name the search that resume goes on with"),
        ({"model": "ann", "name": "a/b"}, "name: 'a/b' is not a folder's name; "),
        ({"model": "ann", "limit_train": 5}, "limit_train: cannot select 5 training images; use 100 to 60000"),
        ({"model": "ann", "storage": "ftp://x"}, "storage: invalid value 'ftp://x'; "),
        ({"model": "ann", "data_root": "none"}, "none: data_root: folder not found; "),
        ({"model": "ann", "space": 3}, "space: invalid value 3; must be a valid path"),
        ({"model": "ann", "space": "none.toml"}, "none.toml: space: cannot be read ("),
        ({"model": "ann", "space": {}}, "space: parameters: missing; "),
        ({"model": "ann", "space": {"paramters": {}}}, "space: paramters: unknown; did you mean parameters?"),
        (
            {"model": "ann", "space": {"parameters": {"hidden1": {"type": "int", "low": 5, "high": 3}}}},
            "space: parameters.hidden1: invalid; low 5 is above high 3",
        ),
        (
            {
                "model": "ann",
                "space": {"model": "cnn", "parameters": {"flip": {"type": "categorical", "choices": [True]}}},
            },
            "model: the space is one of 'cnn', not of 'ann'; give the model of the space",
        ),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_mistake_names_the_parameter(
    arguments: dict[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        search(**arguments, out=quiet())
    assert str(caught.value).startswith(line)
    assert "--" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unknown_parameter_like_no_other_is_told_all() -> None:
    with pytest.raises(InputError) as caught:
        search("ann", colour="red")  # type: ignore[arg-type]
    assert str(caught.value) == f"colour: unknown; use one of {', '.join(sorted([*Options.model_fields, 'out']))}"


def test_mistake_of_retrain_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^top_k: invalid value 0; must be at least 1$"):
        retrain(tmp_path, top_k=0)
    with pytest.raises(InputError, match=r"^gpus_per_trial: invalid value inf; must be a finite number$"):
        retrain(tmp_path, gpus_per_trial=float("inf"))
    with pytest.raises(InputError, match=r"none/search\.json: file not found; name the folder of a search$"):
        retrain(tmp_path / "none")


@pytest.mark.parametrize("name", Options.model_fields)
def test_option_is_told_as_a_parameter_and_another_programs_is_not(name: str) -> None:
    with pytest.raises(InputError) as caught, python_names():
        raise InputError(f"{option(name)} is odd", file="f", key=option(name), hint="`ray start --head`, or leave it")
    assert str(caught.value) == f"f: {name}: {name} is odd; `ray start --head`, or leave it"


def test_folder_without_a_search_is_told_in_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none", str(tmp_path)):
        with pytest.raises(InputError) as caught:
            open_search(folder)
        assert str(caught.value) == f"{Path(folder) / 'search.json'}: file not found; name the folder of a search"


# A search.


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "space": MappingProxyType(SPACE),
        "trials": 2,
        "max_epochs": 1,
        "limit_train": 1000,
        "time_budget": "10m",
        "retrain": False,
        "results_dir": tmp_path_factory.mktemp("results"),
        "name": "x",
    }


@pytest.fixture(scope="module")
def found(arguments: dict[str, Any]) -> Results:
    """What a search returns that was told its space as a dict, and that retrained nothing."""
    return search("ann", **arguments, out=quiet())


def test_space_may_be_a_dict(found: Results) -> None:
    first, second = found.trials.to_dict("records")
    assert (first["config_hidden1"], first["config_hidden2"]) == (256, 128), "trial 0 is the baseline"
    assert 16 <= second["config_hidden1"] <= 32
    assert (second["config_hidden2"], second["config_batch_size"]) == (16, 128)
    assert found.record.space["model"] == "ann"
    assert found.record.space["fixed"] == SPACE["fixed"]


def test_record_holds_the_call_with_its_arguments(found: Results, arguments: dict[str, Any]) -> None:
    call = ast.parse(found.record.command, mode="eval").body
    assert isinstance(call, ast.Call)
    assert (ast.unparse(call.func), call.args) == ("tune_fmnist.search", [])
    given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    results_dir = str(arguments["results_dir"])
    assert given == {"model": "ann", **arguments, "space": SPACE, "time_budget": 600.0, "results_dir": results_dir}


def test_search_opens_again_and_writes_its_page(found: Results) -> None:
    again = open_search(str(found.paths.folder))
    assert again.record == found.record
    assert again.record.state == "finished"
    assert again.trials.equals(found.trials)
    found.paths.page.unlink()
    assert report(found.paths.folder) == found.paths.page
    assert found.paths.page.stat().st_size > 0


def recorded(paths: SearchPaths, **changes: Any) -> None:
    values = json.loads(paths.search.read_text())
    del values["checksum"]
    paths.search.write_text(json.dumps(values | changes))


@pytest.mark.long
def test_retrain_finishes_an_interrupted_search(found: Results, tmp_path: Path) -> None:
    shutil.copytree(found.paths.folder, tmp_path / "x")
    paths = SearchPaths(tmp_path / "x")
    recorded(paths, state="interrupted", finished_at=None)
    before = open_search(tmp_path / "x").record
    results = retrain(tmp_path / "x", top_k=2, retrain_seeds=1, out=quiet())
    assert results.record.state == "finished"
    assert results.record.finished_at is not None
    assert results.record.wall_seconds > before.wall_seconds
    assert len(results.retrains) == 2
    assert load(paths.best).training is False
    # A trial that has not run is none that retraining makes up for.
    recorded(paths, state="interrupted", trials=3)
    assert retrain(tmp_path / "x", top_k=2, retrain_seeds=1, out=quiet()).record.state == "interrupted"
