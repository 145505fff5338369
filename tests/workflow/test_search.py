"""What a search says at its end can be pasted into a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.records import make_record
from tune_fmnist.workflow.search import _to_resume


@pytest.mark.parametrize("name", ["night", "my night", "$(x)", "a'b", "`x`;", "*"])
def test_the_command_that_resumes_is_one_whatever_the_name(name: str) -> None:
    command = _to_resume(Path("my results") / name, make_record())
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    ).stdout
    options = ["--resume", "--results-dir", "my results", "--name", name]
    assert said.splitlines() == ["python", "-m", "tune_fmnist.search", *options]
