"""Each read of the test set is a row before it happens: reads are counted where they happen, and not by the table."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import WorkerCrashedError

from tests.faults.harness import Run
from tests.records import make_record
from tests.runtime.noted import Noted, openings
from tune_fmnist import data, search
from tune_fmnist.base.datasets import DataShape
from tune_fmnist.data.known import KnownFiles
from tune_fmnist.models.config import Ann
from tune_fmnist.models.saved import saved_config
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.retrains import run_retrains
from tune_fmnist.runtime.slots import Slots, place
from tune_fmnist.runtime.tasks import RETRIES
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import RetrainJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.retrain_tables import RetrainTables


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    with running_ray(None):
        yield


def job(config: Ann, rank: int | None, seed: int = 0) -> RetrainJob:
    return RetrainJob(
        config=config, rank=rank, seed=seed, epochs=1, horizon=1, score=0.8, best_val_accuracy=0.5, expected_seconds=1.0
    )


JOBS = [job(Ann(hidden1=32), 1), job(Ann(), None)]


def reads_of(paths: SearchPaths) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(paths.test_reads, tables.TEST_READS).to_pylist()
    return rows


def retrain(
    paths: SearchPaths, jobs: list[RetrainJob], training: data.Images, on_read: Callable[[], None] = lambda: None
) -> None:
    placement = place(None, None, None)
    run_retrains(
        RetrainTables(paths, make_record(), jobs),
        data.limited(training, 500, seed=0),
        data.locate(),
        placement,
        Slots(placement, joined=False),
        on_read=on_read,
        on_step=lambda job, result: None,
    )


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], tuple[SearchPaths, Path]]:
    """Make the test images note their openings, of which the first few cost their process its life."""

    def note(kill: int) -> tuple[SearchPaths, Path]:
        paths, log, read_test = SearchPaths(tmp_path / "x"), tmp_path / "log", KnownFiles.read_test

        def sealed(source: KnownFiles, shape: DataShape) -> Noted:
            return Noted(read_test(source), log, paths.folder, kill)

        monkeypatch.setattr(KnownFiles, "read_test", sealed)
        return paths, log

    return note


def test_a_read_that_is_lost_with_its_process_is_a_row_and_the_next_one_another(
    ray_here: None, training: data.Images, noted: Callable[[int], tuple[SearchPaths, Path]]
) -> None:
    paths, log = noted(1)
    told: list[int] = []
    retrain(paths, JOBS, training, on_read=lambda: told.append(len(openings(log))))
    found, rows = openings(log), reads_of(paths)
    assert len(found) == len(rows) == len(told) == len(JOBS) + 1
    assert all(one.rows > one.before for one in found), "its own row is there, beside those of the earlier ones"
    assert not found[0].model, "no model is published before its read's row"
    assert sum(row["finished_at"] is None for row in rows) == 1
    finished = {(row["config_id"], row["seed"]) for row in rows if row["finished_at"]}
    assert finished == {one.key for one in JOBS}
    assert saved_config(paths.best) == JOBS[0].config
    assert RetrainTables(paths, make_record(), JOBS).pending == []


def test_a_test_that_is_lost_each_time_ends_the_retrains_with_a_row_for_each(
    ray_here: None, training: data.Images, noted: Callable[[int], tuple[SearchPaths, Path]]
) -> None:
    paths, log = noted(100)
    with pytest.raises(WorkerCrashedError):
        retrain(paths, JOBS[:1], training)
    assert len(openings(log)) == len(reads_of(paths)) == RETRIES + 1
    assert not paths.best.exists()


@pytest.mark.faults
def test_no_read_is_without_its_row_under_twenty_kills(tmp_path: Path) -> None:
    paths, log, seeds = SearchPaths(tmp_path / "x"), tmp_path / "log", 30
    search("ann", trials=2, max_epochs=1, limit_train=500, results_dir=tmp_path, name="x", retrain=False)
    rng, drivers, workers = random.Random(12), 0, 0  # noqa: S311 no secret depends on it
    while drivers + workers < 20:
        run = Run(paths, (log, seeds), tmp_path, "tests.runtime.noted")
        try:
            # Twice per retrain: before the images are handed out, and when the result has come.
            wanted = rng.randint(1, 4)
            assert run.await_event(paths.folder, lambda event: event.name == "test_reads.parquet", wanted), run.said
            if rng.random() < 0.5 and openings(log):
                try:
                    os.kill(openings(log)[-1].pid, signal.SIGKILL)
                    workers += 1
                except ProcessLookupError:
                    pass
                assert run.await_event(paths.folder, lambda event: event.name == "retrains.parquet"), run.said
            run.kill()
            drivers += 1
        finally:
            run.clean()
        assert len(openings(log)) <= len(reads_of(paths))
    run = Run(paths, (log, seeds), tmp_path, "tests.runtime.noted")
    assert run.ended(600) == 0, run.said
    found, rows = openings(log), reads_of(paths)
    assert all(one.rows > one.before for one in found)
    finished = [row for row in rows if row["finished_at"]]
    # A row more than reads is one that was handed out, and cut off before it was opened.
    assert len(finished) <= len(found) <= len(rows) <= len(finished) + 4 * (drivers + workers)
    done = tables.read(paths.retrains, tables.RETRAINS)
    assert {(row["config_id"], row["seed"]) for row in finished} == set(
        zip(done["config_id"].to_pylist(), done["seed"].to_pylist(), strict=True)
    )
    # The best one may be the baseline.
    assert done.num_rows in (seeds, 2 * seeds)
    print(f"{drivers} drivers and {workers} workers killed: {len(found)} reads, {len(rows)} rows, 0 without a row")
