"""Every searcher with every scheduler on an analytic objective, on a real Ray, and what the study is told."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import ray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray import tune

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, STOPPED
from tune_fmnist.models.config import baseline
from tune_fmnist.runtime.slots import place, running_ray
from tune_fmnist.runtime.trials import run_trials
from tune_fmnist.store.paths import SearchPaths, default_space
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.tuning.scheduler import SCHEDULERS
from tune_fmnist.tuning.searcher import SAMPLERS, OptunaSearcher
from tune_fmnist.tuning.space import Space, from_values, read_space

MAX_EPOCHS = 9

# A test module cannot be imported by Ray's processes: its functions travel by value.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with running_ray(None):
        yield


@pytest.fixture
def space() -> Space:
    return read_space(default_space("ann"))


def analytic(job: dict[str, Any]) -> None:
    """Report a curve that rises with the epoch and is best at dropout 0.2; odd things happen at its edges."""
    dropout = job["config"]["dropout"]
    if job["number"] == 3:
        raise MemoryError("no room for trial 3")
    for epoch in range(1, job["max_epochs"] + 1):
        diverged = job["number"] == 5 and epoch == 2
        tune.report(
            {
                "epoch": epoch,
                "train_loss": math.nan if diverged else 1.0 / epoch,
                "train_accuracy": 0.5,
                "val_loss": 1.0 / epoch,
                "val_accuracy": 0.1 if diverged else (1 - abs(dropout - 0.2)) * (1 - 0.5 / epoch),
                "learning_rate": 1e-3,
                "train_seconds": 0.0,
                "eval_seconds": 0.0,
                "overhead_seconds": 0.0,
                "reported_at": time.time(),
                "diverged": diverged,
                "node": "here",
                "device": "cpu",
                "precision": "float32",
            }
        )
        if diverged:
            return


def run(
    folder: Path,
    space: Space,
    searcher: str,
    scheduler: str,
    *,
    trials: int = 14,
    max_epochs: int = MAX_EPOCHS,
    max_concurrent: int | None = None,
    time_budget: float | None = None,
    trial: Callable[[dict[str, Any]], None] = analytic,
    cpus: float | None = None,
    on_step: Callable[[Ledger, int | None], None] = lambda ledger, ended: None,
) -> Ledger:
    folder.mkdir(exist_ok=True)
    paths = SearchPaths(folder)
    ledger = Ledger(paths, "test", max_epochs)
    run_trials(
        trial,
        OptunaSearcher(space, searcher, seed=1, max_epochs=max_epochs, journal=paths.journal, name="test"),
        SCHEDULERS[scheduler](max_epochs),
        ledger,
        place(cpus, None, max_concurrent),
        trials=trials,
        time_budget=time_budget,
        on_step=lambda ended: on_step(ledger, ended),
    )
    return ledger


def study_of(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(SearchPaths(folder).journal)))
    return optuna.load_study(study_name="test", storage=storage)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("searcher", SAMPLERS)
def test_every_searcher_and_scheduler_tells_the_study_how_each_trial_ended(
    ray_here: None, tmp_path: Path, space: Space, searcher: str, scheduler: str
) -> None:
    ledger = run(tmp_path, space, searcher, scheduler)
    told = study_of(tmp_path).trials
    assert len(told) == len(ledger.trials) == 14
    states = {COMPLETED: TrialState.COMPLETE, STOPPED: TrialState.PRUNED}
    for number, row in ledger.trials.items():
        assert told[number].state is states.get(row["status"], TrialState.FAIL)
        for name, value in told[number].params.items():
            assert row[f"config_{name}"] == value
        if row["status"] in states:
            # Each epoch is a step; the value is the trial's best if it completed, its last if it was stopped.
            assert sorted(told[number].intermediate_values) == list(range(1, row["epochs"] + 1))
            assert told[number].value == row["best_val_accuracy" if row["status"] == COMPLETED else "val_accuracy"]
    assert ledger.trials[3]["status"] == FAILED
    assert "no room for trial 3" in ledger.trials[3]["reason"]
    if scheduler == "fifo":
        assert ledger.trials[5]["status"] == DIVERGED
        assert ledger.counts[STOPPED] == 0
    else:
        assert ledger.counts[STOPPED] > 0


def test_trial_0_is_the_reports_configuration_and_never_stopped(ray_here: None, tmp_path: Path, space: Space) -> None:
    better = space.model_copy(update={"start": [{"dropout": 0.2}, {"dropout": 0.21}, {"dropout": 0.19}]})
    ledger = run(tmp_path, better, "random", "asha", max_concurrent=1)
    first = ledger.trials[0]
    assert {key: first[f"config_{key}"] for key in baseline("ann").model_dump()} == baseline("ann").model_dump()
    assert (first["status"], first["epochs"]) == (COMPLETED, MAX_EPOCHS)


def test_start_points_come_right_after_trial_0(ray_here: None, tmp_path: Path, space: Space) -> None:
    started = space.model_copy(update={"start": [{"dropout": 0.25, "hidden1": 300}]})
    ledger = run(tmp_path, started, "tpe", "fifo", trials=2)
    assert ledger.trials[1]["config_dropout"] == 0.25
    assert ledger.trials[1]["config_hidden1"] == 300


def test_a_baseline_outside_the_space_teaches_the_sampler_nothing(ray_here: None, tmp_path: Path) -> None:
    small = {"dropout": {"type": "float", "low": 0.1, "high": 0.2}}
    narrow = from_values({"model": "ann", "parameters": small, "start": [{"dropout": 0.15}]})
    ledger = run(tmp_path, narrow, "tpe", "fifo", trials=3)
    assert ledger.trials[0]["config_dropout"] == 0.3
    assert ledger.trials[1]["config_dropout"] == 0.15
    told = study_of(tmp_path).trials
    assert (told[0].state, told[0].params) == (TrialState.FAIL, {})
    assert len(told) == 3


def test_conditional_parameters_exist_only_beside_their_condition(ray_here: None, tmp_path: Path) -> None:
    parameters = {
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
    }
    ledger = run(tmp_path, from_values({"model": "ann", "parameters": parameters}), "tpe", "asha", trials=20)
    optimizers = {row["config_optimizer"] for row in ledger.trials.values()}
    assert optimizers == {"adam", "sgd"}
    for row in ledger.trials.values():
        assert (row["config_momentum"] >= 0.5) == (row["config_optimizer"] == "sgd")


def test_short_trials_leave_a_slots_process_time_to_start(ray_here: None, tmp_path: Path, space: Space) -> None:
    slots, seen = 4, tmp_path / "processes"
    seen.mkdir()

    def short(job: dict[str, Any]) -> None:
        (seen / str(os.getpid())).touch()
        if len(list(seen.iterdir())) < slots:
            # Shorter than a process takes to start, and long enough that not all trials have ended by then.
            time.sleep(0.05)
        analytic(job | {"number": 0})

    folder = tmp_path / "x"
    run(folder, space, "random", "fifo", trials=250, max_epochs=1, max_concurrent=slots, trial=short, cpus=1 / slots)
    assert len(list(seen.iterdir())) == slots


def test_a_trial_is_not_failed_by_the_death_of_the_process_that_it_is_handed(
    ray_here: None, tmp_path: Path, space: Space
) -> None:
    def short(job: dict[str, Any]) -> None:
        (tmp_path / str(job["number"])).write_text(str(os.getpid()))
        analytic(job | {"number": 0})

    killed = []

    def on_step(ledger: Ledger, ended: int | None) -> None:
        if ended in (0, 1) and ledger.trials[ended]["status"] == COMPLETED:
            killed.append(int((tmp_path / str(ended)).read_text()))
            os.kill(killed[-1], signal.SIGKILL)

    folder = tmp_path / "x"
    ledger = run(
        folder, space, "random", "fifo", trials=4, max_epochs=1, max_concurrent=1, trial=short, on_step=on_step
    )
    assert len(set(killed)) == 2
    assert [row["status"] for row in ledger.trials.values()] == [COMPLETED] * 4


def test_a_time_budget_leaves_no_trial_running(ray_here: None, tmp_path: Path, space: Space) -> None:
    endless = 10**9
    ledger = run(tmp_path, space, "random", "fifo", trials=2, max_epochs=endless, time_budget=10.0)
    assert [row["status"] for row in ledger.trials.values()] == [STOPPED] * 2
    assert "time budget of 10 s" in ledger.trials[0]["reason"]
    assert [trial.state for trial in study_of(tmp_path).trials] == [TrialState.PRUNED] * 2


def test_the_same_seed_suggests_the_same_trials(ray_here: None, tmp_path: Path, space: Space) -> None:
    first, second = (
        run(tmp_path / name, space, "tpe", "asha", max_concurrent=1, trials=16) for name in ("first", "second")
    )
    rows = [
        [(row["config_id"], row["status"], row["epochs"], row["seed"]) for row in ledger.trials.values()]
        for ledger in (first, second)
    ]
    assert rows[0] == rows[1]
