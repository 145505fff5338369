"""Who waits at a rung, and who goes on."""

from __future__ import annotations

from typing import Any

from tests.records import scheduler_settings
from tune_fmnist.tuning.rungs import Rungs


def told(rungs: Rungs, *scores: float, epoch: int = 3, first: int = 1) -> list[bool]:
    """Let trials reach a rung one after another; return which of them wait there."""
    return [rungs.waits(first + place, epoch, score, for_good=False) for place, score in enumerate(scores)]


def test_the_best_third_of_a_rung_goes_on_the_rest_waits() -> None:
    rungs = Rungs([3, 9], 3)
    assert told(rungs, 0.5, 0.7) == [True, True]
    assert rungs.candidate() is None, "of two, none is the best of three"
    assert told(rungs, 0.6, first=3) == [True]
    assert rungs.candidate() == 2
    assert rungs.promote(2) == 3
    assert rungs.candidate() is None
    # The best of six goes on at once; the second best of them has gone on before.
    assert told(rungs, 0.4, 0.3, 0.9, first=4) == [True, True, False]
    assert rungs.candidate() is None
    assert sorted(rungs.waiting) == [1, 3, 4, 5]


def test_between_rungs_nobody_stops_and_the_highest_rung_comes_first() -> None:
    rungs = Rungs([1, 3], 2)
    assert told(rungs, 0.9, 0.8, epoch=2) == [False, False]
    told(rungs, 0.4, 0.1, 0.2, epoch=1)
    rungs.promote(1)
    told(rungs, 0.3, 0.2, epoch=3, first=6)
    assert rungs.candidate() == 6
    rungs.promote(6)
    told(rungs, 0.15, epoch=1, first=4)
    assert rungs.candidate() == 3, "the second best of four, as the best has gone on"


def test_of_equal_trials_the_earlier_goes_on() -> None:
    rungs = Rungs([1], 2)
    told(rungs, 0.5, 0.5, 0.5, epoch=1, first=5)
    assert rungs.candidate() == 5


def test_a_trial_told_again_after_it_went_on_does_not_wait_again() -> None:
    rungs = Rungs([1], 2)
    told(rungs, 0.5, 0.4, epoch=1)
    rungs.promote(1)
    assert not rungs.waits(1, 1, 0.5, for_good=False)
    assert rungs.candidate() is None


def test_one_that_diverged_counts_and_never_goes_on() -> None:
    rungs = Rungs([1], 2)
    assert not rungs.waits(1, 1, -1.0, for_good=True)
    assert told(rungs, 0.1, epoch=1, first=2) == [False], "the better one of two"
    assert dict(rungs.waiting) == {}


def test_a_resumed_search_has_the_rungs_of_its_tables() -> None:
    settings = scheduler_settings("promotion")
    rows: dict[int, Any] = {
        0: {"status": "completed", "epochs": 9},
        1: {"status": "paused", "epochs": 1},
        2: {"status": "paused", "epochs": 1},
        3: {"status": "running", "epochs": 2},
        4: {"status": "stopped", "epochs": 9, "audited_at": 1},
    }
    epochs = [
        {"number": number, "epoch": epoch, "score": 0.9 if number == 0 else 0.1 * number}
        for number, row in rows.items()
        for epoch in range(1, row["epochs"] + 1)
    ]
    rungs = Rungs.resumed(settings, 9, rows, epochs)
    assert dict(rungs.waiting) == {1: 1, 2: 1}
    assert rungs.candidate() is None, "of four one goes on, 3, and the baseline does not count"
    assert not rungs.waits(5, 1, 0.5, for_good=False), "the best of five"
    assert rungs.candidate() is None, "one of five goes on"
    told(rungs, 0.01, 0.02, 0.03, epoch=1, first=6)
    assert rungs.candidate() is None, "of eight two go on, 5 and 3"
    told(rungs, 0.04, epoch=1, first=9)
    assert rungs.candidate() == 2, "of nine three go on; the audited one was stopped for good"
    assert dict(Rungs.resumed(scheduler_settings("asha"), 9, rows, epochs).waiting) == {}


def rows_and_epochs(rows: dict[int, Any], scores: dict[int, float]) -> tuple[dict[int, Any], list[dict[str, Any]]]:
    epochs = [
        {"number": number, "epoch": epoch, "score": scores[number]}
        for number, row in rows.items()
        for epoch in range(1, row["epochs"] + 1)
    ]
    return rows, epochs


def test_one_that_tells_a_rung_again_after_it_went_on_does_not_wait_there() -> None:
    rows: dict[int, Any] = {number: {"status": "paused", "epochs": 1} for number in (2, 3, 4)}
    rows[1] = {"status": "running", "epochs": 2}
    rungs = Rungs.resumed(scheduler_settings("promotion"), 9, *rows_and_epochs(rows, {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2}))
    # Its checkpoint of the second epoch was not whole.
    assert not rungs.waits(1, 1, 0.1, for_good=False)
    assert rungs.waits(1, 3, 0.1, for_good=False)


def test_trials_that_an_earlier_run_stopped_do_not_take_the_places_of_new_ones() -> None:
    rows = {number: {"status": "stopped", "epochs": 1} for number in range(1, 4)}
    rungs = Rungs.resumed(scheduler_settings("promotion"), 9, *rows_and_epochs(rows, {1: 0.9, 2: 0.8, 3: 0.7}))
    assert told(rungs, 0.6, 0.4, 0.5, epoch=1, first=4) == [False, True, False], "of six, two that can"
