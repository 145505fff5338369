"""Which parameter matters is found where it does, and not told where it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fake_search import edit_trials, make_search
from tune_fmnist.reporting.importances import FEWEST, Importance, Importances, compute, importances, told


def test_the_parameter_that_makes_the_scores_is_found() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(size=(60, 3))
    scores = -((points[:, 1] - 0.4) ** 2) + rng.normal(0, 0.01, 60)
    found = compute(points, scores, ["one", "two", "three"])
    first, *others = found
    assert (first.name, first.told) == ("two", True)
    assert first.low > 0.3
    assert first.low <= first.mean <= first.high
    assert not any(other.told for other in others)


def test_of_noise_nothing_is_told() -> None:
    told_of = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        told_of += [one.told for one in compute(rng.uniform(size=(30, 3)), rng.normal(size=30), ["a", "b", "c"])]
    assert sum(told_of) <= 1  # of 15


def test_only_the_order_of_scores_counts() -> None:
    points, scores = np.random.default_rng(1).uniform(size=(30, 2)), np.random.default_rng(2).uniform(size=30)
    assert compute(points, scores, ["a", "b"]) == compute(points, np.exp(9 * scores), ["a", "b"])


def test_all_trials_with_a_score_at_the_rung_count_and_the_diverged(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=20)
    found = importances(results)
    # Trial 4 failed before its first epoch.
    assert (found.epoch, found.trials) == (1, 19)
    assert {one.name for one in found.parameters} == set(results.record.space["parameters"])


def test_a_parameter_that_makes_trials_diverge_matters(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=40)
    rates = results.trials.set_index("number")["config_learning_rate"]
    high = rates.index[rates > rates.median()]
    found = importances(edit_trials(results, {number: {"status": "diverged"} for number in high}))
    assert found.trials >= 39
    assert found.parameters[0].name == "learning_rate"
    assert found.parameters[0].told


def test_too_few_trials_tell_nothing(tmp_path: Path) -> None:
    found = importances(make_search(tmp_path, trials=FEWEST))
    assert (found.trials, found.parameters) == (FEWEST - 1, [])
    assert told(found) == f"Which parameter matters cannot be told from {FEWEST - 1} trials."


def test_a_value_outside_of_the_space_leaves_its_trial_out(tmp_path: Path) -> None:
    results = edit_trials(make_search(tmp_path, trials=20), {7: {"config_hidden1": 1000}})
    assert importances(results).trials == 18


def test_the_sentence_names_what_matters_and_what_cannot_be_told() -> None:
    def of(*told_of: bool) -> str:
        parameters = [Importance(name, 0.1, 0.0, 0.2, one) for name, one in zip("abc", told_of, strict=True)]
        return told(Importances(3, 40, parameters))

    assert of(True, True, True) == "a, b and c matter for the rank after epoch 3."
    assert of(True, False, False) == (
        "a matters for the rank after epoch 3; of b and c it cannot be told from 40 trials."
    )
    assert of(False, False, False) == "Which parameter matters cannot be told from 40 trials: none is above chance."
