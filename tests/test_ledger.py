from __future__ import annotations

import errno
import math
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.disk import full_disk
from tune_fmnist.models.config import Ann, Cnn, Config, config_id, to_config
from tune_fmnist.store import tables
from tune_fmnist.store import trial_tables as ledger_module
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import PUBLISH_SECONDS, Ledger

MAX_EPOCHS = 3


def job(number: int, config: Config | None = None) -> dict[str, Any]:
    """What the searcher suggests."""
    config = config or Ann(hidden1=100 + number)
    return {"number": number, "seed": 1000 + number, "max_epochs": MAX_EPOCHS, "config": config.model_dump()}


def report(epoch: int, accuracy: float, *, loss: float = 0.5, at: float = 2e9) -> dict[str, Any]:
    """What a trial reports, and what Ray adds."""
    return {
        "epoch": epoch,
        "train_loss": loss,
        "train_accuracy": 0.7,
        "val_loss": 1 - accuracy,
        "val_accuracy": accuracy,
        "learning_rate": 1e-3,
        "train_seconds": 1.0,
        "eval_seconds": 0.1,
        "overhead_seconds": 0.01,
        "reported_at": at,
        "diverged": not math.isfinite(loss),
        "node": "here",
        "device": "cpu",
        "precision": "float32",
        "training_iteration": epoch,
        "trial_id": "Ray's own",
    }


def trials_of(paths: SearchPaths) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(paths.trials, tables.TRIALS).to_pylist()
    return rows


def epochs_of(paths: SearchPaths) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(paths.epochs, tables.EPOCHS).to_pylist()
    return rows


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    return SearchPaths(tmp_path / "search")


@pytest.fixture
def ledger(paths: SearchPaths) -> Ledger:
    return Ledger(paths, "abc", MAX_EPOCHS)


def run(ledger: Ledger, number: int, *accuracies: float) -> None:
    ledger.start(job(number))
    for epoch, accuracy in enumerate(accuracies, 1):
        ledger.report(number, report(epoch, accuracy))


def test_trial_that_has_begun_is_a_row(ledger: Ledger, paths: SearchPaths) -> None:
    before = datetime.now(UTC)
    ledger.start(job(0, Cnn(dropout=0.25)))
    ledger.publish(now=True)
    (row,) = trials_of(paths)
    assert before <= row["started_at"] <= datetime.now(UTC)
    assert {key: row[key] for key in ("trial_id", "number", "status", "epochs", "seconds", "seed")} == {
        "trial_id": "abc-00000",
        "number": 0,
        "status": "running",
        "epochs": 0,
        "seconds": 0.0,
        "seed": 1000,
    }
    assert row["config_id"] == config_id(Cnn(dropout=0.25))
    assert to_config(tables.config_values(row)) == Cnn(dropout=0.25)
    assert row["val_accuracy"] is row["best_val_accuracy"] is row["best_epoch"] is row["node"] is None
    assert epochs_of(paths) == []


def test_trial_that_reports_is_a_row_an_epoch(ledger: Ledger, paths: SearchPaths) -> None:
    ledger.start(job(7))
    started = ledger.trials[7]["started_at"].timestamp()
    for epoch, accuracy in enumerate((0.8, 0.9, 0.85), 1):
        ledger.report(7, report(epoch, accuracy, at=started + 1.11 * epoch))
    ledger.publish(now=True)
    (row,) = trials_of(paths)
    expected = {"epochs": 3, "val_accuracy": 0.85, "best_val_accuracy": 0.9, "best_epoch": 2, "status": "running"}
    expected |= {"node": "here", "device": "cpu", "precision": "float32"}
    assert {key: row[key] for key in expected} == expected
    assert row["val_loss"] == pytest.approx(0.15)
    assert row["seconds"] == pytest.approx(3 * 1.11, abs=1e-3)
    epochs = epochs_of(paths)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert [epoch["val_accuracy"] for epoch in epochs] == [0.8, 0.9, 0.85]
    assert {epoch["trial_id"] for epoch in epochs} == {"abc-00007"}
    assert epochs[0]["reported_at"] == datetime.fromtimestamp(started + 1.11, UTC)


def test_best_epoch_is_the_earliest_of_equal_ones(ledger: Ledger) -> None:
    run(ledger, 0, 0.8, 0.9, 0.9)
    assert ledger.trials[0]["best_epoch"] == 2


