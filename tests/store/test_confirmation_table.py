"""The table of confirmations: a row as each ends, none twice, and what it says of each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.records import make_record
from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import Ann, config_id
from tune_fmnist.store.confirmation_table import ConfirmationTable, hits, packed, read_confirmations
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import confirmed

RECORD = make_record()
EPOCHS = [np.arange(10) % 2 == 0, np.arange(10) < 7, np.ones(10, np.bool_)]
RESULT = ConfirmationResult(
    status="completed",
    epochs=3,
    score=(0.5 + 0.7 + 1.0) / 3,
    val_accuracy=1.0,
    correct=[packed(correct) for correct in EPOCHS],
    seconds=2.5,
    parameters=77,
    node="here",
    device="cpu",
    precision="float32",
)


def job(number: int, seed: int) -> ConfirmationJob:
    return ConfirmationJob(number, Ann(hidden1=100 + number), seed, epochs=3, expected_seconds=1.0)


JOBS = [job(3, 1), job(3, 2), job(0, 1)]


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    return SearchPaths(tmp_path)


def test_each_confirmation_is_a_row_and_none_is_run_again(paths: SearchPaths) -> None:
    table = ConfirmationTable(paths, RECORD, JOBS)
    assert table.pending == JOBS
    table.add(JOBS[1], RESULT)
    # Who goes on after a kill, perhaps with more to confirm, keeps what is there.
    again = ConfirmationTable(paths, RECORD, [*JOBS, job(5, 1)])
    assert again.pending == [JOBS[0], JOBS[2], job(5, 1)]
    again.add(JOBS[2], replace(RESULT, score=0.0, status="diverged", val_accuracy=None))
    (first, second) = read_confirmations(paths).to_pylist()
    expected = {"search_id": "abc", "number": 3, "config_id": config_id(JOBS[1].config), "seed": 2, "epochs": 3}
    expected |= {"split_hash": RECORD.split_hash, "status": "completed", "val_accuracy": 1.0, "seconds": 2.5}
    assert {key: first[key] for key in expected} == expected
    assert (second["status"], second["val_accuracy"], second["score"]) == ("diverged", None, 0.0)


def test_the_images_that_were_right_give_the_score(paths: SearchPaths) -> None:
    table = ConfirmationTable(paths, RECORD, JOBS)
    table.add(JOBS[0], RESULT)
    (row,) = table.rows
    share = hits(row, 10)
    assert share.tolist() == pytest.approx(np.mean(EPOCHS, axis=0).tolist())
    assert share.mean() == pytest.approx(row["score"])


def test_configurations_rank_by_their_mean_and_a_diverged_one_counts_as_bad() -> None:
    scores = {(1, "a"): [0.9, 0.9], (2, "b"): [0.99, 0.0], (3, "c"): [0.91, 0.93], (0, "d"): [0.9, 0.9]}
    rows = [
        {"number": number, "config_id": name, "score": score} for (number, name), own in scores.items() for score in own
    ]
    assert list(confirmed(rows)) == list(confirmed(reversed(rows))) == ["c", "d", "a", "b"]
    assert confirmed(rows)["b"] == pytest.approx(0.495)
    assert confirmed([]) == {}


def test_a_configuration_that_was_drawn_again_has_one_mean_of_all_its_confirmations() -> None:
    rows = [{"number": 1, "config_id": "a", "score": 0.9}, {"number": 2, "config_id": "b", "score": 0.92}]
    rows.append({"number": 7, "config_id": "a", "score": 0.93})
    assert confirmed(rows) == pytest.approx({"b": 0.92, "a": 0.915})
    assert list(confirmed(rows)) == ["b", "a"]


def test_a_table_that_cannot_be_read_is_one_line(paths: SearchPaths) -> None:
    paths.confirmations.write_bytes(b"{")
    with pytest.raises(InputError, match=r"confirmations\.parquet: is not a readable table"):
        ConfirmationTable(paths, RECORD, JOBS)
