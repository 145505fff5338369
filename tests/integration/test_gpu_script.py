"""The script that measures on a GPU: what it does when a step of it fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"


def program(file: Path, lines: str) -> None:
    file.write_text(f"#!/bin/bash\n{lines}\n", encoding="utf-8")
    file.chmod(0o755)


def measured(folder: Path, python: str) -> tuple[int, str, dict[str, str]]:
    """Run the script with another Python; return its exit status, its last words and what it left."""
    program(folder / "nvidia-smi", "echo a GPU")
    program(folder / "python", python)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "PYTHON": str(folder / "python"), "OUT": str(folder / "out")}
    ran = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, env=variables, timeout=60, check=False)
    return ran.returncode, ran.stderr, {file.name: file.read_text() for file in (folder / "out").iterdir()}


@pytest.mark.parametrize(
    ("fails", "status", "said"),
    [
        ("nothing", 0, ""),
        ("pytest", 1, "failed, or took too long: tests\n"),
        ("benchmarks*", 1, "failed, or took too long: epochs compare\n"),
    ],
)
def test_all_is_measured_whatever_fails(fails: str, status: int, said: str, tmp_path: Path) -> None:
    python = f"[[ $1 == -c ]] && exit\necho a speed; echo a warning >&2\n[[ $2 != {fails} ]]"
    left = dict.fromkeys(["tests.txt", "epochs.txt", "compare.txt"], "a speed\na warning\n")
    assert measured(tmp_path, python) == (status, said, {"machine.csv": "a GPU\n", **left})


def test_a_pytorch_that_is_too_old_is_told_at_once(tmp_path: Path) -> None:
    status, said, left = measured(tmp_path, 'echo "no attribute get_capabilities" >&2; exit 1')
    assert (status, said, list(left)) == (1, "no attribute get_capabilities\n", ["machine.csv"])
