"""A trial's process and a whole node are killed."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import Cluster
from tests.faults.harness import Hurt, Run
from tests.reliability import Note
from tune_fmnist.store import tables

ALL_EPOCHS = ("--trials", "4", "--scheduler", "fifo", "--no-retrain")


@pytest.mark.long
def test_a_killed_trial_goes_on_from_its_checkpoint(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ALL_EPOCHS
    run = hurt.start()
    for number in (1, 2):
        worker = run.worker_of(number)
        assert worker in run.processes("ray::")
        hurt.observe()
        os.kill(worker, signal.SIGKILL)
    assert run.ended() == 0, run.said
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * 4
    count("trial's process killed", 2, hurt.check(trials=4))


@pytest.mark.faults
def test_a_trial_that_is_killed_each_time_fails_and_the_others_go_on(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ALL_EPOCHS
    run = hurt.start()
    workers: list[int] = []
    for _ in range(3):
        workers.append(run.worker_of(1, workers))
        hurt.observe()
        os.kill(workers[-1], signal.SIGKILL)
    assert run.ended() == 0, run.said
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert len(set(workers)) == 3
    assert [row["status"] for row in rows] == ["completed", "failed", "completed", "completed"]
    assert rows[1]["reason"]
    count("trial's process killed thrice", 3, hurt.check(trials=4))


def out_of_memory(hurt: Hurt, run: Run, number: int, ended: list[int]) -> None:
    """Let a trial's process, none of those that ``ended``, have no page more than it has: the next one fails."""
    worker = run.worker_of(number, ended)
    ended.append(worker)
    hurt.observe()
    used = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(worker, resource.RLIMIT_AS, (used, used))
    while worker in run.processes("ray::"):
        os.sched_yield()
    assert run.process.poll() is None, "the search ended before"


def wide(hurt: Hurt, folder: Path, batch_size: int, *options: str) -> None:
    """Make trial 1 of three so wide that its epochs are long, and that each needs new memory for its checkpoint."""
    space = folder / "space.toml"
    space.write_text(
        'model = "ann"\n[parameters]\nhidden1 = { type = "categorical", choices = [32, 4096] }\n'
        f"[fixed]\nhidden2 = 4096\nbatch_size = {batch_size}\n"
        "[[start]]\nhidden1 = 4096\n[[start]]\nhidden1 = 32\n"
    )
    hurt.arguments = ("--model", "ann", "--space", str(space), "--no-retrain", "--scheduler", "fifo", *options)


@pytest.mark.faults
@pytest.mark.parametrize(("times", "status"), [(1, "completed"), (3, "failed")])
def test_a_trial_that_runs_out_of_memory(hurt: Hurt, count: Note, tmp_path: Path, times: int, status: str) -> None:
    wide(hurt, tmp_path, 256, "--trials", "3", "--limit-train", "1000", "--max-epochs", "5")
    run = hurt.start()
    ended: list[int] = []
    for _ in range(times):
        out_of_memory(hurt, run, 1, ended)
    assert run.ended() == 0, run.said
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed", status, "completed"]
    assert status == "completed" or "memory" in rows[1]["reason"].lower(), rows[1]
    count(f"out of memory, times: {times}", times, hurt.check(trials=3))


@pytest.mark.faults
def test_the_trials_of_a_lost_node_complete_on_the_other(hurt: Hurt, count: Note, cluster: Cluster) -> None:
    hurt.arguments += (*ALL_EPOCHS, "--address", cluster.address)
    run = hurt.start()
    assert run.await_line(start="trial ")
    hurt.observe()
    cluster.lose_node()
    assert run.ended() == 0, run.said
    assert "2 slots" in "\n".join(run.lines)
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * 4
    count("node of two lost", 1, hurt.check(trials=4))


@pytest.mark.faults
def test_a_stalled_trial_fails_by_name_and_the_others_go_on(hurt: Hurt, count: Note, tmp_path: Path) -> None:
    wide(hurt, tmp_path, 1, "--trials", "3", "--limit-train", "1000", "--max-epochs", "2", "--trial-timeout", "15s")
    assert hurt.start().ended() == 0
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed", "failed", "completed"]
    assert "no epoch within 15 s, --trial-timeout, 3 times" in rows[1]["reason"]
    count("trial stalls", 1, hurt.check(trials=3))
