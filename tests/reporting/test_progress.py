"""The progress of a search and of its retrains, as lines where there is no terminal and as a display on one."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.fake_search import make_search
from tests.outputs import from_terminal
from tune_fmnist.reporting.progress import SearchDisplay, TaskDisplay
from tune_fmnist.reporting.wording import duration, percent
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables


def printed(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def tables_of(folder: Path) -> TrialTables:
    return TrialTables(SearchPaths(folder), make_search(folder).record)


def test_each_trial_that_ends_is_a_line(tmp_path: Path) -> None:
    trials = tables_of(tmp_path)
    out = Console(file=io.StringIO(), soft_wrap=True)
    display = SearchDisplay(out, trials, trials=6, slots=2, time_budget=None)
    display.step(None)
    assert printed(out) == ""
    display.step(3)
    best, first = trials.best, trials.trials[0]
    assert best is not None
    spent = sum(trial["seconds"] for trial in trials.trials.values())
    # One trial is running, and has had two epochs; those that ended had on average.  The next rung is at three.
    each = (trials.epochs - 2) / 5
    left = max(1.0, each - 2) * spent / trials.epochs / 2
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d trial 3 diverged \(training loss nan in epoch 2\); 5/6 trials, 0 epochs in 0 s after "
        rf"{trials.epochs} before, about {duration(left)} left; "
        rf"best score {percent(best['score'])} \(trial {best['number']}, {best['epochs']} epochs\); "
        rf"baseline {percent(first['score'])}\n",
        printed(out),
    )


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "xterm"}])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    trials = tables_of(tmp_path)
    out = Console(file=io.StringIO(), force_terminal=True, width=200, highlight=False)
    display = SearchDisplay(out, trials, trials=6, slots=2, time_budget=None)
    with display.shown():
        display.step(3)
    assert ("trial 3 diverged" in printed(out)) == (variables["TERM"] == "dumb")
    # What was drawn in place leaves a line.
    last = printed(out).rstrip().splitlines()[-2:]
    assert (re.search(r"(^|\x1b\[2K)5/6 trials, 0 epochs in ", last[0]) and last[1].startswith("best score ")) or (
        variables["TERM"] == "dumb"
    )


def test_a_quiet_display_leaves_the_warnings_of_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Console(force_terminal=True, stderr=True, quiet=True)
    display = SearchDisplay(out, tables_of(tmp_path), trials=6, slots=2, time_budget=None)
    with display.shown():
        display.step(3)
        print("a warning", file=sys.stderr)
    assert capfd.readouterr().err == "a warning\n"


INTERRUPTED = """
import os, pathlib, signal, sys
from rich.console import Console
from tests.reporting.test_progress import tables_of
from tune_fmnist.base import signals
from tune_fmnist.reporting.progress import SearchDisplay

out = Console(stderr=True, highlight=False)
display = SearchDisplay(out, tables_of(pathlib.Path(sys.argv[1])), trials=6, slots=2, time_budget=None)
try:
    with signals.obeyed_between_steps(), display.shown():
        display.step(None)
        os.kill(os.getpid(), signal.SIGINT)
        display.step(None)
        signals.check()
except KeyboardInterrupt:
    out.print("interrupted")
"""


def screen(said: str) -> list[str]:
    """Return the lines of a terminal that got this, of which it understands what a display in place needs."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", said):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1])
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return lines


def test_nothing_of_the_display_is_left_above_what_ctrl_c_leaves(tmp_path: Path) -> None:
    ours, its = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        stdin=its, stdout=its, stderr=its, env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(its)
    said = b"".join(from_terminal(ours))
    assert program.wait() == 0, said
    assert "ending: what is half done" in said.decode()
    first, second, third, *rest = screen(said.decode())
    assert first.startswith("5/6 trials, ")
    assert second.startswith("best score ")
    assert third == "interrupted"
    assert not any(rest)


def test_a_trial_that_waits_has_not_ended(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    rows = tables.read(results.paths.trials, tables.TRIALS).to_pylist()
    waits = next(row for row in rows if row["status"] == "completed" and row["number"])
    waits["status"] = "paused"
    tables.write(tables.to_table(rows, tables.TRIALS), results.paths.trials)
    display = SearchDisplay(
        Console(file=io.StringIO()), TrialTables(results.paths, results.record), trials=6, slots=2, time_budget=None
    )
    assert display.in_short().startswith("4/6 trials, 1 waiting, ")


def test_before_the_first_epoch_there_is_no_best(tmp_path: Path) -> None:
    trials = TrialTables(SearchPaths(tmp_path / "new"), make_search(tmp_path).record)
    out = Console(file=io.StringIO(), width=80)
    out.print(SearchDisplay(out, trials, trials=6, slots=2, time_budget=None).render())
    assert "0/6 trials, 0 epochs in 0 s\nno epoch yet" in printed(out)


def test_the_display_shows_the_running_trials_in_80_columns(tmp_path: Path) -> None:
    trials = tables_of(tmp_path)
    out = Console(file=io.StringIO(), width=80)
    out.print(SearchDisplay(out, trials, trials=6, slots=2, time_budget=None).render())
    assert re.search(rf"trial 5 .* epoch 2/5 +{percent(trials.trials[5]['val_accuracy'])}", printed(out))
    assert "running 1  completed 3  diverged 1  failed 1" in printed(out)
    assert max(map(len, printed(out).splitlines())) <= 80


def test_each_retrain_that_ends_is_a_line() -> None:
    out = Console(file=io.StringIO(), soft_wrap=True)
    display = TaskDisplay(out, "retrains", [10.0, 10.0, 10.0], slots=2)
    display.draw()
    for number in (1, 2, 3):
        display.step(10.0, f"retrained rank {number}")
    lines = printed(out).splitlines()
    assert len(lines) == 3
    assert lines[0][9:].startswith("retrained rank 1; 1/3 retrains in 0 s, about ")
    assert lines[2][9:] == "retrained rank 3; 3/3 retrains in 0 s"