def end_at_the_last_epoch(ledger: Ledger) -> None:
    run(ledger, 0, 0.8, 0.9, 0.85)
    ledger.end(0)


def end_by_asha(ledger: Ledger) -> None:
    run(ledger, 0, 0.8)
    ledger.end(0)


def end_by_the_time_budget(ledger: Ledger) -> None:
    run(ledger, 0, 0.8, 0.9)
    ledger.end(0, "the time budget of 60 s was used up")


def end_before_the_first_epoch(ledger: Ledger) -> None:
    run(ledger, 0)
    ledger.end(0, "the time budget of 60 s was used up")


def diverge(ledger: Ledger) -> None:
    run(ledger, 0, 0.8)
    ledger.report(0, report(2, 0.95, loss=math.nan))
    ledger.end(0)


def diverge_in_the_last_epoch(ledger: Ledger) -> None:
    run(ledger, 0, 0.8, 0.9)
    ledger.report(0, report(3, 0.95, loss=math.inf))
    ledger.end(0, "the time budget of 60 s was used up")


def fail(ledger: Ledger) -> None:
    run(ledger, 0, 0.8, 0.9)
    ledger.fail(0, "RuntimeError: out of memory")


def fail_at_once(ledger: Ledger) -> None:
    run(ledger, 0)
    ledger.fail(0, "ModuleNotFoundError: torch")


@pytest.mark.parametrize(
    ("happens", "status", "reason", "epochs", "best"),
    [
        (end_at_the_last_epoch, "completed", "reached 3 epochs", 3, 0.9),
        (end_by_asha, "stopped", "by ASHA: 0.8000 after epoch 1 is too low", 1, 0.8),
        (end_by_the_time_budget, "stopped", "the time budget of 60 s was used up", 2, 0.9),
        (end_before_the_first_epoch, "stopped", "the time budget of 60 s was used up", 0, None),
        (diverge, "diverged", "training loss nan in epoch 2", 2, 0.8),
        (diverge_in_the_last_epoch, "diverged", "training loss inf in epoch 3", 3, 0.9),
        (fail, "failed", "RuntimeError: out of memory", 2, 0.9),
        (fail_at_once, "failed", "ModuleNotFoundError: torch", 0, None),
    ],
)
def test_each_end_has_its_status_and_reason(
    ledger: Ledger, paths: SearchPaths, happens: Any, status: str, reason: str, epochs: int, best: float | None
) -> None:
    happens(ledger)
    ledger.publish(now=True)
    (row,) = trials_of(paths)
    assert (row["status"], row["reason"], row["epochs"], row["best_val_accuracy"]) == (status, reason, epochs, best)
    assert len(epochs_of(paths)) == epochs == ledger.epochs
    assert +ledger.counts == {status: 1}


def test_lost_loss_is_in_the_table(ledger: Ledger, paths: SearchPaths) -> None:
    ledger.start(job(0))
    ledger.report(0, report(1, math.nan, loss=math.nan))
    ledger.publish(now=True)
    (row,), (epoch,) = trials_of(paths), epochs_of(paths)
    assert all(math.isnan(value) for value in (row["val_accuracy"], epoch["train_loss"], epoch["val_accuracy"]))
    assert row["best_val_accuracy"] is None


def test_best_is_of_the_trials_that_train_without_an_error(ledger: Ledger) -> None:
    def best() -> tuple[int, float] | None:
        return (ledger.best["number"], ledger.best["best_val_accuracy"]) if ledger.best else None

    run(ledger, 0)
    assert best() is None
    run(ledger, 1, 0.7, 0.9)
    assert best() == (1, 0.9)
    run(ledger, 2, 0.99)
    run(ledger, 3, 0.98)
    assert best() == (2, 0.99)
    ledger.fail(2, "RuntimeError: lost")
    assert best() == (3, 0.98)
    ledger.report(3, report(2, 1.0, loss=math.nan))
    assert best() == (1, 0.9)
    run(ledger, 4, 0.9)
    assert best() == (1, 0.9), "the earlier of equal ones"
    run(ledger, 5, 0.95, 0.1)
    ledger.end(5)
    assert best() == (5, 0.95), "by the best epoch, not the last"
    assert +ledger.counts == {"running": 3, "failed": 1, "diverged": 1, "stopped": 1}


