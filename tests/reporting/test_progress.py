"""The progress of a search and of its retrains, as lines where there is no terminal and as a display on one."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from tests.fake_search import make_search
from tune_fmnist.reporting.progress import SearchDisplay, TaskDisplay
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables


def printed(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def tables_of(folder: Path) -> TrialTables:
    return TrialTables(SearchPaths(folder), make_search(folder).record)


def test_each_trial_that_ends_is_a_line(tmp_path: Path) -> None:
    tables = tables_of(tmp_path)
    out = Console(file=io.StringIO(), soft_wrap=True)
    display = SearchDisplay(out, tables, trials=6, time_budget=None)
    display.step(None)
    assert printed(out) == ""
    display.step(3)
    best, first = tables.best, tables.trials[0]
    assert best is not None
    assert re.fullmatch(
        r"trial 3 diverged \(training loss nan in epoch 2\); 5/6 trials, \d+ epochs in 0 s, about \d+ s left; "
        rf"best score {best['score']:.4f} \(trial {best['number']}, {best['epochs']} epochs\); "
        rf"baseline {first['score']:.4f}\n",
        printed(out),
    )


def test_before_the_first_epoch_there_is_no_best(tmp_path: Path) -> None:
    tables = TrialTables(SearchPaths(tmp_path / "new"), make_search(tmp_path).record)
    out = Console(file=io.StringIO(), width=80)
    out.print(SearchDisplay(out, tables, trials=6, time_budget=None).render())
    assert "0/6 trials, 0 epochs in 0 s\nno epoch yet" in printed(out)


def test_the_display_shows_the_running_trials_in_80_columns(tmp_path: Path) -> None:
    tables = tables_of(tmp_path)
    out = Console(file=io.StringIO(), width=80)
    out.print(SearchDisplay(out, tables, trials=6, time_budget=None).render())
    assert re.search(rf"trial 5 .* epoch 2/5 +{tables.trials[5]['val_accuracy']:.4f}", printed(out))
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
    assert lines[0].startswith("retrained rank 1; 1/3 retrains in 0 s, about ")
    assert lines[2].startswith("retrained rank 3; 3/3 retrains in 0 s, about 0 s left")
