"""Which trials count, and in what order."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, RUNNING, STATUSES, STOPPED
from tune_fmnist.store.ranking import counts, ranked


def row(number: int, status: str, score: float | None, epochs: int = 3) -> dict[str, Any]:
    return {"number": number, "status": status, "score": score, "epochs": epochs}


@pytest.mark.parametrize("status", STATUSES)
def test_what_diverged_or_failed_does_not_count(status: str) -> None:
    assert counts(row(0, status, 0.9)) == (status not in (DIVERGED, FAILED))


@pytest.mark.parametrize("score", [None, math.nan])
def test_what_has_no_score_does_not_count(score: float | None) -> None:
    assert not counts(row(0, COMPLETED, score))
    assert not counts({"number": 0, "status": RUNNING}), "a cell that is null may be left out"


def test_the_highest_score_is_first_and_of_equal_ones_the_earlier_trial() -> None:
    rows = [row(3, COMPLETED, 0.9), row(1, COMPLETED, 0.8), row(7, COMPLETED, 0.9), row(5, COMPLETED, 0.95)]
    for order in permutations(rows):
        assert [trial["number"] for trial in ranked(order)] == [5, 3, 7, 1]


def test_what_did_not_reach_the_last_epoch_follows_by_the_epochs_it_reached_then_by_score() -> None:
    rows = [
        row(0, COMPLETED, 0.1, 9),
        row(1, STOPPED, 0.99, 1),
        row(2, RUNNING, 0.5, 3),
        row(3, STOPPED, 0.6, 3),
        row(4, COMPLETED, 0.2, 9),
    ]
    for order in permutations(rows):
        assert [trial["number"] for trial in ranked(order)] == [4, 0, 3, 2, 1]


def test_the_best_score_of_a_trial_that_diverged_or_failed_is_in_no_place() -> None:
    rows = [row(0, DIVERGED, 0.99), row(1, FAILED, 0.98), row(2, STOPPED, 0.1), row(3, RUNNING, None)]
    assert [trial["number"] for trial in ranked(rows)] == [2]


def test_a_trial_that_runs_is_left_out_where_only_ended_ones_are_asked_for() -> None:
    rows = [row(0, RUNNING, 0.9), row(1, STOPPED, 0.8), row(2, STOPPED, 0.7)]
    assert [trial["number"] for trial in ranked(rows)] == [0, 1, 2]
    assert [trial["number"] for trial in ranked(rows, ended=True)] == [1, 2]
