"""The tables of retrains and ``best/``: what is published as each retrain ends, and what is still to be run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.records import make_record
from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import Ann, Config
from tune_fmnist.models.saved import read, saved_config
from tune_fmnist.store.jobs import RetrainJob, RetrainResult
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.retrain_tables import RetrainTables, read_tables

LABELS = np.array([0, 1, 2, 1], np.uint8)
BEST = Ann(hidden1=300)


def job(config: Config, rank: int | None, seed: int = 0) -> RetrainJob:
    return RetrainJob(
        config=config, rank=rank, seed=seed, epochs=2, horizon=5, score=0.8, best_val_accuracy=0.9, expected_seconds=1.0
    )


JOBS = [job(BEST, 1), job(BEST, 1, seed=1), job(Ann(), None)]


def weights(value: float) -> dict[str, NDArray[np.float32]]:
    return {"output.bias": np.full(10, value, np.float32)}


def result(accuracy: float = 0.75, value: float = 1.0) -> RetrainResult:
    epochs = [
        {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.5, "val_accuracy": 0.5, "learning_rate": 1e-3}
        | {"train_seconds": 1.5}
        for epoch in (1, 2)
    ]
    return RetrainResult(
        epochs=epochs,
        train_size=60_000,
        train_loss=0.5,
        test_accuracy=accuracy,
        test_loss=0.6,
        class_accuracy=[1.0, 0.5, 1.0],
        train_seconds=3.0,
        test_seconds=0.5,
        parameters=77,
        node="here",
        device="cpu",
        precision="float32",
        predicted=np.array([0, 1, 2, 2], np.int16),
        confidence=np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        pictures={3: b"a picture"},
        weights=weights(value),
    )


def add(retrain_tables: RetrainTables, one: RetrainJob, found: RetrainResult) -> None:
    """Let a retrain read the test set and end."""
    retrain_tables.begin_read(one)
    retrain_tables.add(one, found, LABELS)


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    return SearchPaths(tmp_path / "x")


def test_a_mistakes_picture_is_in_its_row(paths: SearchPaths) -> None:
    add(RetrainTables(paths, make_record(), JOBS), JOBS[0], result())
    rows = read_tables(paths)["predictions"].to_pylist()
    assert [row["picture"] for row in rows] == [None, None, None, b"a picture"]


def test_each_retrain_is_rows_of_its_search(paths: SearchPaths) -> None:
    retrain_tables, began = RetrainTables(paths, make_record(), JOBS), datetime.now(UTC)
    assert retrain_tables.pending == JOBS
    add(retrain_tables, JOBS[1], result())
    assert retrain_tables.pending == [JOBS[0], JOBS[2]]
    found = read_tables(paths)
    (row,) = found["retrains"].to_pylist()
    expected = {"search_id": "abc", "config_id": JOBS[1].key[0], "seed": 1, "rank": 1, "is_baseline": False}
    expected |= {
        "epochs": 2,
        "horizon": 5,
        "train_size": 60_000,
        "score": 0.8,
        "best_val_accuracy": 0.9,
        "test_accuracy": 0.75,
    }
    expected |= {
        "class_accuracy": [1.0, 0.5, 1.0],
        "seconds": 3.5,
        "parameters": 77,
        "config_hidden1": 300,
        "precision": "float32",
    }
    assert {key: row[key] for key in expected} == expected
    assert [epoch["epoch"] for epoch in found["retrain_epochs"].to_pylist()] == [1, 2]
    assert found["predictions"]["label"].to_pylist() == LABELS.tolist()
    assert found["predictions"]["predicted"].to_pylist() == [0, 1, 2, 2]
    (read_row,) = found["test_reads"].to_pylist()
    assert (read_row["by"], read_row["seed"]) == ("retrain", 1)
    assert began <= read_row["read_at"] <= read_row["finished_at"] <= datetime.now(UTC)
    for table in found.values():
        assert set(table["search_id"].to_pylist()) == {"abc"}
    assert saved_config(paths.best) is None, "only the best one's first model is kept"
    add(retrain_tables, JOBS[2], result())
    assert read_tables(paths)["retrains"].to_pylist()[1]["is_baseline"]


def test_the_best_ones_model_is_kept(paths: SearchPaths) -> None:
    retrain_tables = RetrainTables(paths, make_record(), JOBS)
    for one in JOBS:
        add(retrain_tables, one, result(value=one.seed + 0.5))
    config, _, kept = read(paths.best)
    assert config == BEST
    assert np.array_equal(kept["output.bias"], weights(0.5)["output.bias"])
    assert RetrainTables(paths, make_record(), JOBS).pending == []


def test_a_retrain_that_is_run_again_replaces_its_rows_but_not_its_reads(paths: SearchPaths) -> None:
    add(RetrainTables(paths, make_record(), JOBS), JOBS[2], result(0.75))
    add(RetrainTables(paths, make_record(), JOBS), JOBS[2], result(0.5))
    found = read_tables(paths)
    assert found["retrains"]["test_accuracy"].to_pylist() == [0.5]
    assert (len(found["retrain_epochs"]), len(found["predictions"]), len(found["test_reads"])) == (2, 4, 2)


def test_a_read_is_a_row_before_it_happens_and_is_finished_afterwards(paths: SearchPaths) -> None:
    retrain_tables = RetrainTables(paths, make_record(), JOBS)
    with pytest.raises(ValueError, match="no read of the test set was begun"):
        retrain_tables.add(JOBS[0], result(), LABELS)
    assert not paths.folder.exists(), "neither rows nor a model without a read"
    retrain_tables.begin_read(JOBS[0])
    # It was lost with its process, and is handed out again.
    retrain_tables.begin_read(JOBS[1])
    retrain_tables.begin_read(JOBS[0])
    assert read_tables(paths)["test_reads"]["finished_at"].to_pylist() == [None] * 3
    assert not paths.best.exists()
    retrain_tables.add(JOBS[0], result(), LABELS)
    rows = read_tables(paths)["test_reads"].to_pylist()
    assert [(row["seed"], row["finished_at"] is None) for row in rows] == [(0, True), (1, True), (0, False)]
    # The driver was killed; who goes on begins another read.
    again = RetrainTables(paths, make_record(), JOBS)
    assert again.pending == JOBS[1:]
    add(again, JOBS[1], result())
    rows = read_tables(paths)["test_reads"].to_pylist()
    assert [(row["seed"], row["finished_at"] is None) for row in rows] == [
        *((0, True), (1, True), (0, False)),
        (1, False),
    ]


def test_more_trials_change_the_ranks(paths: SearchPaths) -> None:
    before = RetrainTables(paths, make_record(), JOBS)
    for one in JOBS:
        add(before, one, result())
    better = job(Ann(hidden1=400), 1)
    after = RetrainTables(paths, make_record(), [better, replace(JOBS[0], rank=2), replace(JOBS[1], rank=2), JOBS[2]])
    assert after.pending == [better]
    add(after, better, result(value=9.0))
    assert read_tables(paths)["retrains"]["rank"].to_pylist() == [2, 2, None, 1]
    assert saved_config(paths.best) == better.config


def test_ranks_that_have_changed_are_published_though_nothing_is_retrained(paths: SearchPaths) -> None:
    second = job(Ann(hidden1=200), 2)
    before = RetrainTables(paths, make_record(), [JOBS[0], second, JOBS[2]])
    for one in (JOBS[0], second, JOBS[2]):
        add(before, one, result())
    same = paths.retrains.stat().st_mtime_ns
    RetrainTables(paths, make_record(), [JOBS[0], second, JOBS[2]]).publish_ranks()
    assert paths.retrains.stat().st_mtime_ns == same
    after = RetrainTables(paths, make_record(), [JOBS[0], replace(JOBS[2], rank=2)])
    assert after.pending == []
    after.publish_ranks()
    assert read_tables(paths)["retrains"]["rank"].to_pylist() == [1, None, 2]


def test_a_model_of_another_format_is_trained_again(paths: SearchPaths) -> None:
    retrain_tables = RetrainTables(paths, make_record(), JOBS)
    for one in JOBS:
        add(retrain_tables, one, result())
    file = paths.best / "model.safetensors"
    # As the first release wrote it.
    save_file(load_file(file), file)
    again = RetrainTables(paths, make_record(), JOBS)
    assert again.pending == JOBS[:1]
    add(again, JOBS[0], result())
    assert again.pending == RetrainTables(paths, make_record(), JOBS).pending == []
    assert len(read_tables(paths)["retrains"]) == 3


@pytest.mark.parametrize("name", ["best/config.json", "predictions.parquet", "retrains.parquet"])
def test_what_cannot_be_read_is_one_line_before_anything_is_run(name: str, paths: SearchPaths) -> None:
    add(RetrainTables(paths, make_record(), JOBS), JOBS[0], result())
    (paths.folder / name).write_bytes(b"{")
    for use in (lambda: read_tables(paths), lambda: RetrainTables(paths, make_record(), JOBS)):
        with pytest.raises(InputError) as caught:
            use()
        assert str(caught.value).startswith(f"{paths.folder / name}: ")
        assert len(str(caught.value).splitlines()) == 1
