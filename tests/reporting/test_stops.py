"""What a search says of its early stopping: rungs and audit, from the tables."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from tests.fake_search import make_search
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.stops import _interval, false_stops, rungs, told_by_audit
from tune_fmnist.store import tables
from tune_fmnist.store.record import SchedulerSettings


def test_rungs_are_those_of_the_scheduler() -> None:
    asha = SchedulerSettings(name="asha", grace=3, reduction_factor=3)
    assert asha.rungs(27) == [3, 9]
    assert asha.rungs(3) == []
    assert SchedulerSettings(name="fifo").rungs(27) == []


@pytest.mark.parametrize(("score", "wrong"), [(0.99, 2), (0.01, 0)])
def test_a_false_stop_is_one_that_would_have_ranked_among_the_first(score: float, wrong: int, tmp_path: Path) -> None:
    paths = make_search(tmp_path, trials=14, epochs=5).paths
    rows = tables.read(paths.trials, tables.TRIALS).to_pylist()
    for row in rows:
        if row["number"] in (6, 7):
            row |= {"status": "stopped", "audited_at": 1, "epochs": 5, "score": score}
    tables.write(pa.Table.from_pylist(rows, tables.TRIALS), paths.trials)
    results = Results(paths)
    found = false_stops(results)
    assert found is not None
    assert (found.wrong, found.audited) == (wrong, 2)
    assert found.low == pytest.approx(0.158 if wrong else 0.0, abs=1e-3)
    assert found.high == pytest.approx(1.0 if wrong else 0.842, abs=1e-3)
    assert not {6, 7} & set(results.ranked["number"])
    assert f"Of 2 stopped trials that ran on for the audit, {wrong} would have ranked" in str(told_by_audit(results))


def test_nobody_was_kept_from_a_place_where_fewer_than_three_got_to_the_end(tmp_path: Path) -> None:
    paths = make_search(tmp_path, trials=14, epochs=5).paths
    rows = tables.read(paths.trials, tables.TRIALS).to_pylist()
    ended = [row for row in rows if row["status"] == "completed" and row["number"]]
    rows[6] |= {"status": "stopped", "audited_at": 1, "epochs": 5, "score": 0.99}
    for row in ended[2:]:
        row["status"] = "stopped"
    tables.write(pa.Table.from_pylist(rows, tables.TRIALS), paths.trials)
    # The baseline, which is never stopped, is the third.
    assert (Results(paths).ranked["status"] == "completed").sum() == 3
    assert false_stops(Results(paths)) is None


def test_ranks_of_few_trials_are_not_compared(tmp_path: Path) -> None:
    few = make_search(tmp_path, trials=3, epochs=5)
    assert all(math.isnan(rung.correlation) for rung in rungs(few))
    assert false_stops(few) is None


def test_ranks_that_stay_the_same_agree_by_one(tmp_path: Path) -> None:
    paths = make_search(tmp_path, trials=20, epochs=5).paths
    epochs = tables.read(paths.epochs, tables.EPOCHS).to_pylist()
    places = {name: place for place, name in enumerate(sorted({row["trial_id"] for row in epochs}))}
    for row in epochs:
        row["val_accuracy"] = 0.5 + places[row["trial_id"]] / 100 + row["epoch"] / 1000
    tables.write(pa.Table.from_pylist(epochs, tables.EPOCHS), paths.epochs)
    found = rungs(Results(paths))
    assert [rung.epoch for rung in found] == [1, 3]
    assert found[0].trials >= 5
    assert found[0].correlation == pytest.approx(1.0)
    # The third of five epochs counts in the score at the end as well.
    assert math.isnan(found[1].correlation)


def test_the_interval_of_an_agreement_is_bonetts_and_wrights() -> None:
    # Their formula: tanh(atanh 0.6 +- 1.96 sqrt((1 + 0.36 / 2) / 17)).
    assert _interval(0.6, 20) == pytest.approx((0.1744, 0.8366), abs=1e-3)
