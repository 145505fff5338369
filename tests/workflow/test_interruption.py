"""What a command that was interrupted says can be pasted into a shell, and goes on as it began."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command

from tests.records import make_record
from tune_fmnist.cli import all_commands
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import RetrainPlan
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow import interruption
from tune_fmnist.workflow.options import Options

OWN = {"dataset": "mine/", "data": "/data/mine"}


def said_of(folder: Path, options: Options, *, plan: RetrainPlan | None = None, **changes: Any) -> list[str]:
    """Return the words of the command that goes on, as a shell takes them."""
    out = Console(file=io.StringIO(), width=40)
    record, paths = make_record(**changes), SearchPaths(folder)
    session: Any = SimpleNamespace(paths=paths, record=record, options=options, screen=Screen.of(out))
    if plan is None:
        interruption.tell_search(session, TrialTables(paths, record))
    else:
        interruption.tell_retrain(session, plan)
    assert isinstance(out.file, io.StringIO)
    *_, last = out.file.getvalue().splitlines()
    command = last.removeprefix("next: ")
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()


@pytest.mark.parametrize("name", ["night", "my night", "$(x)", "a'b", "`x`;", "*"])
def test_the_command_is_one_whatever_the_name(name: str) -> None:
    words = said_of(Path("my results") / name, Options())
    assert words == ["python", "-m", "tune_fmnist.search", "--resume", "--results-dir", "my results", "--name", name]


def test_it_has_the_machines_and_the_limits_that_were_given(tmp_path: Path) -> None:
    given = {
        "data_root": tmp_path / "data",
        "cpus_per_trial": 0.5,
        "gpus_per_trial": 0.25,
        "address": "head:6379",
        "max_concurrent": 3,
        "trial_timeout": 2_592_000,
        "time_budget": "1.5h",
        "storage": "s3://bucket/searches",
    }
    options = Options.of(**given)
    words = said_of(tmp_path / "x", options, searcher={"name": "mine:sampler"}, **OWN)
    assert words[:3] == ["python", "-m", "tune_fmnist.search"]
    taken = parsed("search", words[3:])
    again = Options.of(**{name: value for name, value in taken.items() if name in Options.model_fields})
    assert {name: getattr(again, name) for name in given} == {name: getattr(options, name) for name in given}
    assert (again.resume, again.name, again.results_dir) == (True, "x", tmp_path)
    assert (again.dataset, again.searcher) == ("/data/mine", "mine:sampler")


def test_a_retrain_goes_on_with_its_plan(tmp_path: Path) -> None:
    plan = RetrainPlan(wanted=True, top_k=3, seeds=7, confirm=0)
    options = Options.of(cpus_per_trial=2, max_concurrent=3)
    words = said_of(tmp_path / "x", options, plan=plan, **OWN)
    assert words[:4] == ["python", "-m", "tune_fmnist.retrain", str(tmp_path / "x")]
    taken = parsed("retrain", words[3:])
    assert (taken["confirm"], taken["top_k"], taken["retrain_seeds"], taken["cpus_per_trial"]) == (0, 3, 7, 2.0)
    assert taken["dataset"] == "/data/mine"


def parsed(name: str, words: list[str]) -> dict[str, Any]:
    """Return what a command takes words for."""
    command: Any = get_command(all_commands())
    subcommand = command.get_command(command.make_context("tune-fmnist", [name]), name)
    taken: dict[str, Any] = subcommand.make_context(name, words).params
    return taken
