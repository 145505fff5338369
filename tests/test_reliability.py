"""The table of faults: made from what real tests note, and only if they passed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability import MARKS, read, tables
from tune_fmnist.base.errors import InputError

ROOT = Path(__file__).parents[1]
NOTING = """
import pytest

def test_kills(count):
    count("driver killed", 3, (50, 50, 0, 0, 0))

@pytest.mark.parametrize("size", [1, 2])
def test_kills_of_trials(count, size):
    count("trial killed", 1, (size, size))

@pytest.mark.parametrize("kind", ["half", "none"])
def test_downloads(count, kind):
    count(f"download: {kind}", 1)

@pytest.mark.skip(reason="needs root")
def test_power():
    pass
"""


def report(folder: Path, tests: str) -> tuple[Path, str]:
    """Run tests as a target does; return their report and what was printed."""
    file, written = folder / "test_noting.py", folder / "report.xml"
    file.write_text(tests)
    options = ("-q", "-p", "tests.conftest", f"--rootdir={folder}", "-o", "junit_family=xunit1")
    command = [sys.executable, "-m", "pytest", *options, f"--junitxml={written}", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return written, done.stdout


def test_what_tests_note_becomes_the_table(tmp_path: Path) -> None:
    written, printed = report(tmp_path, NOTING)
    text = tables(read([written]))
    assert "4 kinds of fault, tried 7 times." in text
    assert "\n| trial killed | 2 | 3 | 0 | - | - | - | [test_kills_of_trials](../test_noting.py) |\n" in text
    # What was not looked at is no zero.
    assert "\n| driver killed | 3 | 50 | 0 | 0 | 0 | 0 | [test_kills](../test_noting.py) |\n" in text
    assert "\n| download: half | 1 | - | - | - | - | - | [test_downloads](../test_noting.py) |\n" in text
    assert "\nNot run: [test_power](../test_noting.py).\n" in text
    assert "driver killed       3    50     0      0      0               0" in printed


def test_failed_tests_make_no_table(tmp_path: Path) -> None:
    written, _ = report(tmp_path, f"{NOTING}\ndef test_loss():\n    assert 49 == 50\n")
    into = tmp_path / "table.md"
    into.write_text("\n".join(MARKS))
    command = [sys.executable, "-m", "tests.reliability", written, "--into", into]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("error: tests that failed: test_noting.py::test_loss; ")
    assert into.read_text() == "\n".join(MARKS)


def test_a_report_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read([tmp_path / "none.xml"])
