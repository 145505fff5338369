"""Best so far and expected best, slots, rungs and calibration, against values computed by hand or by brute force."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.fake_search import add_retrains, edit_trials, make_search
from tune_fmnist.reporting.anytime import drawn_scores, expected_best
from tune_fmnist.reporting.calibration import BINS, calibration_error, calibration_errors, reliability, surest_mistakes
from tune_fmnist.reporting.rungs import common_epoch, rung_counts, scores_after
from tune_fmnist.reporting.slots import timeline


def test_the_expected_best_is_the_mean_over_all_choices() -> None:
    scores = np.array([0.3, 0.9, 0.5, 0.5, 0.1])
    for point in expected_best(scores):
        maxima = [max(choice) for choice in combinations(scores, point.trials)]
        assert point.mean == pytest.approx(np.mean(maxima))
        assert point.std == pytest.approx(np.std(maxima))


def test_the_expected_best_of_many_trials_is_finite_and_rises() -> None:
    means = [point.mean for point in expected_best(np.random.default_rng(0).uniform(0.8, 0.9, 1000))]
    assert np.isfinite(means).all()
    assert (np.diff(means) >= -1e-12).all()


def test_what_a_searcher_drew_leaves_out_baseline_start_and_failed(tmp_path: Path) -> None:
    results = edit_trials(make_search(tmp_path, trials=8), {1: {"origin": "start"}})
    trials = results.trials.set_index("number")
    assert drawn_scores(results).tolist() == [trials["score"][2], 0.0, *trials["score"].loc[5:].tolist()]


def test_of_an_unknown_origin_the_first_trials_are_the_starts(tmp_path: Path) -> None:
    results = edit_trials(make_search(tmp_path, trials=8), {number: {"origin": None} for number in range(8)})
    before = drawn_scores(results).tolist()
    results.record.space = results.record.space | {"start": [{"dropout": 0.1}]}
    assert drawn_scores(results).tolist() == before[1:]


def test_slots_hold_trials_that_do_not_overlap() -> None:
    start = pd.Timestamp("2026-01-01", tz="UTC")

    def second(count: float) -> pd.Timestamp:
        return start + pd.Timedelta(seconds=count)

    def epoch(name: str, number: int, begin: float, end: float) -> dict[str, Any]:
        spent = {"train_seconds": end - begin, "eval_seconds": 0.0, "overhead_seconds": 0.0}
        return {"trial_id": name, "epoch": number, "reported_at": second(end), **spent}

    begins = [0.0, 1.0, 4.0, 6.0, 6.5]
    columns = {"number": range(5), "trial_id": list("abcde"), "node": ["one", "two", "one", "two", "one"]}
    trials = pd.DataFrame(columns | {"started_at": map(second, begins), "status": "stopped", "epochs": 1})
    epochs = pd.DataFrame(
        [
            *(epoch("a", 1, 0.0, 2.0), epoch("a", 2, 2.1, 4.0), epoch("b", 1, 1.5, 6.0), epoch("c", 1, 4.5, 9.0)),
            # It waited from second 7 on, while another slot was taken.
            *(epoch("d", 1, 6.0, 7.0), epoch("d", 2, 9.5, 10.0)),
        ]
    )
    bars = timeline(trials, epochs)
    assert [(bar.number, bar.node, bar.row) for bar in bars] == [
        (0, "one", 0),
        (1, "two", 2),
        (2, "one", 0),
        (3, "two", 2),
        (4, "one", 1),
        (3, "two", 2),
    ]
    assert [(bar.begin, bar.end) for bar in bars] == [(0, 4), (1, 6), (4, 9), (6, 7), (6.5, 6.5), (9.5, 10)]
    assert [bar.epochs for bar in bars] == [2, 1, 1, 1, 0, 2]


def test_rungs_count_who_entered_went_on_and_was_stopped(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    first, second = rung_counts(results)
    trials = results.trials[results.trials["number"] > 0]
    assert results.record.scheduler.rungs(5) == [1, 3] == [first.epoch, second.epoch]
    stopped = trials[trials["status"] == "stopped"]
    assert first.entered == (trials["epochs"] >= 1).sum()
    assert first.stopped == len(stopped)
    # Trial 3 diverged right after its first epoch.
    assert first.entered - first.went_on - first.stopped == 1
    assert first.went_on == (trials["epochs"] > 1).sum()
    assert first.highest_stopped == pytest.approx(stopped["score"].max())
    assert (second.entered, second.stopped) == ((trials["epochs"] >= 3).sum(), 0)
    assert common_epoch(results) == 1


def test_one_that_ran_on_for_the_audit_was_stopped_where_it_was_stopped(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    number = results.trials.loc[results.trials["status"] == "completed", "number"].iloc[-1]
    before = rung_counts(results)[0]
    after = rung_counts(edit_trials(results, {number: {"audited_at": 1}}))[0]
    assert (after.stopped, after.went_on) == (before.stopped + 1, before.went_on - 1)


def test_the_score_after_an_epoch_is_the_mean_of_the_last_three() -> None:
    rows = [("a", epoch, accuracy) for epoch, accuracy in enumerate([0.1, 0.2, 0.4, 0.6, 0.9], start=1)]
    epochs = pd.DataFrame([*rows, ("b", 1, 0.5)], columns=["trial_id", "epoch", "val_accuracy"])
    assert scores_after(epochs, 4).to_dict() == {"a": pytest.approx(0.4)}
    assert scores_after(epochs, 1).to_dict() == {"a": 0.1, "b": 0.5}


def test_the_calibration_error_is_the_mean_distance_by_bins() -> None:
    confidence = np.array([0.96, 0.98, 0.99, 0.97, 0.5, 0.5])
    correct = np.array([True, True, True, False, True, False])
    low, high = reliability(confidence, correct)
    assert (high.share, high.confidence, high.accuracy) == pytest.approx((4 / 6, 0.975, 0.75))
    assert (low.share, low.confidence, low.accuracy) == pytest.approx((2 / 6, 0.5, 0.5))
    assert high.high == 1.0
    assert high.low == pytest.approx(1 - 1 / BINS)
    assert calibration_error([low, high]) == pytest.approx(4 / 6 * 0.225)


def test_full_confidence_lies_in_the_last_bin() -> None:
    (last,) = reliability(np.array([1.0, 0.999]), np.array([True, True]))
    assert (last.share, last.high) == (1.0, 1.0)


def test_each_seed_has_its_own_calibration_error() -> None:
    rows = [(0, 0, 0, 0.9), (0, 1, 0, 0.9), (1, 0, 0, 0.9), (1, 0, 0, 0.9)]
    predictions = pd.DataFrame(rows, columns=["seed", "label", "predicted", "confidence"])
    assert calibration_errors(predictions) == pytest.approx([0.4, 0.1])


def test_the_surest_mistakes_are_those_of_most_models() -> None:
    rows = [
        (0, 5, 1, 2, 0.8),
        (1, 5, 1, 2, 0.6),
        (0, 6, 1, 3, 0.99),
        (1, 6, 1, 1, 0.99),
        (0, 7, 0, 2, 0.9),
        (1, 7, 0, 2, 0.9),
    ]
    predictions = pd.DataFrame(rows, columns=["seed", "index", "label", "predicted", "confidence"])
    assert [wrong[:5] for wrong in surest_mistakes(predictions, 2)] == [
        (7, 0, 2, 2, 0.9),
        (5, 1, 2, 2, pytest.approx(0.7)),
    ]


def test_predictions_of_a_search_have_a_calibration_error_per_seed(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    add_retrains(results, [0.5], baseline=0.1)
    one = results.predictions[results.predictions["config_id"] == results.predictions["config_id"].iloc[0]]
    wrong = one["label"] != one["predicted"]
    expected = [abs(0.9 - (1 - wrong[one["seed"] == seed].mean())) for seed in range(3)]
    assert calibration_errors(one) == pytest.approx(expected, abs=1e-6)
