"""Which configurations are retrained, with which seeds, for how many epochs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.records import make_record
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.models.config import Ann, Config, config_id
from tune_fmnist.store.tables import config_columns
from tune_fmnist.tuning.selection import choose, confirmations, retrain_seeds

RECORD = make_record(seed=7, max_epochs=9, images=100, train_size=80)


def row(number: int, config: Config, score: float | None, **changes: Any) -> dict[str, Any]:
    cells = {"status": "completed", "score": score, "best_val_accuracy": score, "best_epoch": 4, "epochs": 9}
    cells |= {"number": number, "seconds": 18.0, "config_id": config_id(config), **config_columns(config)}
    return cells | changes


BASELINE = row(0, Ann(), 0.8)


def test_the_best_configurations_and_the_baseline_with_each_seed() -> None:
    rows = [BASELINE, row(1, Ann(hidden1=101), 0.7), row(2, Ann(hidden1=102), 0.9), row(3, Ann(hidden1=103), 0.85)]
    jobs = choose(rows, RECORD, top_k=2, seeds=2)
    assert [(job.config, job.rank, job.seed) for job in jobs] == [
        (config, rank, seed)
        for config, rank in ((Ann(hidden1=102), 1), (Ann(hidden1=103), 2), (Ann(), None))
        for seed in retrain_seeds(RECORD, 2)
    ]
    assert {(job.epochs, job.horizon) for job in jobs} == {(9, 9)}
    assert (jobs[0].score, jobs[0].best_val_accuracy) == (0.9, 0.9)
    # 2 s per epoch on 80 images, 9 epochs on 100.
    assert jobs[0].expected_seconds == pytest.approx(22.5)


def test_a_trial_that_did_not_reach_the_last_epoch_fills_up_and_is_retrained_for_all_epochs() -> None:
    stopped = {"status": "stopped", "epochs": 3, "seconds": 6.0}
    rows = [BASELINE, row(1, Ann(hidden1=101), 0.99, **stopped), row(2, Ann(hidden1=102), 0.7)]
    jobs = choose(rows, RECORD, top_k=3, seeds=1)
    assert [(job.config, job.rank, job.epochs) for job in jobs] == [
        (Ann(), 1, 9),
        (Ann(hidden1=102), 2, 9),
        (Ann(hidden1=101), 3, 9),
    ]
    assert [job.config for job in choose(rows, RECORD, top_k=2, seeds=1)] == [Ann(), Ann(hidden1=102)]


def test_a_search_that_was_scored_by_the_best_epoch_is_retrained_to_it() -> None:
    earlier = RECORD.model_copy(update={"scored_epochs": None})
    assert {(job.epochs, job.horizon) for job in choose([BASELINE], earlier, top_k=1, seeds=1)} == {(4, 9)}


def confirmation(of: dict[str, Any], score: float) -> dict[str, Any]:
    return {"number": of["number"], "config_id": of["config_id"], "score": score}


def test_the_confirmations_decide_who_is_retrained_and_the_trial_does_not_count() -> None:
    rows = [BASELINE, *(row(number, Ann(hidden1=100 + number), 0.9 - number / 100) for number in (1, 2, 3))]
    scores = {0: (0.5, 0.5), 1: (0.9, 0.0), 2: (0.8, 0.8), 3: (0.86, 0.84)}
    by = [confirmation(rows[number], score) for number, both in scores.items() for score in both]
    jobs = choose(rows, RECORD, top_k=2, seeds=1, by=by)
    assert [(job.config, job.rank) for job in jobs] == [
        (Ann(hidden1=103), 1),
        (Ann(hidden1=102), 2),
        (Ann(), None),
    ]


def test_a_baseline_that_is_confirmed_best_ranks_first() -> None:
    rows = [BASELINE, row(1, Ann(hidden1=101), 0.99)]
    by = [confirmation(BASELINE, 0.9), confirmation(rows[1], 0.85)]
    assert [(job.config, job.rank) for job in choose(rows, RECORD, top_k=1, seeds=1, by=by)] == [(Ann(), 1)]


@pytest.mark.parametrize(("top_k", "candidates"), [(1, 3), (2, 4), (4, 8)])
def test_twice_as_many_as_are_retrained_and_the_baseline_are_confirmed(top_k: int, candidates: int) -> None:
    rows = [
        row(0, Ann(), 0.1),
        *(row(number, Ann(hidden1=100 + number), 0.9 - number / 100) for number in range(1, 12)),
    ]
    jobs = confirmations(rows, RECORD, top_k=top_k, count=2)
    assert [job.number for job in jobs] == [number for number in (*range(1, candidates + 1), 0) for _ in range(2)]
    assert len({job.seed for job in jobs}) == 2
    assert not {job.seed for job in jobs} & set(retrain_seeds(RECORD, 9))
    assert {(job.epochs, job.expected_seconds) for job in jobs} == {(9, 18.0)}
    assert confirmations(rows, RECORD, top_k=top_k, count=0) == []


def test_the_first_start_is_confirmed_and_retrained_whatever_its_rank() -> None:
    record = RECORD.model_copy(update={"space": {"model": "ann", "start": [{"hidden1": 101}, {"hidden1": 102}]}})
    rows = [
        row(0, Ann(), 0.1),
        *(row(number, Ann(hidden1=100 + number), 0.5 + number / 100) for number in range(1, 12)),
    ]
    assert [job.number for job in confirmations(rows, record, top_k=1, count=1)] == [11, 10, 9, 0, 1]
    jobs = choose(rows, record, top_k=1, seeds=1)
    assert [(job.config, job.rank, job.is_start) for job in jobs] == [
        (Ann(hidden1=111), 1, False),
        (Ann(), None, False),
        (Ann(hidden1=101), None, True),
    ]
    rows[1] = row(1, Ann(hidden1=101), 0.99)
    jobs = choose(rows, record, top_k=1, seeds=1)
    assert [(job.config, job.rank, job.is_start) for job in jobs] == [(Ann(hidden1=101), 1, True), (Ann(), None, False)]


@pytest.mark.parametrize("changes", [{"status": "diverged"}, {"score": None}])
def test_a_start_without_a_score_is_left_out(changes: dict[str, Any]) -> None:
    record = RECORD.model_copy(update={"space": {"model": "ann", "start": [{"hidden1": 101}]}})
    rows = [BASELINE, row(1, Ann(hidden1=101), 0.9) | changes, row(2, Ann(hidden1=102), 0.95)]
    assert [job.config for job in choose(rows, record, top_k=1, seeds=1)] == [Ann(hidden1=102), Ann()]
    assert {job.number for job in confirmations(rows, record, top_k=1, count=1)} == {0, 2}


def test_a_start_that_is_the_baseline_is_called_the_baseline() -> None:
    record = RECORD.model_copy(update={"space": {"model": "ann", "start": [{}]}})
    rows = [BASELINE, row(1, Ann(), 0.7), row(2, Ann(hidden1=102), 0.95)]
    jobs = choose(rows, record, top_k=1, seeds=1)
    assert [(job.config, job.is_start) for job in jobs] == [(Ann(hidden1=102), False), (Ann(), False)]


def test_retrains_have_seeds_of_their_own_in_each_search() -> None:
    seeds = retrain_seeds(RECORD, 5)
    assert retrain_seeds(RECORD, 3) == seeds[:3], "more seeds are further ones"
    others = [{"seed": 8}, {"search_id": "abd"}]
    drawn = [seeds, *(retrain_seeds(RECORD.model_copy(update=changes), 5) for changes in others)]
    trials = [derived_seed(7, number) for number in range(100)]
    assert len({*trials, *(seed for one in drawn for seed in one)}) == 115


def test_searches_of_earlier_releases_keep_the_seeds_of_their_retrains() -> None:
    assert retrain_seeds(RECORD.model_copy(update={"split_seed": None}), 3) == [7, 8, 9]


def test_a_baseline_among_the_best_keeps_its_rank_and_is_chosen_once() -> None:
    jobs = choose([BASELINE, row(1, Ann(hidden1=101), 0.7)], RECORD, top_k=2, seeds=1)
    assert [(job.config, job.rank) for job in jobs] == [(Ann(), 1), (Ann(hidden1=101), 2)]


def test_a_configuration_that_was_drawn_twice_counts_once_by_its_better_trial() -> None:
    twice = [row(1, Ann(hidden1=101), 0.9), row(2, Ann(hidden1=101), 0.95)]
    jobs = choose([BASELINE, *twice], RECORD, top_k=2, seeds=1)
    assert [(job.config, job.score) for job in jobs] == [(Ann(hidden1=101), 0.95), (Ann(), 0.8)]


@pytest.mark.parametrize("status", ["diverged", "failed", "running"])
def test_what_diverged_failed_or_still_runs_is_not_chosen(status: str) -> None:
    rows = [BASELINE, row(1, Ann(hidden1=101), 0.99, status=status), row(2, Ann(hidden1=102), 0.9)]
    assert [job.config for job in choose(rows, RECORD, top_k=9, seeds=1)] == [Ann(hidden1=102), Ann()]


@pytest.mark.parametrize("changes", [{"status": "diverged"}, {"score": None}])
def test_a_baseline_without_a_score_is_one_line(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        choose([BASELINE | changes, row(1, Ann(hidden1=101), 0.9)], RECORD, top_k=1, seeds=1)
    says = "x: trials.parquet: number 0: the baseline, trial 0, has no score; "
    assert str(caught.value).startswith(says)
