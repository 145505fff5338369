"""The tables of the quality study say what made-up replays and curves hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality import reality
from benchmarks.quality.draw import (
    DEFAULT,
    JUDGES,
    REFERENCE,
    against_random_table,
    annealed,
    answers_table,
    correlations,
    interquartile_mean,
    methods_table,
    standings,
    with_known_best,
)


def replays(better: float, repeats: int = 40) -> pd.DataFrame:
    """Return the ends of searches by the reference and by a method whose regret is lower by ``better``."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(repeats):
        regret = float(rng.uniform(0.005, 0.015))
        for method, own in ((REFERENCE, regret), (DEFAULT, regret - better + float(rng.normal(0, 0.001)))):
            of = {"model": "ann", "world": "gp", "slots": 2, "method": method, "trials": 12, "seed": seed}
            rows.append(of | {"regret": own, "truth": 0.9 - own, "epochs": 90, "by_model": 9, "last": True})
    return pd.DataFrame(rows)


def test_an_interquartile_mean_ignores_the_ends() -> None:
    assert interquartile_mean(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])) == 3.5


def test_a_method_that_is_better_is_told_from_one_that_is_not() -> None:
    for better, share, marked in ((0.004, 1.0, True), (0.0, 0.5, False)):
        reference, method = standings(replays(better))
        assert (reference.method, method.method, method.repeats) == (REFERENCE, DEFAULT, 40)
        assert method.regret == pytest.approx(reference.regret - better, abs=5e-4)
        assert method.low < method.regret < method.high
        assert method.better == pytest.approx(share, abs=0.2)
        line = methods_table([reference, method]).splitlines()[-1]
        assert line.startswith(f"| {DEFAULT} |")
        assert ("*" in line) == marked


def test_ranks_that_stay_agree_by_one_whatever_judges() -> None:
    rows = []
    for number in range(8):
        for epoch in range(1, 6):
            accuracy = 0.5 + number / 100 + epoch / 1000
            names = ("seen_accuracy", "average_seen_accuracy", "held_accuracy")
            rows.append({"number": number, "repeat": 0, "epoch": epoch} | dict.fromkeys(names, accuracy))
    found = correlations(pd.DataFrame(rows))
    assert list(found.columns) == list(JUDGES)
    assert found.to_numpy() == pytest.approx(np.ones((5, len(JUDGES))))


def test_shorter_schedules_are_compared_on_the_trainings_that_both_have() -> None:
    rows = []
    for number in range(8):
        for horizon in (3, 9):
            for epoch in range(1, horizon + 1 if number else 10):
                # Of the longest schedule the order turns round in its middle; number 0 has no shorter one.
                rank = -number if horizon == 9 and epoch < 5 else number
                held = {"seen_accuracy": 0.5 + rank / 100, "held_accuracy": 0.5 + rank / 100}
                rows.append({"number": number, "repeat": 0, "horizon": horizon if number else 9, "epoch": epoch} | held)
    found = annealed(pd.DataFrame(rows).drop_duplicates(["number", "horizon", "epoch"]))
    assert found.loc[3].tolist() == pytest.approx([7, 1.0, -1.0])
    assert len(found) == 1


def test_the_best_that_is_known_is_what_a_search_found_if_that_is_better() -> None:
    found = replays(0.0)
    assert with_known_best(found)["regret"].to_numpy() == pytest.approx(found["regret"].to_numpy())
    found.loc[3, ["truth", "regret"]] = 0.902, -0.002
    changed = with_known_best(found)
    assert changed.loc[3, "regret"] == pytest.approx(0.0)
    assert changed.loc[5, "regret"] == pytest.approx(found.loc[5, "regret"] + 0.002)


def test_the_default_is_compared_with_random_draws_on_the_seeds_that_both_have() -> None:
    found = replays(0.004)
    theirs = found[found["method"] == REFERENCE].assign(method="random, ASHA 1")
    last = against_random_table(pd.concat([found, theirs, theirs.assign(seed=1000)])).strip().splitlines()[-1]
    assert last.startswith("| 12 | random, ASHA 1 | 0.4")
    assert last.endswith("| 100% | < 0.001 |")


def test_the_answers_are_a_ratio_of_regrets_and_a_share_of_epochs() -> None:
    ends = {"first edition": (0.02, 300), "random, ASHA 1": (0.01, 100), "random, ASHA 3": (0.0005, 200)}
    rows = [
        {"method": method, "trials": 12, "seed": seed, "regret": regret, "epochs": epochs, "last": True}
        for method, (regret, epochs) in ends.items()
        for seed in range(4)
    ]
    for seed in range(4):
        # It gets to what random draws have at 30 epochs, and stays there from 40 on.
        course = ((0.015, 20, False), (0.01, 30, False), (0.012, 35, False), (0.01, 40, False), (0.008, 90, True))
        rows += [
            {"method": DEFAULT, "trials": 12, "seed": seed, "regret": regret, "epochs": epochs, "last": last}
            for regret, epochs, last in course
        ]
    last = answers_table(pd.DataFrame(rows)).strip().splitlines()[-1]
    assert [cell.strip() for cell in last.strip("|").split("|")] == [
        "12", "0.80", "2.00", "0.40 (0.40 to 0.40)", "40 of 100 (40%)", "never, of 200",
    ]  # fmt: skip


def test_real_pairs_bear_a_prediction_out_or_not() -> None:
    worths = {REFERENCE: [0.88, 0.885, 0.879, 0.881], DEFAULT: [0.891, 0.89, 0.893, 0.889]}
    rows = [
        {"method": method, "seed": seed, "worth": worth}
        for method, listed in worths.items()
        for seed, worth in enumerate(listed)
    ]
    rows.append({"method": "random, ASHA 3", "seed": 9, "worth": 0.88})
    said = reality.told(pd.DataFrame(rows), DEFAULT, 0.01)
    assert said.startswith(
        f"4 pairs: the choice of {DEFAULT} is worth +0.95 points more than that of the first edition"
    )
    assert said.endswith("(95 % interval 0.33 to 1.57); predicted +1.00, which lies within.")
    assert reality.told(pd.DataFrame(rows), DEFAULT, 0.03).endswith("lies outside.")
    assert reality.told(pd.DataFrame(rows), DEFAULT, None).endswith("0.33 to 1.57).")


def test_the_prediction_is_the_difference_of_the_regrets() -> None:
    assert reality.predicted(replays(0.004), "random, ASHA 3", 12) is None
    assert reality.predicted(replays(0.004), DEFAULT, 12) == pytest.approx(0.004, abs=5e-4)
