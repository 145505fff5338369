"""Replayed searches: the real searcher and scheduler on a simulated clock, on a model of a few recorded curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import record
from benchmarks.quality.curves import curves, space_of
from benchmarks.quality.methods import METHODS
from benchmarks.quality.replay import FIRST_SEED, Cell, replayed
from benchmarks.quality.simulate import Search
from benchmarks.quality.world import SERIES, Recorded, World, coordinates, read_recorded
from tune_fmnist.models.config import baseline
from tune_fmnist.store.tables import to_table

EPOCHS = 9


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    halves = record.load_halves(None, 500)
    folder = tmp_path_factory.mktemp("curves")
    rows = [row for curve in curves("ann", 14, EPOCHS) for row in record.record(curve, halves).to_pylist()]
    record.pq.write_table(to_table(rows, record.schema("ann")), record.published("ann", folder))
    return read_recorded("ann", folder)


@pytest.fixture(scope="module")
def world(recorded: Recorded) -> World:
    return World(space_of("ann"), recorded)


def test_a_world_knows_what_was_recorded(recorded: Recorded, world: World) -> None:
    assert recorded.horizon == EPOCHS
    assert recorded.errors.shape == (len(recorded.number), len(SERIES) * EPOCHS)
    expected = world.expected(recorded.at)
    spread = recorded.errors.std()
    assert np.abs(expected - recorded.errors).mean() < spread / 2
    at = coordinates(world.space, world.space.values(baseline("ann")) or {})
    assert np.array_equal(recorded.at[0], at), "configuration 0 is the baseline"


@pytest.mark.parametrize(
    "name", ["first edition", "random, ASHA 3", "TPE, ASHA 3", "random, none stopped", "random, promotion 3"]
)
def test_a_search_runs_all_trials_in_its_slots(name: str, world: World) -> None:
    one, two = (Search(METHODS[name], world, trials=12, slots=slots, seed=7) for slots in (1, 3))
    alone, beside = one.run(), two.run()
    for found in (alone, beside):
        assert found[-1].started == 12
        assert [moment.epochs for moment in found] == sorted(moment.epochs for moment in found)
        assert found[-1].truth <= float(world.best(2_000).weights) + 0.01
    assert beside[-1].seconds < alone[-1].seconds
    if name == "random, none stopped":
        assert alone[-1].epochs == 12 * EPOCHS
        assert len(alone) == 12
    else:
        assert alone[-1].epochs < 12 * EPOCHS


def test_the_best_quarter_goes_on_when_all_have_had_an_epoch(world: World) -> None:
    one = Search(METHODS["random, best quarter after 1"], world, trials=13, slots=2, seed=7)
    # The baseline and a quarter of the twelve others train to the end.
    assert one.run()[-1].epochs == EPOCHS + 12 + 3 * (EPOCHS - 1)


def test_a_cell_is_the_same_each_time_and_pairs_methods_by_seed(world: World) -> None:
    cell = Cell("ann", "gp", "random, ASHA 3", 6, 2)
    tables = [replayed(cell, METHODS[cell.method], world, 0.9, 2) for _ in range(2)]
    assert tables[0].equals(tables[1])
    assert set(tables[0]["seed"].to_pylist()) == {FIRST_SEED, FIRST_SEED + 1}
    assert sum(tables[0]["last"].to_pylist()) == 2


def test_a_seed_decides_a_training(world: World, tmp_path: Path) -> None:
    values = world.space.values(baseline("ann")) or {}
    first, again, other = (world.train(values, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)
    assert first.seconds == other.seconds
