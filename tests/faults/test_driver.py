"""The driver is killed at moments drawn by chance, during the search, its retrains and the writing of tables."""

from __future__ import annotations

import random

import pytest

from tests.faults.harness import Hurt, Moment
from tests.reliability import Note
from tune_fmnist.store import tables

SMALL = ("--trials", "10", "--top-k", "1", "--retrain-seeds", "2")


def moments(seed: int, kills: int) -> list[Moment]:
    """Return moments drawn by chance, most of them at a write."""
    rng = random.Random(seed)  # noqa: S311 no secret depends on it
    kinds = ["line", "published", "writing", "writing", "journal", "locking", "recorded"]
    return [Moment(rng.choice(kinds), rng.randint(1, 5), rng.choice([0.0, rng.uniform(0, 0.02)])) for _ in range(kills)]


def kill_often(hurt: Hurt, planned: list[Moment]) -> int:
    """Kill the driver at each of the moments; return how often it was killed before it had finished."""
    kills = 0
    for moment in planned:
        run = hurt.start()
        if run.await_moment(moment):
            run.kill()
            kills += 1
        else:
            assert run.ended() == 0, (moment, run.said, run.lines)
            break
    return kills


@pytest.mark.faults
@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_whose_driver_is_killed_loses_nothing(hurt: Hurt, count: Note, seed: int) -> None:
    hurt.arguments += SMALL
    kills = kill_often(hurt, moments(seed, 6))
    hurt.finish()
    count(f"driver killed, seed {seed}", kills, hurt.check(trials=10, retrains=True))


@pytest.mark.faults
def test_a_search_whose_driver_is_killed_while_it_confirms_or_retrains_loses_nothing(hurt: Hurt, count: Note) -> None:
    hurt.arguments += SMALL
    kills = 0
    for line in ("confirming", "confirmed", "confirmed", "retraining", "retrained", "retrained"):
        run = hurt.start()
        if not run.await_line(start=line):
            break
        run.kill()
        kills += 1
    assert kills
    hurt.finish()
    count("driver killed in confirmations and retrains", kills, hurt.check(trials=10, retrains=True))


@pytest.mark.faults
def test_a_kill_before_the_record_is_written_does_not_block_the_name(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ("--trials", "2", "--no-retrain")
    run = hurt.start()
    # The folder's folder sees it being made; its lock and its record come next.
    assert run.await_event(hurt.paths.folder.parent, lambda event: event.name == hurt.paths.folder.name)
    run.kill()
    hurt.finish()
    count("driver killed at the start", 1, hurt.check(trials=2))


@pytest.mark.faults
def test_twenty_kills_of_one_search_of_thirty_trials(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ("--trials", "30", "--scheduler", "fifo", "--top-k", "1", "--retrain-seeds", "2")
    kills, rng = 0, random.Random(20)  # noqa: S311 no secret depends on it
    while kills < 20:
        run = hurt.start()
        # Each run gets a little further: the search itself is still going on at the last kill.
        kind = rng.choice(["published", "writing", "journal", "locking"])
        assert run.await_moment(Moment(kind, rng.randint(1, 3), rng.uniform(0, 0.05))), (run.said, run.lines)
        run.kill()
        kills += 1
    hurt.finish()
    count("driver killed 20 times", kills, hurt.check(trials=30, retrains=True))


@pytest.mark.faults
def test_a_search_killed_while_trials_wait_loses_nothing(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ("--trials", "12", "--scheduler", "promotion", "--grace", "1", "--no-retrain")
    waited = 0
    for _ in range(4):
        run = hurt.start()
        assert run.await_line(start="trial ", count=3), run.said
        run.kill()
        rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
        waited += sum(row["status"] == "paused" for row in rows)
    assert waited
    hurt.finish()
    count("driver killed while trials wait", 4, hurt.check(trials=12))
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert {row["status"] for row in rows} == {"completed", "stopped"}
    # Of the 11 after the baseline at least 3 have gone on.
    assert sum(row["epochs"] > 1 for row in rows[1:]) >= 3
