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

from benchmarks import simulated
from tests.records import make_proposer, make_record, make_result, scheduler_settings
from tune_fmnist.base.metrics import DIVERGED_SCORE
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, STOPPED, SchedulerName, SearcherName
from tune_fmnist.models.config import baseline
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.slots import place
from tune_fmnist.runtime.trials import Limits, Trainable, run_trials
from tune_fmnist.store.jobs import JOB, EpochResult, TrialJob, told_to_ray
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.tables import EPOCHS, read
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_files import default_space, from_values, read_space

MAX_EPOCHS = 9

# Ray's processes cannot import these modules: their functions travel by value.
for module in (sys.modules[__name__], simulated):
    ray.cloudpickle.register_pickle_by_value(module)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with running_ray(None):
        yield


@pytest.fixture
def space() -> Space:
    return read_space(default_space("ann"))


def analytic(config: dict[str, Any]) -> None:
    """Report a curve that rises with the epoch and is best at dropout 0.2; trial 3 fails and trial 5 diverges."""
    if config[JOB].number == 3:
        raise MemoryError("no room for trial 3")
    curve(config[JOB], diverges=config[JOB].number == 5)


def curve(job: TrialJob, *, diverges: bool = False) -> None:
    """Report the epochs of a trial."""
    results: list[EpochResult] = []
    for epoch in range(1, job.max_epochs + 1):
        diverged = diverges and epoch == 2
        accuracy = 0.1 if diverged else (1 - abs(job.config.dropout - 0.2)) * (1 - 0.5 / epoch)
        simulated.tell(results, accuracy, train_loss=math.nan if diverged else 1.0 / epoch)
        if diverged:
            return


def run(
    folder: Path,
    space: Space,
    searcher: SearcherName,
    scheduler: SchedulerName,
    *,
    trials: int = 14,
    max_epochs: int = MAX_EPOCHS,
    max_concurrent: int | None = None,
    audited: float = 0.0,
    time_budget: float | None = None,
    trial: Trainable = analytic,
    cpus: float | None = None,
    on_step: Callable[[TrialTables, int | None], None] = lambda trial_tables, ended: None,
) -> TrialTables:
    folder.mkdir(exist_ok=True)
    paths = SearchPaths(folder)
    trial_tables = TrialTables(paths, make_record(max_epochs=max_epochs))
    audit, rungs = Audit(audited, 1), Rungs.resumed(scheduler_settings(scheduler), max_epochs, {}, [])
    run_trials(
        trial,
        OptunaSearcher(
            space,
            make_proposer(space, searcher),
            seed=1,
            max_epochs=max_epochs,
            journal=paths.journal,
            name="test",
            count=trials,
            audit=audit,
            rungs=rungs,
        ),
        make_scheduler(scheduler_settings(scheduler), max_epochs, audit, rungs),
        trial_tables,
        place(cpus, None, max_concurrent),
        Limits(time_budget),
        on_step=lambda ended: on_step(trial_tables, ended),
    )
    return trial_tables


def study_of(folder: Path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(SearchPaths(folder).journal)))
    return optuna.load_study(study_name="test", storage=storage)


