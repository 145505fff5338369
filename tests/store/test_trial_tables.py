from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.disk import full_disk
from tests.disks import disk_of
from tests.records import make_job, make_record, make_result
from tests.reliability import Note
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.metrics import score_of
from tune_fmnist.models.config import Cnn, config_id, to_config
from tune_fmnist.store import tables
from tune_fmnist.store import trial_tables as module
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.jobs import TrialJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.trial_tables import PUBLISH_SECONDS, TrialTables

RECORD = make_record()
MAX_EPOCHS = RECORD.max_epochs


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
def trial_tables(paths: SearchPaths) -> TrialTables:
    return TrialTables(paths, RECORD)


def run(trial_tables: TrialTables, number: int, *accuracies: float) -> None:
    trial_tables.start(make_job(number))
    for epoch, accuracy in enumerate(accuracies, 1):
        trial_tables.add(number, make_result(epoch, accuracy))


def test_trial_that_has_begun_is_a_row(trial_tables: TrialTables, paths: SearchPaths) -> None:
    before = datetime.now(UTC)
    trial_tables.start(make_job(0, Cnn(dropout=0.25)))
    trial_tables.publish(now=True)
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
    assert row["score"] is row["parameters"] is row["origin"] is None
    assert epochs_of(paths) == []


def test_a_trials_row_says_of_which_search_and_data_it_is_and_who_proposed_it(paths: SearchPaths) -> None:
    record = make_record(search_id="f00", max_epochs=9, dataset="other", train_size=80, split_hash="beef")
    trial_tables = TrialTables(paths, record)
    trial_tables.start(make_job(0, origin="baseline", max_epochs=9))
    trial_tables.add(0, make_result(1, parameters=77))
    trial_tables.publish(now=True)
    (row,), (epoch,) = trials_of(paths), epochs_of(paths)
    expected = {"search_id": "f00", "trial_id": "f00-00000", "origin": "baseline", "max_epochs": 9, "dataset": "other"}
    expected |= {"train_size": 80, "split_hash": "beef", "parameters": 77}
    assert {key: row[key] for key in expected} == expected
    assert (epoch["search_id"], epoch["trial_id"]) == ("f00", "f00-00000")


def test_trial_has_one_row_per_epoch(trial_tables: TrialTables, paths: SearchPaths) -> None:
    trial_tables.start(make_job(7))
    started = trial_tables.trials[7]["started_at"].timestamp()
    for epoch, accuracy in enumerate((0.8, 0.9, 0.85), 1):
        trial_tables.add(7, make_result(epoch, accuracy, reported_at=started + 1.11 * epoch))
    trial_tables.publish(now=True)
    (row,) = trials_of(paths)
    expected = {"epochs": 3, "val_accuracy": 0.85, "best_val_accuracy": 0.9, "best_epoch": 2, "status": "running"}
    expected |= {
        "score": pytest.approx(0.85),
        "node": "here",
        "device": "cpu",
        "precision": "float32",
        "parameters": 235_146,
    }
    assert {key: row[key] for key in expected} == expected
    assert row["val_loss"] == pytest.approx(0.15)
    assert row["seconds"] == pytest.approx(3 * 1.11, abs=1e-3)
    epochs = epochs_of(paths)
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert [epoch["val_accuracy"] for epoch in epochs] == [0.8, 0.9, 0.85]
    assert {epoch["trial_id"] for epoch in epochs} == {"abc-00007"}
    assert epochs[0]["reported_at"] == datetime.fromtimestamp(started + 1.11, UTC)


def test_the_score_is_the_mean_of_the_last_three_epochs(paths: SearchPaths) -> None:
    trial_tables = TrialTables(paths, make_record(max_epochs=5))
    trial_tables.start(make_job(0))
    accuracies, scores = (0.9, 0.3, 0.6, 0.9, 0.3), []
    for epoch, accuracy in enumerate(accuracies, 1):
        trial_tables.add(0, make_result(epoch, accuracy))
        scores.append(trial_tables.trials[0]["score"])
    assert scores == pytest.approx([0.9, 0.6, 0.6, 0.6, 0.6])
    trial_tables.publish(now=True)
    resumed = TrialTables(paths, RECORD)
    assert resumed.trials[0]["score"] == scores[-1]
    assert [row["score"] for row in resumed.reported()] == scores


