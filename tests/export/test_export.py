"""What is exported is what the tables have, once, whenever the exporter was started, ended or killed."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.export.tools import Mlflow, TensorBoard, Tool, Wandb, mlflow_server
from tests.fake_search import add_retrains, make_search
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.export.hand_over import hand_over
from tune_fmnist.reporting.export.runs import read_runs
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.record import SearchRecord

NEEDED = {"tensorboard": ["tensorboard"], "mlflow": ["mlflow", "flask_cors", "aiohttp"], "wandb": ["wandb"]}
"""What a tool's tests import; MLflow's server needs more than its client."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep locks and W&B's own files of each test in a folder of its own, and W&B off the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb data"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb settings"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(params=list(NEEDED))
def tool(request: pytest.FixtureRequest, tmp_path: Path) -> Tool:
    for module in NEEDED[request.param]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: make test-export")
    if request.param == "tensorboard":
        return TensorBoard(tmp_path / "events")
    if request.param == "wandb":
        return Wandb(tmp_path / "wandb")
    return Mlflow(request.getfixturevalue("server"), tmp_path.name)


@pytest.fixture
def running(tmp_path: Path) -> Results:
    """A search that runs: five trials have ended, and trial 5 has two epochs of five."""
    return in_state(make_search(tmp_path / tmp_path.name), "running")


def in_state(results: Results, state: str) -> Results:
    record = SearchRecord.model_validate(results.record.model_dump() | {"state": state})
    record.write(results.paths)
    return Results(results.paths)


def goes_on(results: Results) -> Results:
    """Let trial 5 reach its last epoch, and the search its end, with retrains."""
    paths = results.paths
    epochs = tables.read(paths.epochs, tables.EPOCHS).to_pylist()
    last = epochs[-1]
    more = [
        last | {"epoch": number, "reported_at": last["reported_at"] + timedelta(seconds=number)} for number in (3, 4, 5)
    ]
    tables.write(tables.to_table([*epochs, *more], tables.EPOCHS), paths.epochs)
    *others, row = tables.read(paths.trials, tables.TRIALS).to_pylist()
    row |= {"status": "completed", "reason": "reached 5 epochs", "epochs": 5}
    tables.write(tables.to_table([*others, row], tables.TRIALS), paths.trials)
    add_retrains(Results(paths), [0.6, 0.5], baseline=0.4, seeds=2, images=50)
    return in_state(results, "finished")


def check(tool: Tool, results: Results) -> None:
    """Compare what a tool has with the tables."""
    seen = tool.runs()
    runs = [run for run in read_runs(results.paths).runs if run.ended or tool.live]
    assert {name for name in seen if name.startswith(("trial", "retrain"))} == {run.name for run in runs}
    for run in runs:
        (found,) = seen[run.name]
        for name in run.epochs[0].metrics if run.epochs else ():
            assert_equal(found.metrics[name], [(epoch.number, epoch.metrics[name]) for epoch in run.epochs])
        for name, value in run.results.items():
            # W&B has what is said once in its summary.
            said = found.metrics[name] or [(len(run.epochs), float(found.cells[name]))]
            assert_equal(said, [(len(run.epochs), value)])
        told = run.config | run.begun_with | run.ended_with
        for name, cell in told.items():
            text = f"{cell:.12g}" if isinstance(cell, float) and tool.name == "tensorboard" else str(cell)
            assert found.cells[name] == text, name
        assert found.succeeded == (run.succeeded if run.ended else None)


def assert_equal(found: list[tuple[int, float]], expected: list[tuple[int, float]]) -> None:
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, value), (_, wanted) in zip(found, expected, strict=True):
        # TensorBoard keeps 32 bits of a number.
        assert math.isclose(value, wanted, rel_tol=1e-6) or math.isnan(value) is math.isnan(wanted) is True


