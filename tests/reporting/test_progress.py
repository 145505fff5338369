"""The progress of a search and of its retrains, as lines where there is no terminal and as a display on one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from rich.console import Console

from tests.fake_search import make_search
from tune_fmnist.models.config import Ann, Config
from tune_fmnist.reporting.progress import RetrainDisplay, SearchDisplay
from tune_fmnist.store.jobs import RetrainJob, RetrainResult
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


def retrain(config: Config, rank: int | None) -> tuple[RetrainJob, RetrainResult]:
    """Return a retrain of one epoch, and what came of it."""
    job = RetrainJob(
        config=config, rank=rank, seed=4, epochs=1, horizon=5, score=0.8, best_val_accuracy=0.9, expected_seconds=10.0
    )
    result = RetrainResult(
        epochs=[],
        train_size=60_000,
        train_loss=0.1,
        test_accuracy=0.8765,
        test_loss=0.3,
        class_accuracy=[0.8765] * 10,
        train_seconds=9.0,
        test_seconds=1.0,
        parameters=235_146,
        node="here",
        device="cpu",
        precision="float32",
        predicted=np.zeros(0, np.int8),
        confidence=np.zeros(0, np.float32),
        weights={},
    )
    return job, result


def test_each_retrain_that_ends_is_a_line() -> None:
    out = Console(file=io.StringIO(), soft_wrap=True)
    display = RetrainDisplay(out, [10.0, 10.0, 10.0], slots=2)
    display.step(None, None)
    display.step(*retrain(Ann(hidden1=300), rank=1))
    display.step(*retrain(Ann(), rank=None))
    display.step(*retrain(Ann(), rank=2))
    lines = printed(out).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("retrained rank 1, seed 4: test accuracy 0.8765; 1/3 retrains in 0 s, about ")
    assert lines[1].startswith("retrained baseline, seed 4: test accuracy 0.8765; 2/3 retrains")
    assert lines[2].startswith("retrained baseline (rank 2), seed 4: test accuracy 0.8765; 3/3 retrains")
