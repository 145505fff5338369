"""Searches run as a user runs them: in a process of their own, on a slice of the real data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tune_fmnist.reporting.results import Results
from tune_fmnist.store.paths import SearchPaths

ROOT = Path(__file__).parents[2]
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
    (folder / "x.out").write_text(done.stdout)
    (folder / "x.err").write_text(done.stderr)
    return Results(SearchPaths(folder / "x"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package lies, installed from its wheel, alone."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "-w", folder], check=True)
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", built], check=True)
    return folder / "site"


@pytest.fixture
def here(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example in it, from which the installed package is run."""
    shutil.copy(ROOT / "examples" / "resnet.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(wheel))
    program = "import tune_fmnist; print(tune_fmnist.__file__)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(wheel)
    return tmp_path