@pytest.mark.parametrize(("searcher", "scheduler"), [("gp", "promotion"), ("tpe", "asha"), ("random", "fifo")])
def test_every_searcher_and_scheduler_tells_the_study_how_each_trial_ended(
    ray_here: None, tmp_path: Path, space: Space, searcher: SearcherName, scheduler: SchedulerName
) -> None:
    trial_tables = run(tmp_path, space, searcher, scheduler)
    told = study_of(tmp_path).trials
    assert len(told) == len(trial_tables.trials) == 14
    states = {COMPLETED: TrialState.COMPLETE, STOPPED: TrialState.PRUNED, DIVERGED: TrialState.PRUNED}
    for number, row in trial_tables.trials.items():
        assert told[number].state is states.get(row["status"], TrialState.FAIL)
        # What the dashboard shows of a trial is what its row says.
        assert told[number].user_attrs == {name: row[name] for name in ("origin", "seed", "status", "reason")}
        for name, value in told[number].params.items():
            assert row[f"config_{name}"] == value
        if row["status"] in states:
            # Each epoch is a step with the score after it; the value is the last one.
            assert sorted(told[number].intermediate_values) == list(range(1, row["epochs"] + 1))
            assert told[number].value == (DIVERGED_SCORE if row["status"] == DIVERGED else row["score"])
    assert trial_tables.trials[3]["status"] == FAILED
    assert "no room for trial 3" in trial_tables.trials[3]["reason"]
    if scheduler == "fifo":
        assert trial_tables.trials[5]["status"] == DIVERGED
        assert trial_tables.counts[STOPPED] == 0
    else:
        assert trial_tables.counts[STOPPED] > 0


def test_trials_that_wait_go_on_when_they_are_among_the_best(ray_here: None, tmp_path: Path, space: Space) -> None:
    def sound(config: dict[str, Any]) -> None:
        curve(config[JOB])

    seen: set[str] = set()
    tables = run(
        tmp_path,
        space,
        "random",
        "promotion",
        trials=13,
        max_concurrent=2,
        trial=sound,
        on_step=lambda trial_tables, ended: seen.update(row["status"] for row in trial_tables.trials.values()),
    )
    assert "paused" in seen
    assert dict(tables.counts) == {COMPLETED: 2, STOPPED: 11, "paused": 0, "running": 0}
    # Of the 12 after the baseline 4 go on at the rung of 1 epoch, and 1 of these at that of 3.
    reached = sorted(row["epochs"] for row in tables.trials.values())
    assert reached == [1] * 8 + [3] * 3 + [9, 9]
    others = [row for row in tables.trials.values() if row["number"] > 0]
    for row in others:
        if row["status"] == STOPPED:
            assert row["reason"].endswith("is not among the best there")
    last = max(others, key=lambda row: row["epochs"])
    assert abs(last["config_dropout"] - 0.2) == min(abs(row["config_dropout"] - 0.2) for row in others)
    epochs = read(SearchPaths(tmp_path).epochs, EPOCHS)
    assert len(epochs) == sum(reached), "each epoch is one row, though those before a wait are told twice"


@pytest.mark.parametrize("scheduler", ["promotion", "asha"])
def test_the_audit_lets_stopped_trials_run_on_and_counts_none_of_it(
    ray_here: None, tmp_path: Path, space: Space, scheduler: SchedulerName
) -> None:
    def sound(config: dict[str, Any]) -> None:
        curve(config[JOB])

    audited, stopped = (
        run(tmp_path / name, space, "tpe", scheduler, trials=10, max_concurrent=1, audited=share, trial=sound)
        for name, share in (("audited", 1.0), ("stopped", 0.0))
    )
    same = ("config_id", "status", "seed", "origin")
    rows = [[[row.get(key) for key in same] for row in tables.trials.values()] for tables in (audited, stopped)]
    assert rows[0] == rows[1], "the search is the same with and without"
    ended = [row for row in audited.trials.values() if row["status"] == STOPPED]
    assert ended
    for row in ended:
        assert (row["epochs"], row["audited_at"]) == (MAX_EPOCHS, stopped.trials[row["number"]]["epochs"])
        assert "ran on to epoch 9 for the audit" in row["reason"]
        told = study_of(tmp_path / "audited").trials[row["number"]]
        assert (told.state, told.user_attrs["reason"]) == (TrialState.PRUNED, row["reason"])
    assert not {row["number"] for row in ended} & {row["number"] for row in ranked(audited.trials.values())}