def test_best_epoch_is_the_earliest_of_equal_ones(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8, 0.9, 0.9)
    assert trial_tables.trials[0]["best_epoch"] == 2


def end_at_the_last_epoch(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8, 0.9, 0.85)
    trial_tables.end(0)


def end_by_asha(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8)
    trial_tables.end(0)


def end_by_the_time_budget(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8, 0.9)
    trial_tables.end(0, "the time budget of 60 s was used up")


def end_before_the_first_epoch(trial_tables: TrialTables) -> None:
    run(trial_tables, 0)
    trial_tables.end(0, "the time budget of 60 s was used up")


def diverge(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8)
    trial_tables.add(0, make_result(2, 0.95, train_loss=math.nan))
    trial_tables.end(0)


def diverge_in_the_last_epoch(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8, 0.9)
    trial_tables.add(0, make_result(3, 0.95, train_loss=math.inf))
    trial_tables.end(0, "the time budget of 60 s was used up")


def fail(trial_tables: TrialTables) -> None:
    run(trial_tables, 0, 0.8, 0.9)
    trial_tables.fail(0, "RuntimeError: out of memory")


def fail_at_once(trial_tables: TrialTables) -> None:
    run(trial_tables, 0)
    trial_tables.fail(0, "ModuleNotFoundError: torch")


@pytest.mark.parametrize(
    ("happens", "status", "reason", "epochs", "best", "score"),
    [
        (end_at_the_last_epoch, "completed", "reached 3 epochs", 3, 0.9, 0.85),
        (end_by_asha, "stopped", "score 0.8000 after epoch 1 is not among the best there", 1, 0.8, 0.8),
        (end_by_the_time_budget, "stopped", "the time budget of 60 s was used up", 2, 0.9, 0.85),
        (end_before_the_first_epoch, "stopped", "the time budget of 60 s was used up", 0, None, None),
        (diverge, "diverged", "training loss nan in epoch 2", 2, 0.8, 0.8),
        (diverge_in_the_last_epoch, "diverged", "training loss inf in epoch 3", 3, 0.9, 0.85),
        (fail, "failed", "RuntimeError: out of memory", 2, 0.9, 0.85),
        (fail_at_once, "failed", "ModuleNotFoundError: torch", 0, None, None),
    ],
)
def test_each_end_has_its_status_and_reason(
    trial_tables: TrialTables,
    paths: SearchPaths,
    happens: Any,
    status: str,
    reason: str,
    epochs: int,
    best: float | None,
    score: float | None,
) -> None:
    happens(trial_tables)
    trial_tables.publish(now=True)
    (row,) = trials_of(paths)
    assert (row["status"], row["reason"], row["epochs"], row["best_val_accuracy"]) == (status, reason, epochs, best)
    assert row["score"] == (None if score is None else pytest.approx(score))
    assert len(epochs_of(paths)) == epochs == trial_tables.epochs
    assert +trial_tables.counts == {status: 1}


def test_lost_loss_is_in_the_table(trial_tables: TrialTables, paths: SearchPaths) -> None:
    trial_tables.start(make_job(0))
    trial_tables.add(0, make_result(1, math.nan, train_loss=math.nan))
    trial_tables.publish(now=True)
    (row,), (epoch,) = trials_of(paths), epochs_of(paths)
    assert all(math.isnan(value) for value in (row["val_accuracy"], epoch["train_loss"], epoch["val_accuracy"]))
    assert row["best_val_accuracy"] is None


def test_best_is_of_the_trials_that_train_without_an_error(trial_tables: TrialTables) -> None:
    def best() -> tuple[int, float] | None:
        return (trial_tables.best["number"], trial_tables.best["score"]) if trial_tables.best else None

    run(trial_tables, 0)
    assert best() is None
    run(trial_tables, 1, 0.9)
    assert best() == (1, 0.9)
    run(trial_tables, 2, 0.99)
    run(trial_tables, 3, 0.98)
    assert best() == (2, 0.99)
    trial_tables.fail(2, "RuntimeError: lost")
    assert best() == (3, 0.98)
    trial_tables.add(3, make_result(2, 1.0, train_loss=math.nan))
    assert best() == (1, 0.9)
    run(trial_tables, 4, 0.9)
    assert best() == (1, 0.9), "the earlier of equal ones"
    run(trial_tables, 5, 0.5, 0.25)
    trial_tables.end(5)
    assert best() == (5, 0.375), "by the epochs reached, then by the score"
    run(trial_tables, 6, 0.1, 0.1, 0.1)
    run(trial_tables, 7, 0.9, 0.9, 0.9)
    assert best() == (7, pytest.approx(0.9))
    trial_tables.end(6)
    assert best() == (6, pytest.approx(0.1)), "it has ended, at the last epoch"
    assert +trial_tables.counts == {"running": 4, "failed": 1, "diverged": 1, "stopped": 1, "completed": 1}