class Clock:
    """Time that passes only when it is told to, or with each look at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.each_look = 0.0

    def monotonic(self) -> float:
        self.now += self.each_look
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ledger_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_rows_reach_the_disk_while_the_search_runs(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    ledger.publish()
    assert trials_of(paths) == []
    ledger.start(job(0))
    clock.now += PUBLISH_SECONDS / 2
    ledger.publish()
    assert trials_of(paths) == [], "not at each step"
    clock.now += PUBLISH_SECONDS / 2
    ledger.publish()
    assert len(trials_of(paths)) == 1
    ledger.report(0, report(1, 0.8))
    clock.now += PUBLISH_SECONDS
    ledger.publish()
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1
    ledger.end(0)
    ledger.publish()
    assert trials_of(paths)[0]["status"] == "running"
    ledger.publish(now=True)
    assert trials_of(paths)[0]["status"] == "stopped"


def test_publishing_takes_little_of_the_time(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    clock.each_look = 0.1
    ledger.publish()
    took, clock.each_look = 0.1, 0.0
    ledger.start(job(0))
    clock.now += took / 0.02 - 0.001
    ledger.publish()
    assert trials_of(paths) == [], "more than 2 %"
    clock.now += 0.002
    ledger.publish()
    assert len(trials_of(paths)) == 1


def test_nothing_is_written_where_nothing_changed(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    run(ledger, 0, 0.8)
    ledger.publish()
    paths.trials.unlink()
    clock.now += 100
    ledger.publish()
    ledger.publish(now=True)
    assert not paths.trials.exists()


def test_storage_that_fails_is_tried_again(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    ledger.publish()
    run(ledger, 0, 0.8)
    clock.now += PUBLISH_SECONDS
    with full_disk():
        ledger.publish()
    assert trials_of(paths) == epochs_of(paths) == [], "what was there stays readable"
    assert "File too large" in (ledger.trouble or "")
    ledger.report(0, report(2, 0.9))
    clock.now += PUBLISH_SECONDS
    ledger.publish()
    assert ledger.trouble is None
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2


def test_storage_that_fails_for_minutes_ends_the_search(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    run(ledger, 0, 0.8)
    with full_disk():
        with pytest.raises(OSError, match="File too large"):
            ledger.publish(now=True)
        for _ in range(2):
            clock.now += 149
            ledger.publish()
        clock.now += 3
        with pytest.raises(OSError, match="File too large"):
            ledger.publish()


def test_storage_that_has_gone_is_written_to_when_it_is_back(ledger: Ledger, paths: SearchPaths, clock: Clock) -> None:
    run(ledger, 0, 0.8)
    ledger.publish()
    away = paths.folder.rename(paths.folder.with_name("away"))
    paths.folder.write_text("in its place\n")
    ledger.report(0, report(2, 0.9))
    for _ in range(3):
        clock.now += PUBLISH_SECONDS
        ledger.publish()
        assert str(paths.folder) in (ledger.trouble or "")
    with pytest.raises(OSError, match=str(paths.folder)):
        ledger.publish(now=True)
    paths.folder.unlink()
    away.rename(paths.folder)
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1
    clock.now += PUBLISH_SECONDS
    ledger.publish()
    assert ledger.trouble is None
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a disk that can be filled needs root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_full_disk_ends_the_search_at_once(small_disk: Path, clock: Clock) -> None:
    paths = SearchPaths(small_disk / "search")
    ledger = Ledger(paths, "abc", MAX_EPOCHS)
    run(ledger, 0, 0.8)
    ledger.publish()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(200_000))
    ledger.report(0, report(2, 0.9))
    clock.now += PUBLISH_SECONDS
    with pytest.raises(OSError, match="No space left") as raised:
        ledger.publish()
    assert raised.value.errno == errno.ENOSPC
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1, "what was there stays readable"
    ballast.unlink()
    ledger.publish(now=True)
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2
    assert {file.name for file in paths.folder.iterdir()} == {"trials.parquet", "epochs.parquet"}


def every_end(ledger: Ledger) -> None:
    """Let a trial of each status be in the tables."""
    run(ledger, 0, 0.8, 0.9, 0.85)
    run(ledger, 1, 0.7)
    run(ledger, 2, 0.99)
    run(ledger, 3, 0.98)
    run(ledger, 4, 0.6, 0.95)
    run(ledger, 5)
    ledger.end(0)
    ledger.end(1)
    ledger.report(2, report(2, 0.1, loss=math.nan))
    ledger.fail(3, "RuntimeError: lost")
    ledger.publish(now=True)


def test_tables_are_taken_up_as_they_were(ledger: Ledger, paths: SearchPaths) -> None:
    every_end(ledger)
    trials, epochs = trials_of(paths), epochs_of(paths)
    taken = Ledger(paths, "abc", MAX_EPOCHS)
    assert taken.counts == +ledger.counts == {"completed": 1, "stopped": 1, "diverged": 1, "failed": 1, "running": 2}
    assert taken.epochs == ledger.epochs == len(epochs) == 9
    assert [trial["number"] for trial in taken.running] == [4, 5]
    assert (taken.best or {})["number"] == (ledger.best or {})["number"] == 4
    paths.trials.unlink()
    paths.epochs.unlink()
    taken.publish(now=True)
    # In words: a NaN does not equal itself.
    assert repr(trials_of(paths)) == repr(trials)
    assert sorted(map(repr, epochs_of(paths))) == sorted(map(repr, epochs))


def test_trial_that_is_taken_up_goes_on(ledger: Ledger, paths: SearchPaths) -> None:
    every_end(ledger)
    before = trials_of(paths)[4]
    taken = Ledger(paths, "abc", MAX_EPOCHS)
    taken.start(job(4))
    for epoch in (1, 2):
        # What it reported before is told once more, and not counted once more.
        taken.report(4, report(epoch, 0.1, at=3e9))
    taken.publish(now=True)
    assert trials_of(paths)[4] == before
    assert taken.epochs == len(epochs_of(paths)) == 9
    taken.report(4, report(3, 0.97))
    taken.end(4)
    taken.publish(now=True)
    row = trials_of(paths)[4]
    assert (row["status"], row["epochs"], row["best_epoch"], row["best_val_accuracy"]) == ("completed", 3, 3, 0.97)
    assert row["started_at"] == before["started_at"]
    assert row["seconds"] == pytest.approx(3 * 1.11)
    assert [epoch["val_accuracy"] for epoch in epochs_of(paths) if epoch["trial_id"] == "abc-00004"] == [
        0.6,
        0.95,
        0.97,
    ]


def between_the_tables(ledger: Ledger, paths: SearchPaths) -> Ledger:
    """Kill the search after the table of epochs has been written and before that of trials is."""
    trials = paths.trials.read_bytes()
    ledger.publish(now=True)
    paths.trials.write_bytes(trials)
    return Ledger(paths, "abc", MAX_EPOCHS)


def test_epochs_of_a_trial_that_is_in_no_table_are_dropped(ledger: Ledger, paths: SearchPaths) -> None:
    every_end(ledger)
    run(ledger, 6, 0.5, 0.6)
    ledger.report(4, report(3, 0.97))
    taken = between_the_tables(ledger, paths)
    assert 6 not in taken.trials
    assert taken.trials[4]["epochs"] == 3, "an epoch of a known trial counts"
    assert taken.epochs == 10
    assert {row["number"] for row in taken.reported()} == {0, 1, 2, 3, 4}
    run(taken, 6, 0.5)
    taken.publish(now=True)
    names = [(row["trial_id"], row["epoch"]) for row in epochs_of(paths)]
    assert len(names) == len(set(names)) == taken.epochs == 11
    assert ("abc-00006", 2) not in names


def test_trial_that_diverged_between_the_tables_does_so_when_it_tells_it_again(
    ledger: Ledger, paths: SearchPaths
) -> None:
    every_end(ledger)
    ledger.report(4, report(3, 0.1, loss=math.nan))
    taken = between_the_tables(ledger, paths)
    assert 4 in [trial["number"] for trial in taken.running]
    taken.start(job(4))
    for epoch, loss in ((1, 0.5), (2, 0.5), (3, math.nan)):
        taken.report(4, report(epoch, 0.1, loss=loss))
    taken.end(4)
    assert (taken.trials[4]["status"], taken.epochs) == ("diverged", 10)


def test_what_was_reported_is_taken_up_in_its_order(ledger: Ledger, paths: SearchPaths) -> None:
    for number in (0, 1):
        ledger.start(job(number))
    for number, epoch, accuracy, at in ((1, 1, 0.7, 2e9), (1, 2, 0.8, 2e9 + 1), (0, 1, math.nan, 2e9 + 2)):
        ledger.report(number, report(epoch, accuracy, at=at))
    ledger.publish(now=True)
    *first, last = Ledger(paths, "abc", MAX_EPOCHS).reported()
    assert [(row["number"], row["epoch"], row["val_accuracy"]) for row in first] == [(1, 1, 0.7), (1, 2, 0.8)]
    assert (last["number"], last["epoch"]) == (0, 1)
    assert math.isnan(last["val_accuracy"])


def test_checkpoints_of_a_trial_go_when_its_end_is_in_the_table(
    ledger: Ledger, paths: SearchPaths, clock: Clock
) -> None:
    def left() -> set[int]:
        return {number for number in range(3) if Checkpoints(paths.checkpoints, number).newest()}

    ledger.publish()
    for number in range(3):
        run(ledger, number, 0.8)
        Checkpoints(paths.checkpoints, number).save({"weights": torch.ones(3)}, [report(1, 0.8)])
    ledger.end(0)
    ledger.publish()
    assert left() == {0, 1, 2}, "not yet time"
    clock.now += PUBLISH_SECONDS
    with full_disk():
        ledger.publish()
    assert left() == {0, 1, 2}, "not written"
    clock.now += PUBLISH_SECONDS
    ledger.publish()
    assert left() == {1, 2}
    # Killed after its end was written and before its checkpoints were removed: whoever goes on removes them.
    Checkpoints(paths.checkpoints, 0).save({"weights": torch.ones(3)}, [report(1, 0.8)])
    taken = Ledger(paths, "abc", MAX_EPOCHS)
    assert left() == {0, 1, 2}
    taken.publish(now=True)
    assert left() == {1, 2}


EVENTS = ["report", "report", "nan", "again", "retry", "end", "fail", "publish", "reopen"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(EVENTS)), max_size=40))
@example([(0, "nan"), (0, "publish"), (0, "fail")])
@example([(0, "nan"), (0, "fail")])
@example([(0, "nan"), (0, "publish"), (0, "retry"), (0, "end")])
@example([(0, "report"), (0, "again"), (0, "reopen"), (0, "again")])
@settings(max_examples=50, deadline=None)
def test_tables_agree_after_any_course(tmp_path_factory: pytest.TempPathFactory, course: list[tuple[int, str]]) -> None:
    paths = SearchPaths(tmp_path_factory.mktemp("search"))
    ledger = Ledger(paths, "abc", MAX_EPOCHS)
    for number, event in course:
        if number not in ledger.trials:
            ledger.start(job(number))
        trial = ledger.trials[number]
        if event == "publish":
            ledger.publish(now=True)
        elif event == "reopen":
            ledger.publish(now=True)
            ledger = Ledger(paths, "abc", MAX_EPOCHS)
        elif event == "retry" and trial["status"] in ("running", "diverged"):
            ledger.start(job(number))
        elif event == "again" and trial["epochs"]:
            ledger.report(number, report(trial["epochs"], 0.99))
        elif trial["status"] == "running" and event in ("report", "nan"):
            if trial["epochs"] < MAX_EPOCHS:
                loss = math.nan if event == "nan" else 0.5
                ledger.report(number, report(trial["epochs"] + 1, 0.5 + number / 10, loss=loss))
        elif trial["status"] == "running" and event == "end":
            ledger.end(number)
        elif trial["status"] in ("running", "diverged") and event == "fail":
            ledger.fail(number, "RuntimeError: lost")
    ledger.publish(now=True)
    ledger.publish(now=True)
    trials, epochs = trials_of(paths), epochs_of(paths)
    assert [row["number"] for row in trials] == sorted(ledger.trials)
    assert sum(row["epochs"] for row in trials) == len(epochs) == ledger.epochs
    for row in trials:
        of_trial = [epoch for epoch in epochs if epoch["trial_id"] == row["trial_id"]]
        assert [epoch["epoch"] for epoch in of_trial] == list(range(1, row["epochs"] + 1))
        finite = [epoch["val_accuracy"] for epoch in of_trial if math.isfinite(epoch["train_loss"])]
        assert row["best_val_accuracy"] == max(finite, default=None)
        assert (row["status"] == "diverged") == (len(finite) < len(of_trial))
    assert sum(ledger.counts.values()) == len(trials)
    assert pq.read_metadata(paths.epochs).num_rows == len(epochs)