def test_trial_0_is_the_baseline_and_never_stopped(ray_here: None, tmp_path: Path, space: Space) -> None:
    better = space.model_copy(update={"start": [{"dropout": 0.2}, {"dropout": 0.21}, {"dropout": 0.19}]})
    trial_tables = run(tmp_path, better, "random", "asha", max_concurrent=1)
    first = trial_tables.trials[0]
    assert {key: first[f"config_{key}"] for key in baseline("ann").model_dump()} == baseline("ann").model_dump()
    assert (first["status"], first["epochs"]) == (COMPLETED, MAX_EPOCHS)


def test_start_points_come_right_after_trial_0(ray_here: None, tmp_path: Path, space: Space) -> None:
    started = space.model_copy(update={"start": [{"dropout": 0.25, "hidden1": 300}]})
    trial_tables = run(tmp_path, started, "tpe", "fifo", trials=2)
    assert trial_tables.trials[1]["config_dropout"] == 0.25
    assert trial_tables.trials[1]["config_hidden1"] == 300


def test_a_baseline_outside_the_space_teaches_the_sampler_nothing(ray_here: None, tmp_path: Path) -> None:
    small = {"dropout": {"type": "float", "low": 0.1, "high": 0.2}}
    narrow = from_values({"model": "ann", "parameters": small, "start": [{"dropout": 0.15}]})
    trial_tables = run(tmp_path, narrow, "tpe", "fifo", trials=3)
    assert trial_tables.trials[0]["config_dropout"] == 0.3
    assert trial_tables.trials[1]["config_dropout"] == 0.15
    told = study_of(tmp_path).trials
    assert (told[0].state, told[0].params) == (TrialState.FAIL, {})
    assert len(told) == 3


def test_a_job_says_who_proposed_it(tmp_path: Path, space: Space) -> None:
    started = space.model_copy(update={"start": [{"dropout": 0.25}]})
    propose, journal = make_proposer(started, "tpe"), tmp_path / "optuna.journal"
    audit = Audit(0.0, 1)
    searcher = OptunaSearcher(
        started, propose, seed=1, max_epochs=9, journal=journal, name="test", count=9, audit=audit, rungs=Rungs()
    )
    jobs: list[TrialJob] = []
    for number in range(5):
        name = f"Ray's {number}"
        suggested = searcher.suggest(name)
        assert isinstance(suggested, dict)
        jobs.append(suggested[JOB])
        if number > 1:
            # Only what has an epoch can teach a model.
            searcher.on_trial_result(name, told_to_ray([make_result(1, 0.5)]))
    origins = ["baseline", "start", "random", "random", "random"]
    assert [(job.number, job.origin) for job in jobs] == list(enumerate(origins))
    assert searcher.suggest("Ray's 5")[JOB].origin == "model"
    assert jobs[0].config == baseline("ann")
    assert jobs[1].config.dropout == 0.25
    assert {(job.max_epochs, job.judged, job.ended) for job in jobs} == {(9, 0, False)}
    assert [job.seed for job in jobs] == [derived_seed(1, number) for number in range(5)]


def test_conditional_parameters_exist_only_beside_their_condition(ray_here: None, tmp_path: Path) -> None:
    parameters = {
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
    }
    trial_tables = run(tmp_path, from_values({"model": "ann", "parameters": parameters}), "tpe", "asha", trials=20)
    optimizers = {row["config_optimizer"] for row in trial_tables.trials.values()}
    assert optimizers == {"adam", "sgd"}
    for row in trial_tables.trials.values():
        assert (row["config_momentum"] >= 0.5) == (row["config_optimizer"] == "sgd")


def test_short_trials_leave_a_slots_process_time_to_start(ray_here: None, tmp_path: Path, space: Space) -> None:
    slots, seen = 4, tmp_path / "processes"
    seen.mkdir()

    def short(config: dict[str, Any]) -> None:
        (seen / str(os.getpid())).touch()
        if len(list(seen.iterdir())) < slots:
            # Shorter than a process takes to start, and long enough that not all trials have ended by then.
            time.sleep(0.05)
        curve(config[JOB])

    folder = tmp_path / "x"
    run(folder, space, "random", "fifo", trials=250, max_epochs=1, max_concurrent=slots, trial=short, cpus=1 / slots)
    assert len(list(seen.iterdir())) == slots


