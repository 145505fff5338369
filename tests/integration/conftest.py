"""Searches run as a user runs them: in a process of their own, on a slice of the real data."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tune_fmnist.reporting.results import Results
from tune_fmnist.store.paths import SearchPaths

SMALL = ("--trials", "6", "--max-epochs", "3", "--limit-train", "6000")


def tune(command: str, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tune_fmnist.COMMAND`` and return what it printed and its exit status."""
    return subprocess.run(
        [sys.executable, "-m", f"tune_fmnist.{command}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "80"},
        check=False,
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A finished search of the ANN with its retrains."""
    folder = tmp_path_factory.mktemp("results")
    done = tune(
        "search",
        "--model",
        "ann",
        *SMALL,
        "--confirm",
        2,
        "--top-k",
        1,
        "--retrain-seeds",
        2,
        "--results-dir",
        folder,
        "--name",
        "x",
    )
    assert done.returncode == 0, done.stderr
    (folder / "x.log").write_text(done.stdout)
    return Results(SearchPaths(folder / "x"))