def test_best_of_equal_ones_is_the_earlier_trial_also_if_it_is_the_slower_one(trial_tables: TrialTables) -> None:
    run(trial_tables, 1, 0.9)
    run(trial_tables, 0, 0.9)
    assert (trial_tables.best or {})["number"] == 0
    assert trial_tables.best is ranked(trial_tables.trials.values())[0]


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
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_rows_reach_the_disk_while_the_search_runs(trial_tables: TrialTables, paths: SearchPaths, clock: Clock) -> None:
    trial_tables.publish()
    assert trials_of(paths) == []
    trial_tables.start(make_job(0))
    clock.now += PUBLISH_SECONDS / 2
    trial_tables.publish()
    assert trials_of(paths) == [], "not at each step"
    clock.now += PUBLISH_SECONDS / 2
    trial_tables.publish()
    assert len(trials_of(paths)) == 1
    trial_tables.add(0, make_result(1, 0.8))
    clock.now += PUBLISH_SECONDS
    trial_tables.publish()
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1
    trial_tables.end(0)
    trial_tables.publish()
    assert trials_of(paths)[0]["status"] == "running"
    trial_tables.publish(now=True)
    assert trials_of(paths)[0]["status"] == "stopped"


def test_publishing_takes_little_of_the_time(trial_tables: TrialTables, paths: SearchPaths, clock: Clock) -> None:
    clock.each_look = 0.1
    trial_tables.publish()
    took, clock.each_look = 0.1, 0.0
    trial_tables.start(make_job(0))
    clock.now += took / 0.02 - 0.001
    trial_tables.publish()
    assert trials_of(paths) == [], "more than 2 %"
    clock.now += 0.002
    trial_tables.publish()
    assert len(trials_of(paths)) == 1


def test_nothing_is_written_where_nothing_changed(trial_tables: TrialTables, paths: SearchPaths, clock: Clock) -> None:
    run(trial_tables, 0, 0.8)
    trial_tables.publish()
    paths.trials.unlink()
    clock.now += 100
    trial_tables.publish()
    trial_tables.publish(now=True)
    assert not paths.trials.exists()


def test_storage_that_fails_is_tried_again(
    trial_tables: TrialTables, paths: SearchPaths, clock: Clock, count: Note
) -> None:
    trial_tables.publish()
    run(trial_tables, 0, 0.8)
    clock.now += PUBLISH_SECONDS
    with full_disk():
        trial_tables.publish()
    assert trials_of(paths) == epochs_of(paths) == [], "what was there stays readable"
    assert "File too large" in (trial_tables.trouble or "")
    trial_tables.add(0, make_result(2, 0.9))
    clock.now += PUBLISH_SECONDS
    trial_tables.publish()
    assert trial_tables.trouble is None
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2
    count("tables' storage fails once", 1, (2, len(epochs_of(paths)), 0))


def test_storage_that_fails_for_minutes_ends_the_search(
    trial_tables: TrialTables, paths: SearchPaths, clock: Clock
) -> None:
    run(trial_tables, 0, 0.8)
    with full_disk():
        with pytest.raises(OSError, match="File too large"):
            trial_tables.publish(now=True)
        for _ in range(2):
            clock.now += 149
            trial_tables.publish()
        clock.now += 3
        with pytest.raises(OSError, match="File too large"):
            trial_tables.publish()