def test_a_trial_is_not_failed_by_the_death_of_the_process_that_it_is_handed(
    ray_here: None, tmp_path: Path, space: Space
) -> None:
    def short(config: dict[str, Any]) -> None:
        (tmp_path / str(config[JOB].number)).write_text(str(os.getpid()))
        curve(config[JOB])

    killed = []

    def on_step(trial_tables: TrialTables, ended: int | None) -> None:
        if ended in (0, 1) and trial_tables.trials[ended]["status"] == COMPLETED:
            killed.append(int((tmp_path / str(ended)).read_text()))
            os.kill(killed[-1], signal.SIGKILL)

    folder = tmp_path / "x"
    trial_tables = run(
        folder, space, "random", "fifo", trials=4, max_epochs=1, max_concurrent=1, trial=short, on_step=on_step
    )
    assert len(set(killed)) == 2
    assert [row["status"] for row in trial_tables.trials.values()] == [COMPLETED] * 4


def test_a_time_budget_leaves_no_trial_running(ray_here: None, tmp_path: Path, space: Space) -> None:
    budget, endless = 2.5, 10**9
    rows: list[dict[str, Any]] = []
    # How long it takes until both have told something is the machine's affair.
    while [row["epochs"] > 0 for row in rows] != [True] * 2:
        budget *= 2
        folder = tmp_path / f"{budget:g}"
        trial_tables = run(folder, space, "random", "fifo", trials=2, max_epochs=endless, time_budget=budget)
        rows = list(trial_tables.trials.values())
        assert {row["status"] for row in rows} <= {STOPPED}
        assert all(f"time budget of {budget:g} s" in row["reason"] for row in rows)
        # One whose process was still starting has no row, and is issued again when the search is resumed.
        begun = [trial for trial in study_of(folder).trials if trial.number in trial_tables.trials]
        assert all(trial.state.is_finished() for trial in begun)
        assert [trial.user_attrs["reason"] for trial in begun] == [row["reason"] for row in rows]
    assert [trial.state for trial in study_of(folder).trials] == [TrialState.PRUNED] * 2


def test_what_waits_when_the_time_is_up_is_said_to_be_stopped_by_it(
    ray_here: None, tmp_path: Path, space: Space
) -> None:
    def patient(config: dict[str, Any]) -> None:
        job: TrialJob = config[JOB]
        results: list[EpochResult] = []
        for _ in range(3 if job.number else 1):
            simulated.tell(results, 0.5 - job.number / 1000)
        # The first one, which the others would wait for, never ends.
        while job.number == 0:
            simulated.tell(results, 0.5)

    budget, waited = 2.5, False
    seen: set[int] = set()
    while not waited:
        budget *= 2
        seen.clear()
        folder = tmp_path / f"{budget:g}"
        tables = run(
            folder,
            space,
            "random",
            "promotion",
            trials=3,
            max_epochs=10**9,
            time_budget=budget,
            trial=patient,
            on_step=lambda trial_tables, ended: seen.update(
                row["number"] for row in trial_tables.trials.values() if row["status"] == "paused"
            ),
        )
        waited = bool(seen)
    for number in seen:
        assert f"time budget of {budget:g} s" in tables.trials[number]["reason"]
        assert study_of(folder).trials[number].user_attrs["reason"] == tables.trials[number]["reason"]


def test_the_same_seed_suggests_the_same_trials(ray_here: None, tmp_path: Path, space: Space) -> None:
    first, second = (
        run(tmp_path / name, space, "gp", "promotion", max_concurrent=1, trials=7) for name in ("first", "second")
    )
    assert first.trials[6]["origin"] == "model"
    rows = [
        [(row["config_id"], row["status"], row["epochs"], row["seed"]) for row in trial_tables.trials.values()]
        for trial_tables in (first, second)
    ]
    assert rows[0] == rows[1]
