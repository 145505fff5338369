"""``tune_fmnist.doctor`` as a user runs it, and the lines that it prints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from tests.data.test_data import NAMES, TEST_LABELS, link
from tests.installed import fake_version, write
from tune_fmnist import data
from tune_fmnist.doctor import show
from tune_fmnist.workflow.findings import Finding


def run_doctor(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tune_fmnist.doctor", *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_ready_machine(tmp_path: Path) -> None:
    results = tmp_path / "not" / "yet"
    done = run_doctor("--json", "--results-dir", results)
    findings = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert all(list(one) == ["check", "node", "state", "found", "hint"] for one in findings)
    assert all(one["found"] and bool(one["hint"]) == (one["state"] == "warning") for one in findings)
    assert {one["state"] for one in findings} <= {"ok", "warning"}
    expected = "packages data uv_run storage Ray tokens placement versions torch storage clock memory"
    assert [one["check"].replace(" ", "_") for one in findings if one["check"] not in {"shm", "GPUs", "GPU"}] == (
        expected.split()
    )
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_here_is_said_at_once(source: data.Source, tmp_path: Path) -> None:
    root = link(source, tmp_path / "root", *NAMES[:3])
    (root / TEST_LABELS).write_bytes(b"no labels")
    file = write(tmp_path / "file", "")
    path = tmp_path / "path"
    fake_version(path, "optuna", "4.2.0")
    write(path / "torchvision" / "__init__.py", "raise RuntimeError('operator torchvision::nms does not exist')")
    done = run_doctor(
        *("--data-root", root, "--results-dir", file / "results", "--gpus-per-trial", "99"),
        PYTHONPATH=str(path),
        RAY_ENABLE_UV_RUN_RUNTIME_ENV="1",
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Fashion-MNIST: {root}")
    said = {line[8:].partition(":")[0]: line for line in done.stdout.splitlines() if not line.startswith("ok")}
    for check, state, found, hint in (
        ("packages", "failure", "optuna 4.2.0, not <6,>=5.0", "install it again"),
        ("data", "failure", f"{root / TEST_LABELS}: is not an IDX file", "replace it"),
        ("uv run", "warning", "RAY_ENABLE_UV_RUN_RUNTIME_ENV=1", "set it to 0"),
        ("storage", "failure", str(file / "results"), "name another with --results-dir"),
        ("placement", "failure", "--gpus-per-trial: no node can hold a trial of 1 CPU and 99 GPU", "the largest node"),
        ("torch", "failure", "operator torchvision::nms does not exist", "install both from one place"),
    ):
        assert said[check].startswith(f"{state:<8}{check}: {found}"), said[check]
        assert f"; {hint}" in said[check]


def test_storage_that_can_be_used(tmp_path: Path) -> None:
    storage = tmp_path / "not" / "yet"
    done = run_doctor("--json", "--results-dir", tmp_path / "results", "--storage", storage)
    assert done.returncode == 0, done.stdout
    here, shared = [one for one in json.loads(done.stdout) if one["check"] == "storage"]
    assert here["found"].startswith(f"{tmp_path / 'results'} can be written")
    assert (shared["state"], shared["found"]) == ("ok", f"{storage} can be written and read from every node")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("storage", "found", "hint"),
    [
        ("{}/file/storage", "{}/file/storage: --storage: cannot be used from here (", "check that it can be written"),
        ("ftp://host/folder", "--storage: invalid value 'ftp://host/folder'", "give a folder that all machines share"),
    ],
    ids=["below a file", "unknown protocol"],
)
def test_storage_that_cannot_be_used(storage: str, found: str, hint: str, tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    done = run_doctor("--results-dir", tmp_path, "--storage", storage.format(tmp_path))
    assert (done.returncode, done.stderr.count("error")) == (1, 0)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("failure"))
    assert line.startswith(f"failure storage: {found.format(tmp_path)}")
    assert f"; {hint}" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("terminal", [True, False])
def test_line(terminal: bool) -> None:
    out = Console(force_terminal=terminal, width=200 if terminal else 80, file=io.StringIO(), color_system="standard")
    show(Finding("storage", "[node] 7", "warning", "a long story " * 9 + "ends", "hint it"), out)
    said = out.file.getvalue()  # type: ignore[attr-defined]
    plain = Text.from_ansi(said).plain.splitlines()
    words = f"storage ([node] 7): {'a long story ' * 9}ends; hint it"
    assert ("\x1b" in said) == terminal
    assert " ".join("".join(plain).split()) == f"warning {words}"
    assert not terminal or max(map(len, plain)) <= 80
    assert len(plain) == (3 if terminal else 1)
