"""What optuna-dashboard shows of a search's journal, asked over its HTTP interface, is what the tables say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.export.tools import answers, free_port
from tests.tuning.test_study import ENDS, attributes_of, interrupted, rows_of
from tune_fmnist.store.paths import SearchPaths

STATES = {"completed": "Complete", "stopped": "Pruned", "diverged": "Pruned", "failed": "Fail", "running": "Running"}


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    """A search with a trial for each way to end, and one in progress."""
    return interrupted(tmp_path / "x")


@pytest.fixture
def dashboard(paths: SearchPaths) -> Iterator[str]:
    """The dashboard of the search's journal: its address."""
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: make test-export")
    program = "from optuna_dashboard._cli import main; main()"
    port = free_port()
    command = [sys.executable, "-c", program, str(paths.journal), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{port}"
        while not answers(f"{address}/api/studies"):
            assert server.poll() is None, server.stdout.read()
            time.sleep(0.1)
        yield address
        server.terminate()


def get(address: str) -> Any:
    with urlopen(address, timeout=60) as answer:  # noqa: S310 - an address of this machine
        return json.load(answer)


def test_the_dashboard_shows_each_trial_as_its_row_says(paths: SearchPaths, dashboard: str) -> None:
    (study,) = get(f"{dashboard}/api/studies")["study_summaries"]
    assert study["study_name"] == "s"
    trials = get(f"{dashboard}/api/studies/{study['study_id']}?after=0")["trials"]
    rows = rows_of(paths)
    assert [row["status"] for row in rows] == ENDS
    assert [trial["number"] for trial in trials] == [row["number"] for row in rows]
    for trial, row in zip(trials, rows, strict=True):
        assert trial["state"] == STATES[row["status"]]
        found = {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
        assert found == {name: str(value) for name, value in attributes_of(row).items()}
        steps = {step["step"]: step["value"] for step in trial["intermediate_values"]}
        assert sorted(steps) == list(range(1, row["epochs"] + 1))
        assert {p["name"] for p in trial["params"]} >= {"dropout", "hidden1", "optimizer"}
        if row["status"] in ("completed", "stopped"):
            assert trial["values"] == [pytest.approx(row["score"])] == [pytest.approx(steps[row["epochs"]])]
