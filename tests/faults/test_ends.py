"""How a search ends: its reader goes, signals come at any moment, Ray's processes are lost, a trial's is halted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.conftest import Cluster
from tests.faults.harness import Hurt, Run
from tests.faults.test_signals import caught
from tests.reliability import Note
from tune_fmnist.store import tables
from tune_fmnist.store.record import SearchRecord

SMALL = ("--trials", "4", "--top-k", "1", "--retrain-seeds", "1")
NOTICED_SECONDS = 15.0


def begun(hurt: Hurt) -> Run:
    """Start the search, and wait until it has taken over the signals, at the beginning of its imports."""
    run = hurt.start()
    while not caught(run.process.pid, signal.SIGTERM):
        os.sched_yield()
    return run


def state(hurt: Hurt) -> str:
    return SearchRecord.read(hurt.paths).state


@pytest.mark.faults
@pytest.mark.parametrize("with_progress", [False, True])
def test_a_search_whose_reader_goes_ends_in_silence(hurt: Hurt, *, with_progress: bool) -> None:
    """``search | head -1`` and ``search 2>&1 | head -1``."""
    command = [sys.executable, "-m", "tune_fmnist.search", "--results-dir", hurt.paths.folder.parent, "--name", "x"]
    small = ("--model", "ann", "--limit-train", "200", "--max-epochs", "1", "--trials", "2", "--no-retrain")
    errors = subprocess.STDOUT if with_progress else subprocess.PIPE
    with subprocess.Popen([*map(str, command), *small], stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None
        if with_progress:
            assert process.stdout.readline()
        process.stdout.close()
        if process.stderr is not None:
            assert process.stderr.read().endswith("writing the page\n\n")
    assert process.returncode == 0
    assert state(hurt) == "finished"
    assert hurt.paths.page.exists()


@pytest.mark.parametrize("arguments", [("--help",), ("no-such-command",)])
def test_a_command_keeps_its_status_without_a_reader(arguments: tuple[str, ...]) -> None:
    program = f"import sys; from tune_fmnist import cli; sys.argv[1:] = {arguments!r}; cli.run()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", program], stdout=write, stderr=write, check=False)
    os.close(write)
    assert done.returncode == (0 if arguments == ("--help",) else 2)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_of_the_start(hurt: Hurt, count: Note, number: signal.Signals, seed: int) -> None:
    hurt.arguments += SMALL
    run = begun(hurt)
    # Moments of the imports, of the data's reading and of Ray's start, however fast the machine is.
    chance = random.Random(f"{number}-{seed}")  # noqa: S311 -- a moment is no secret
    if seed:
        assert run.await_line(count=min(seed, 3))
    until = time.monotonic() + chance.uniform(0.0, 0.5 if seed == 0 else 3.0)
    while time.monotonic() < until:
        pass
    run.process.send_signal(number)
    assert run.ended() == 130, (run.lines, run.said)
    assert not run.said.strip()
    if hurt.paths.folder.exists():
        assert state(hurt) == "interrupted"
    assert not run.processes("raylet/raylet "), "Ray goes on"
    hurt.finish()
    count(f"{number.name} at the start", 1, hurt.check(trials=4, retrains=True))


@pytest.mark.faults
@pytest.mark.parametrize("line", ["trial ", "retraining "])
def test_a_closed_terminal_ends_a_search_once(hurt: Hurt, count: Note, line: str) -> None:
    hurt.arguments += SMALL
    run = hurt.start()
    assert run.await_line(start=line)
    # A shell passes on what the terminal has sent already.
    run.process.send_signal(signal.SIGHUP)
    run.process.send_signal(signal.SIGHUP)
    assert run.ended() == 130, (run.lines, run.said)
    assert state(hurt) == "interrupted"
    hurt.finish()
    count("SIGHUP twice", 1, hurt.check(trials=4, retrains=True))


def lost(run: Run, pid: int) -> None:
    """Kill one of Ray's own processes; the search must end in time, with one line."""
    os.kill(pid, signal.SIGKILL)
    assert run.ended(NOTICED_SECONDS) == 1, (run.lines, run.said)
    assert len(run.said.splitlines()) == 1, run.said
    (line,) = run.said.splitlines()
    assert line.startswith("error: Ray is lost ("), line


@pytest.mark.faults
@pytest.mark.parametrize("line", ["Ray: ", "trial ", "retraining "])
def test_the_loss_of_rays_head_is_noticed(hurt: Hurt, count: Note, line: str) -> None:
    hurt.arguments += ("--trials", "10", "--top-k", "1", "--retrain-seeds", "2")
    run = hurt.start()
    assert run.await_line(start=line)
    (head,) = run.processes("gcs_server ")
    lost(run, head)
    assert state(hurt) == "failed"
    hurt.finish()
    count("gcs_server killed", 1, hurt.check(trials=10, retrains=True))


@pytest.mark.faults
@pytest.mark.parametrize("line", ["trial ", "retrained "])
def test_the_loss_of_rays_process_on_this_machine_is_noticed(hurt: Hurt, count: Note, line: str) -> None:
    hurt.arguments += ("--trials", "10", "--top-k", "1", "--retrain-seeds", "2")
    run = hurt.start()
    assert run.await_line(start=line)
    (raylet,) = run.processes("raylet/raylet ")
    lost(run, raylet)
    assert state(hurt) == "failed"
    hurt.finish()
    count("raylet killed", 1, hurt.check(trials=10, retrains=True))


@pytest.mark.faults
def test_the_loss_of_a_joined_clusters_head_is_noticed(hurt: Hurt, count: Note, cluster: Cluster) -> None:
    hurt.arguments += (*SMALL, "--scheduler", "fifo", "--no-retrain")
    run = hurt.start("--address", cluster.address)
    assert run.await_line(start="trial ")
    lost(run, cluster.head())
    assert state(hurt) == "failed"
    hurt.finish()
    count("joined cluster's head killed", 1, hurt.check(trials=4))


@pytest.mark.faults
def test_a_halted_process_is_ended_and_its_trial_goes_on(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ("--trials", "3", "--scheduler", "fifo", "--no-retrain", "--trial-timeout", "8s")
    run = hurt.start()
    halted = run.worker_of(1)
    hurt.observe()
    os.kill(halted, signal.SIGSTOP)
    assert run.ended() == 0, run.said
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * 3
    assert halted not in run.processes()
    count("trial's process halted", 1, hurt.check(trials=3))