def test_storage_that_has_gone_is_written_to_when_it_is_back(
    trial_tables: TrialTables, paths: SearchPaths, clock: Clock, count: Note
) -> None:
    run(trial_tables, 0, 0.8)
    trial_tables.publish()
    away = paths.folder.rename(paths.folder.with_name("away"))
    paths.folder.write_text("in its place\n")
    trial_tables.add(0, make_result(2, 0.9))
    for _ in range(3):
        clock.now += PUBLISH_SECONDS
        trial_tables.publish()
        assert str(paths.folder) in (trial_tables.trouble or "")
    with pytest.raises(OSError, match=str(paths.folder)):
        trial_tables.publish(now=True)
    paths.folder.unlink()
    away.rename(paths.folder)
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1
    clock.now += PUBLISH_SECONDS
    trial_tables.publish()
    assert trial_tables.trouble is None
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2
    count("tables' folder away", 3, (2, len(epochs_of(paths)), 0))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 kB."""
    with disk_of("200k", tmp_path / "disk") as folder:
        yield folder


def test_full_disk_ends_the_search_at_once(small_disk: Path, clock: Clock, count: Note) -> None:
    paths = SearchPaths(small_disk / "search")
    trial_tables = TrialTables(paths, RECORD)
    run(trial_tables, 0, 0.8)
    trial_tables.publish()
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(200_000))
    trial_tables.add(0, make_result(2, 0.9))
    clock.now += PUBLISH_SECONDS
    with pytest.raises(OSError, match="No space left") as raised:
        trial_tables.publish()
    assert raised.value.errno == errno.ENOSPC
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 1, "what was there stays readable"
    ballast.unlink()
    trial_tables.publish(now=True)
    assert trials_of(paths)[0]["epochs"] == len(epochs_of(paths)) == 2
    assert {file.name for file in paths.folder.iterdir()} == {"trials.parquet", "epochs.parquet"}
    count("tables' disk full", 1, (2, len(epochs_of(paths)), 0))


def every_end(trial_tables: TrialTables) -> None:
    """Let a trial of each status be in the tables."""
    run(trial_tables, 0, 0.8, 0.9, 0.85)
    run(trial_tables, 1, 0.7)
    run(trial_tables, 2, 0.99)
    run(trial_tables, 3, 0.98)
    run(trial_tables, 4, 0.6, 0.95)
    run(trial_tables, 5)
    trial_tables.end(0)
    trial_tables.end(1)
    trial_tables.add(2, make_result(2, 0.1, train_loss=math.nan))
    trial_tables.fail(3, "RuntimeError: lost")
    trial_tables.publish(now=True)


def test_tables_are_read_as_they_were_written(trial_tables: TrialTables, paths: SearchPaths) -> None:
    every_end(trial_tables)
    trials, epochs = trials_of(paths), epochs_of(paths)
    resumed = TrialTables(paths, RECORD)
    assert (
        resumed.counts
        == +trial_tables.counts
        == {"completed": 1, "stopped": 1, "diverged": 1, "failed": 1, "running": 2}
    )
    assert resumed.epochs == trial_tables.epochs == len(epochs) == 9
    assert [trial["number"] for trial in resumed.running] == [4, 5]
    assert (resumed.best or {})["number"] == (trial_tables.best or {})["number"] == 0, "it reached the last epoch"
    paths.trials.unlink()
    paths.epochs.unlink()
    resumed.publish(now=True)
    # In words: a NaN does not equal itself.
    assert repr(trials_of(paths)) == repr(trials)
    assert sorted(map(repr, epochs_of(paths))) == sorted(map(repr, epochs))


def test_trial_that_is_resumed_goes_on(trial_tables: TrialTables, paths: SearchPaths) -> None:
    every_end(trial_tables)
    before = trials_of(paths)[4]
    resumed = TrialTables(paths, RECORD)
    resumed.start(make_job(4))
    for epoch in (1, 2):
        # What it reported before is told once more, and not counted once more.
        resumed.add(4, make_result(epoch, 0.1, reported_at=3e9))
    resumed.publish(now=True)
    assert trials_of(paths)[4] == before
    assert resumed.epochs == len(epochs_of(paths)) == 9
    resumed.add(4, make_result(3, 0.97))
    resumed.end(4)
    resumed.publish(now=True)
    row = trials_of(paths)[4]
    assert (row["status"], row["epochs"], row["best_epoch"], row["best_val_accuracy"]) == ("completed", 3, 3, 0.97)
    assert row["started_at"] == before["started_at"]
    assert row["seconds"] == pytest.approx(3 * 1.11)
    assert [epoch["val_accuracy"] for epoch in epochs_of(paths) if epoch["trial_id"] == "abc-00004"] == [
        0.6,
        0.95,
        0.97,
    ]


def between_the_tables(trial_tables: TrialTables, paths: SearchPaths) -> TrialTables:
    """Kill the search after the table of epochs has been written and before that of trials is."""
    trials = paths.trials.read_bytes()
    trial_tables.publish(now=True)
    paths.trials.write_bytes(trials)
    return TrialTables(paths, RECORD)


def test_epochs_of_a_trial_that_is_in_no_table_are_dropped(trial_tables: TrialTables, paths: SearchPaths) -> None:
    every_end(trial_tables)
    run(trial_tables, 6, 0.5, 0.6)
    trial_tables.add(4, make_result(3, 0.97))
    resumed = between_the_tables(trial_tables, paths)
    assert 6 not in resumed.trials
    assert resumed.trials[4]["epochs"] == 3, "an epoch of a known trial counts"
    assert resumed.epochs == 10
    assert {row["number"] for row in resumed.reported()} == {0, 1, 2, 3, 4}
    run(resumed, 6, 0.5)
    resumed.publish(now=True)
    names = [(row["trial_id"], row["epoch"]) for row in epochs_of(paths)]
    assert len(names) == len(set(names)) == resumed.epochs == 11
    assert ("abc-00006", 2) not in names


def test_a_trial_that_went_on_between_the_tables_does_not_wait(trial_tables: TrialTables, paths: SearchPaths) -> None:
    run(trial_tables, 0, 0.5)
    trial_tables.pause(0)
    trial_tables.publish(now=True)
    assert TrialTables(paths, RECORD).trials[0]["status"] == "paused"
    trial_tables.start(make_job(0))
    trial_tables.add(0, make_result(2, 0.6))
    resumed = between_the_tables(trial_tables, paths)
    assert (resumed.trials[0]["status"], resumed.counts["paused"], len(resumed.running)) == ("running", 0, 1)


def test_trial_that_diverged_between_the_tables_does_so_when_it_tells_it_again(
    trial_tables: TrialTables, paths: SearchPaths
) -> None:
    every_end(trial_tables)
    trial_tables.add(4, make_result(3, 0.1, train_loss=math.nan))
    resumed = between_the_tables(trial_tables, paths)
    assert 4 in [trial["number"] for trial in resumed.running]
    resumed.start(make_job(4))
    for epoch, loss in ((1, 0.5), (2, 0.5), (3, math.nan)):
        resumed.add(4, make_result(epoch, 0.1, train_loss=loss))
    resumed.end(4)
    assert (resumed.trials[4]["status"], resumed.epochs) == ("diverged", 10)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        (make_job(0), "trial 0 has completed and cannot begin again"),
        (make_job(3), "trial 3 has failed and cannot begin again"),
        (make_job(0, Cnn()), f"trial 0 is {config_id(make_job(0).config)} with seed 1000, not {config_id(Cnn())} with"),
        (make_job(2, Cnn()), f"trial 2 is {config_id(make_job(2).config)} with seed 1002, not {config_id(Cnn())} with"),
        (make_job(4, seed=7), "not "),
    ],
)
def test_a_number_is_one_trial(trial_tables: TrialTables, paths: SearchPaths, job: TrialJob, says: str) -> None:
    every_end(trial_tables)
    before = repr(trials_of(paths))
    for at_work in (trial_tables, TrialTables(paths, RECORD)):
        with pytest.raises(InputError) as caught:
            at_work.start(job)
        assert str(caught.value).startswith(f"{paths.trials}: number: ")
        assert says in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        at_work.publish(now=True)
        assert repr(trials_of(paths)) == before


def test_two_rows_of_one_number_are_one_line(trial_tables: TrialTables, paths: SearchPaths) -> None:
    every_end(trial_tables)
    table = tables.read(paths.trials, tables.TRIALS)
    tables.write(pa.concat_tables([table, table.slice(4, 1)]), paths.trials)
    with pytest.raises(InputError, match=r"number: trial 4 found 2 times; restore the table"):
        TrialTables(paths, RECORD)


def test_what_was_reported_is_read_in_its_order(trial_tables: TrialTables, paths: SearchPaths) -> None:
    for number in (0, 1):
        trial_tables.start(make_job(number))
    for number, epoch, accuracy, at in ((1, 1, 0.7, 2e9), (1, 2, 0.8, 2e9 + 1), (0, 1, math.nan, 2e9 + 2)):
        trial_tables.add(number, make_result(epoch, accuracy, reported_at=at))
    trial_tables.publish(now=True)
    *first, last = TrialTables(paths, RECORD).reported()
    assert [(row["number"], row["epoch"], row["score"]) for row in first] == [(1, 1, 0.7), (1, 2, 0.75)]
    assert (last["number"], last["epoch"]) == (0, 1)
    assert math.isnan(last["score"])


def test_checkpoints_of_a_trial_go_when_its_end_is_in_the_table(
    trial_tables: TrialTables, paths: SearchPaths, clock: Clock
) -> None:
    def left() -> set[int]:
        return {number for number in range(3) if Checkpoints(paths.checkpoints, number).newest()}

    trial_tables.publish()
    for number in range(3):
        run(trial_tables, number, 0.8)
        Checkpoints(paths.checkpoints, number).save({"weights": torch.ones(3)}, [make_result(1, 0.8)])
    trial_tables.end(0)
    trial_tables.publish()
    assert left() == {0, 1, 2}, "not yet time"
    clock.now += PUBLISH_SECONDS
    with full_disk():
        trial_tables.publish()
    assert left() == {0, 1, 2}, "not written"
    clock.now += PUBLISH_SECONDS
    trial_tables.publish()
    assert left() == {1, 2}
    # Killed after its end was written and before its checkpoints were removed: whoever goes on removes them.
    Checkpoints(paths.checkpoints, 0).save({"weights": torch.ones(3)}, [make_result(1, 0.8)])
    resumed = TrialTables(paths, RECORD)
    assert left() == {0, 1, 2}
    resumed.publish(now=True)
    assert left() == {1, 2}


EVENTS = ["report", "report", "nan", "again", "retry", "end", "fail", "publish", "reopen"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(EVENTS)), max_size=40))
@example([(0, "nan"), (0, "publish"), (0, "fail")])
@example([(0, "nan"), (0, "fail")])
@example([(0, "nan"), (0, "publish"), (0, "retry"), (0, "end")])
@example([(0, "report"), (0, "again"), (0, "reopen"), (0, "again")])
@settings(max_examples=50)
def test_tables_agree_after_any_course(tmp_path_factory: pytest.TempPathFactory, course: list[tuple[int, str]]) -> None:
    paths = SearchPaths(tmp_path_factory.mktemp("search"))
    trial_tables = TrialTables(paths, RECORD)
    for number, event in course:
        if number not in trial_tables.trials:
            trial_tables.start(make_job(number))
        trial = trial_tables.trials[number]
        if event == "publish":
            trial_tables.publish(now=True)
        elif event == "reopen":
            trial_tables.publish(now=True)
            trial_tables = TrialTables(paths, RECORD)
        elif event == "retry" and trial["status"] in ("running", "diverged"):
            trial_tables.start(make_job(number))
        elif event == "again" and trial["epochs"]:
            trial_tables.add(number, make_result(trial["epochs"], 0.99))
        elif trial["status"] == "running" and event in ("report", "nan"):
            if trial["epochs"] < MAX_EPOCHS:
                loss = math.nan if event == "nan" else 0.5
                trial_tables.add(number, make_result(trial["epochs"] + 1, 0.5 + number / 10, train_loss=loss))
        elif trial["status"] == "running" and event == "end":
            trial_tables.end(number)
        elif trial["status"] in ("running", "diverged") and event == "fail":
            trial_tables.fail(number, "RuntimeError: lost")
    trial_tables.publish(now=True)
    trial_tables.publish(now=True)
    trials, epochs = trials_of(paths), epochs_of(paths)
    assert [row["number"] for row in trials] == sorted(trial_tables.trials)
    assert sum(row["epochs"] for row in trials) == len(epochs) == trial_tables.epochs
    for row in trials:
        of_trial = [epoch for epoch in epochs if epoch["trial_id"] == row["trial_id"]]
        assert [epoch["epoch"] for epoch in of_trial] == list(range(1, row["epochs"] + 1))
        finite = [epoch["val_accuracy"] for epoch in of_trial if math.isfinite(epoch["train_loss"])]
        assert row["best_val_accuracy"] == max(finite, default=None)
        assert (row["status"] == "diverged") == (len(finite) < len(of_trial))
        assert row["score"] == (score_of(finite) if finite else None)
    assert sum(trial_tables.counts.values()) == len(trials)
    best = ranked(trial_tables.trials.values())
    assert trial_tables.best == (best[0] if best else None)
    assert pq.read_metadata(paths.epochs).num_rows == len(epochs)
