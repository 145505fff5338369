"""Proposers on objectives whose best values are known: they learn from stopped trials, and from divergence."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import pytest

from tests.records import make_proposer
from tune_fmnist.base.datasets import KNOWN_SHAPE, DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.metrics import DIVERGED_SCORE
from tune_fmnist.base.vocabulary import SearcherName
from tune_fmnist.models.size import parameters
from tune_fmnist.store.record import SearcherSettings
from tune_fmnist.tuning.estimates import estimates
from tune_fmnist.tuning.proposals import Outcome, Proposer, Searching, Values, with_liars
from tune_fmnist.tuning.space_files import from_values

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
    assert max(int(values["hidden1"]) for values, *_ in outcomes) == 515
    assert min(abs(int(values["hidden2"]) - 64) for values, *_ in outcomes) <= 4


CAPPED = {
    "model": "ann",
    "max_parameters": 200_000,
    "parameters": {
        "hidden1": {"type": "int", "low": 64, "high": 1024, "log": True},
        "hidden2": {"type": "int", "low": 0, "high": 512, "step": 64},
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    },
}


@pytest.mark.parametrize("searcher", ["random", "tpe", "gp"])
def test_what_is_too_large_is_never_proposed(searcher: SearcherName) -> None:
    """The larger the better, as it often is: the best of what is allowed is near the limit."""
    space = from_values(CAPPED)
    propose, outcomes, sizes, origins = make_proposer(space, searcher), list[Outcome](), list[int](), list[str]()
    for number in range(1, 21):
        values, origin = propose(number, outcomes)
        sizes.append(parameters(space.config(values), KNOWN_SHAPE))
        origins.append(origin)
        outcomes.append(Outcome(values, math.log10(sizes[-1])))
    assert max(sizes) <= 200_000
    if searcher != "random":
        assert origins[3:].count("model") >= 12, "chance seldom takes its place"
        assert max(sizes) > 180_000
    free = from_values({key: value for key, value in CAPPED.items() if key != "max_parameters"})
    unlimited = [make_proposer(free, searcher)(number, []).values for number in range(1, 21)]
    assert max(parameters(free.config(values), KNOWN_SHAPE) for values in unlimited) > 200_000


def test_the_model_learns_what_is_too_large_before_it_is_trained() -> None:
    space = from_values(CAPPED)
    outcomes = [Outcome({"hidden1": 64 + 8 * place, "hidden2": 64, "dropout": 0.1}, 0.5) for place in range(6)]
    asked: list[float] = []

    def excess(values: Values) -> float:
        asked.append(math.log(int(values["hidden1"]) / 200))
        return asked[-1]

    proposer = replace(make_proposer(space, "gp"), excess=excess)
    seen: list[Outcome] = [
        Outcome({**values, "dropout": 0.4}, 0.5 + int(values["hidden1"]) / 1e3) for values, *_ in outcomes
    ]
    for number in range(7, 12):
        asked.clear()
        values, origin = proposer(number, seen)
        assert origin == "model"
        assert int(values["hidden1"]) <= 200
        tried = asked[len(seen) :]
        assert all(one > 0 for one in tried[:-1])
        assert len(tried) <= 4, "told of its mistake, it does not repeat it"
        seen.append(Outcome(values, 0.5 + int(values["hidden1"]) / 1e3))


def test_a_limit_that_nothing_keeps_is_one_line() -> None:
    space = from_values(CAPPED | {"max_parameters": 1000})
    with pytest.raises(InputError) as caught:
        make_proposer(space, "random")(1, [])
    what = "none of 1000 random configurations has at most 1000 parameters"
    assert str(caught.value) == f"max_parameters: {what}; raise it, or lower the bounds of layers and channels"


def test_a_limit_is_that_of_the_images_at_hand() -> None:
    space = from_values(CAPPED)
    settings = SearcherSettings(name="random", n_startup_trials=3)
    drawn = [Searching.of(settings, space, 1, DataShape((1, 8, 8), 10))(number, []).values for number in range(1, 21)]
    assert max(parameters(space.config(values), KNOWN_SHAPE) for values in drawn) > 200_000


def test_no_line_tells_of_what_does_not_always_exist(caplog: pytest.LogCaptureFixture) -> None:
    flips = {"type": "categorical", "choices": [False, True]}
    alternating = {**flips, "when": {"flip": True}}
    space = from_values({"model": "ann", "parameters": {"flip": flips, "alternating_flip": alternating}})
    outcomes = [Outcome({"flip": False}, 0.1), *[Outcome({"flip": True, "alternating_flip": False}, 0.9)] * 4]
    found = [make_proposer(space, "gp")(number, outcomes) for number in range(6, 12)]
    assert any("alternating_flip" in values for values, origin in found if origin == "model")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_process_learns_of_a_setting_that_has_two_ranges() -> None:
    rates = {"setting": "learning_rate", "type": "float", "log": True}
    space = from_values(
        {
            "model": "ann",
            "parameters": {
                "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
                "adam_rate": {**rates, "low": 1e-4, "high": 1e-2, "when": {"optimizer": "adam"}},
                "sgd_rate": {**rates, "low": 1e-2, "high": 1.0, "when": {"optimizer": "sgd"}},
            },
        }
    )
    propose, outcomes, rates_drawn = make_proposer(space, "gp"), list[Outcome](), list[float]()
    for number in range(1, 21):
        values = propose(number, outcomes).values
        by_sgd = values["optimizer"] == "sgd"
        off = math.log10(float(values["sgd_rate" if by_sgd else "adam_rate"])) - (-0.7 if by_sgd else -3)
        outcomes.append(Outcome(values, 0.8 + 0.1 * by_sgd - abs(off)))
        if number > 8 and by_sgd:
            rates_drawn.append(abs(off))
    assert len(rates_drawn) >= 6
    # The middle one of random draws would be half a decade away.
    assert sorted(rates_drawn)[len(rates_drawn) // 2] < 0.15
