"""SIGINT, SIGTERM and SIGHUP, once and twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.harness import Hurt
from tests.reliability import Note
from tune_fmnist.store import tables

LONG = ("--trials", "12", "--top-k", "1", "--retrain-seeds", "1")


def caught(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(mask >> (number - 1) & 1)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_search_with_its_tables_written(hurt: Hurt, count: Note, number: signal.Signals) -> None:
    hurt.arguments += LONG
    run = hurt.start()
    assert run.await_line(start="trial ", count=3)
    run.process.send_signal(number)
    assert run.ended() == 130, run.said
    assert run.lines[-1].startswith("next: python -m tune_fmnist.search --resume ")
    # All that was told is in the tables.
    ended = {line.split()[1] for line in run.lines if line.startswith("trial ")}
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert sum(row["status"] != "running" for row in rows) >= len(ended)
    hurt.finish()
    count(number.name, 1, hurt.check(trials=12, retrains=True))


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(hurt: Hurt, count: Note, number: signal.Signals) -> None:
    hurt.arguments += LONG
    run = hurt.start()
    assert run.await_line(start="trial ", count=3)
    run.process.send_signal(number)
    while caught(run.process.pid, number) and run.process.poll() is None:
        os.sched_yield()
    run.process.send_signal(number)
    # The system ends it: its own cleaning up would return 130.
    assert run.process.wait(240) == -number, run.said
    tables.read(hurt.paths.trials, tables.TRIALS)
    hurt.finish()
    count(f"{number.name} twice", 1, hurt.check(trials=12, retrains=True))
