"""Proposers on objectives whose best values are known: they learn from stopped trials, and from divergence."""

from __future__ import annotations

import math

import pytest

from tests.records import make_proposer
from tune_fmnist.base.metrics import DIVERGED_SCORE
from tune_fmnist.base.vocabulary import SearcherName
from tune_fmnist.tuning.estimates import estimates
from tune_fmnist.tuning.proposals import Outcome, Proposer, Values, with_liars
from tune_fmnist.tuning.space import from_values

SPACE = from_values(
    {
        "model": "ann",
        "parameters": {
            "dropout": {"type": "float", "low": 0.0, "high": 0.5},
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "flip": {"type": "categorical", "choices": [False, True]},
        },
    }
)


def searched(propose: Proposer, trials: int, *, diverges: bool = False) -> list[tuple[Values, str, bool]]:
    """Return what is proposed for so many trials one after the other, by whom, and whether it diverges.

    Every trial but each fourth is stopped after its first epoch.
    """
    found: list[tuple[Values, str, bool]] = []
    curves: list[dict[int, float]] = []
    for number in range(1, trials + 1):
        told = zip(found, estimates(curves), strict=True)
        values, origin = propose(number, [Outcome(one[0], estimate) for one, estimate in told])
        lost = diverges and float(values["learning_rate"]) > 1e-3
        level = 0.9 - abs(float(values["dropout"]) - 0.2) - 0.05 * abs(math.log10(float(values["learning_rate"])) + 3.3)
        found.append((values, origin, lost))
        curves.append({1: DIVERGED_SCORE} if lost else {1: level, 2: level + 0.01} if number % 4 == 0 else {1: level})
    return found


@pytest.mark.parametrize("searcher", ["tpe", "gp"])
def test_a_model_draws_after_the_startup_and_finds_what_is_good(searcher: SearcherName) -> None:
    found = searched(make_proposer(SPACE, searcher), 16)
    assert [origin for _, origin, _ in found] == ["random"] * 3 + ["model"] * 13
    later = sorted(abs(float(values["dropout"]) - 0.2) for values, _, _ in found[8:])
    # The middle one of eight random draws is 0.13 away.
    assert later[4] < 0.08


@pytest.mark.parametrize(("searcher", "most"), [("gp", 4), ("tpe", 7)])
def test_a_model_learns_where_trainings_diverge(searcher: SearcherName, most: int) -> None:
    found = searched(make_proposer(SPACE, searcher), 24, diverges=True)
    later = [lost for _, _, lost in found[4:]]
    assert sum(later) <= most, "of twenty, where half of the space diverges"


def test_a_draw_depends_on_nothing_but_seed_number_and_outcomes() -> None:
    outcomes = [Outcome(values, 0.1 * n) for n, (values, _, _) in enumerate(searched(make_proposer(SPACE, "gp"), 3))]
    keys = [(1, 4), (1, 4), (1, 5), (2, 4)]
    draws = [make_proposer(SPACE, "gp", seed=seed)(number, outcomes) for seed, number in keys]
    assert draws[0] == draws[1]
    assert len({str(draw) for draw in draws}) == 3


def test_what_runs_has_the_median_of_the_others_for_the_process_that_does_not_know_of_it() -> None:
    done = [Outcome({"dropout": 0.1 * place}, estimate) for place, estimate in enumerate((0.1, 0.9, 0.3))]
    assert with_liars([*done, Outcome({"dropout": 0.4}, None)]) == [*done, Outcome({"dropout": 0.4}, 0.3)]


def test_several_slots_are_not_proposed_the_same() -> None:
    propose = make_proposer(SPACE, "gp")
    outcomes = [Outcome(values, 0.5 - abs(float(values["dropout"]) - 0.2)) for values, _, _ in searched(propose, 6)]
    for number in range(7, 11):
        outcomes.append(Outcome(propose(number, outcomes).values, None))
    under_way = [tuple(outcome.values.values()) for outcome in outcomes[6:]]
    assert len(set(under_way)) == 4


def test_integers_of_many_values_are_searched_up_to_their_bounds() -> None:
    steps = {"type": "int", "low": 20, "high": 515, "step": 5}
    octaves = {"type": "int", "low": 32, "high": 256, "log": True}
    space = from_values({"model": "ann", "parameters": {"hidden1": steps, "hidden2": octaves}})
    outcomes: list[Outcome] = []
    for number in range(1, 15):
        values = make_proposer(space, "gp")(number, outcomes).values
        assert all(space.parameters[name].contains(value) for name, value in values.items())
        outcomes.append(Outcome(values, int(values["hidden1"]) / 500 - abs(math.log2(int(values["hidden2"]) / 64))))
    assert max(int(values["hidden1"]) for values, _ in outcomes) == 515
    assert min(abs(int(values["hidden2"]) - 64) for values, _ in outcomes) <= 4