def started(tool: Tool, results: Results, *options: str) -> subprocess.Popen[str]:
    """Start an exporter in a process of its own, with W&B's service not that of this one."""
    command = [sys.executable, "-u", "-m", "tune_fmnist.export", str(results.paths.folder), "--to", tool.name]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return subprocess.Popen(
        [*command, "--into", tool.into, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_each_trial_and_retrain_is_one_run_with_the_tables_values(tool: Tool, running: Results) -> None:
    hand_over(running.paths, tool.name, tool.into)
    check(tool, running)
    ended = goes_on(running)
    said: list[str] = []
    hand_over(ended.paths, tool.name, tool.into, said=said.append)
    check(tool, ended)
    # Trial 5 and six retrains.
    assert said == [f"{tool.name}: 7 runs brought up to date, of 6 trials and 6 retrains"]
    hand_over(ended.paths, tool.name, tool.into, said=said.append)
    check(tool, ended)
    assert len(said) == 1


def test_an_exporter_that_was_killed_is_followed_by_one_that_adds_what_is_missing(
    tool: Tool, running: Results, tmp_path: Path
) -> None:
    ended = goes_on(running)
    exporter = started(tool, ended)
    while exporter.poll() is None and not any(name.startswith("trial") for name in tool.runs()):
        time.sleep(0.01)
    exporter.kill()
    exporter.communicate()
    hand_over(ended.paths, tool.name, tool.into)
    check(tool, ended)


def test_following_ends_with_the_search(tool: Tool, running: Results) -> None:
    with started(tool, running, "--follow") as exporter:
        assert exporter.stdout is not None
        first = exporter.stdout.readline()
        assert "of 6 trials and 0 retrains" in first
        ended = goes_on(running)
        rest = exporter.stdout.read()
    assert "of 6 trials and 6 retrains" in rest
    assert exporter.returncode == 0
    check(tool, ended)


def test_a_file_that_was_cut_off_anywhere_is_completed(running: Results, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: make test-export")
    tool = TensorBoard(tmp_path / "events")
    hand_over(running.paths, "tensorboard", tool.into)
    early = {file: file.read_bytes() for file in Path(tool.into).rglob("*tfevents*")}
    ended = goes_on(running)
    hand_over(ended.paths, "tensorboard", tool.into)
    whole = {file: file.read_bytes() for file in Path(tool.into).rglob("*tfevents*")}
    # A TensorBoard that reads on finds what it has read before, and more behind it.
    assert all(whole[file].startswith(content) for file, content in early.items())
    for place, (file, content) in enumerate(whole.items()):
        file.write_bytes(content[: len(content) * place // len(whole)])
    hand_over(ended.paths, "tensorboard", tool.into)
    assert {file: file.read_bytes() for file in whole} == whole
    next(iter(whole)).write_bytes(b"of another release")
    hand_over(ended.paths, "tensorboard", tool.into)
    assert {file: file.read_bytes() for file in whole} == whole


def test_mlflow_is_not_sent_again_what_it_has(
    running: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed: make test-export")
    # Unlike its database, its files keep whatever they are told, twice if told twice.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tool = Mlflow((tmp_path / "files").as_uri(), tmp_path.name)
    hand_over(running.paths, "mlflow", tool.into)
    ended = goes_on(running)
    for _ in range(2):
        hand_over(ended.paths, "mlflow", tool.into)
        check(tool, ended)


@pytest.mark.parametrize("name", list(NEEDED))
def test_a_tool_that_is_not_installed_is_one_line(name: str, running: Results, tmp_path: Path) -> None:
    # As Python has it where a library is missing, whether it is or not.
    program = (
        f"import sys; sys.modules[{name!r}] = None; from tune_fmnist.cli import run_command; run_command('export')"
    )
    command = [sys.executable, "-c", program, str(running.paths.folder), "--to", name, "--into", str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    install = f"pip install --constraint constraints.txt --editable '.[{name}]'"
    line = f"error: --to {name}: {name} is not installed; in the checkout, {install}\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert not (tmp_path / "x").exists()


def test_a_second_exporter_is_told_of_the_first(running: Results, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: make test-export")
    first = started(TensorBoard(tmp_path / "events"), running, "--follow")
    assert first.stdout is not None
    first.stdout.readline()
    with pytest.raises(InputError, match="is being exported to tensorboard by another process; wait for it or end it"):
        hand_over(running.paths, "tensorboard", str(tmp_path / "events"))
    first.kill()
    first.communicate()
    hand_over(running.paths, "tensorboard", str(tmp_path / "events"))
