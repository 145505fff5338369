"""What may be resumed, by whom, and what a resume does not change."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.harness import Hurt
from tests.reliability import Note
from tune_fmnist.store import tables

SMALL = ("--trials", "4", "--top-k", "1", "--retrain-seeds", "1")


@pytest.mark.faults
def test_a_second_writer_is_turned_away_and_a_dead_one_blocks_nobody(hurt: Hurt, count: Note) -> None:
    hurt.arguments += SMALL
    first = hurt.start()
    assert first.await_line(start="trial ")
    second = hurt.start()
    assert second.ended() == 2, second.said
    assert f"in use by process {first.process.pid} " in second.said
    first.kill()
    hurt.finish()
    count("two writers, one killed", 1, hurt.check(trials=4, retrains=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in [*folder.glob("*.parquet"), folder / "optuna.journal"]}


@pytest.mark.faults
def test_resuming_a_finished_search(hurt: Hurt, count: Note, tmp_path: Path) -> None:
    hurt.arguments += SMALL
    assert hurt.start().ended() == 0
    before = contents(hurt.paths.folder)
    other = tmp_path / "other.toml"
    other.write_text('model = "ann"\n[parameters]\ndropout = { type = "float", low = 0.1, high = 0.2 }\n')

    for option, value in (
        *(
            ("--seed", 1),
            ("--split-seed", 1),
            ("--model", "cnn"),
            ("--space", other),
            ("--max-epochs", 8),
            ("--trials", 3),
        ),
        *(("--searcher", "random"), ("--scheduler", "fifo"), ("--limit-train", 5000)),
    ):
        refused = hurt.start(option, value)
        assert refused.ended() == 2, option
        assert option in refused.said
        assert refused.said.count("\n") == 1
    assert contents(hurt.paths.folder) == before

    again = hurt.finish()
    assert not any(line.startswith(("Ray:", "trial ", "retrain")) for line in again.lines)
    assert contents(hurt.paths.folder) == before

    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    epochs = tables.read(hurt.paths.epochs, tables.EPOCHS).to_pylist()
    hurt.finish("--trials", 8)
    more = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert more[:4] == rows
    assert all(row in tables.read(hurt.paths.epochs, tables.EPOCHS).to_pylist() for row in epochs)
    count("resumed when finished, and extended", 10, hurt.check(trials=8, retrains=True))


@pytest.mark.faults
def test_a_killed_extension_goes_on(hurt: Hurt, count: Note) -> None:
    hurt.arguments += (*SMALL, "--no-retrain")
    assert hurt.start().ended() == 0
    run = hurt.start("--trials", 10)
    assert run.await_line(start="trial ", count=2)
    os.kill(run.process.pid, signal.SIGKILL)
    run.ended()
    hurt.finish()
    count("extension killed", 1, hurt.check(trials=10))
