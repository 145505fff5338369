"""Which learning curves are recorded, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.models.config import Config, baseline
from tune_fmnist.tuning.cube import from_cube
from tune_fmnist.tuning.space import CategoricalParameter, Parameter, Space, Value
from tune_fmnist.tuning.space_files import read_space

HERE: Final = Path(__file__).parent
SPLIT_SEED: Final = 0

SECOND_SEED_SHARE: Final = 0.3
"""Share of the configurations that are trained with a second seed."""

BASELINE_SEEDS: Final = 4
"""The baseline is what everything is compared with, so that it is trained more often."""

_LONGEST_ORDER: Final = 4096
"""Configurations in the fixed order; a power of two, as Sobol's sequence likes it."""


AT_BOUNDS: Final = 10_000
"""The first number of the configurations at the bounds of the space, which are no part of the fair sample."""


class Plan(NamedTuple):
    """How many ``configurations`` of a family to record, the baseline among them, and for how many ``epochs``.

    Besides these so many ``at_bounds``: a model of a search goes there, and a model of the curves that knows none there
    is wrong there.
    """

    configurations: int
    epochs: int
    at_bounds: int


PLANS: Final[dict[ModelName, Plan]] = {"ann": Plan(512, 27, 96), "cnn": Plan(128, 9, 32)}


class Curve(NamedTuple):
    """One training to record.

    ``number`` is the place of its configuration in the fixed order, 0 the baseline; ``repeat`` tells the trainings of a
    configuration apart, from 0; ``horizon`` is its length in epochs, over which its schedule runs.
    """

    number: int
    repeat: int
    horizon: int
    config: Config

    @property
    def seed(self) -> int:
        """Of weights, dropout, order and augmentation, 32 bits: no two trainings share one, as in a search."""
        return int(np.random.SeedSequence([self.number, self.repeat], spawn_key=(4,)).generate_state(1)[0])

    @property
    def name(self) -> str:
        return f"{self.config.model}-{self.number:04d}-{self.repeat}-{self.horizon:02d}"


def space_of(model: ModelName) -> Space:
    """Return the space whose configurations are recorded."""
    return read_space(HERE / f"{model}.toml")


def curves(model: ModelName, configurations: int, horizon: int) -> list[Curve]:
    """Return the trainings of the first ``configurations`` configurations, in the order in which they are recorded.

    The configurations behind the baseline are points of Sobol's sequence, shifted by a random vector (Cranley &
    Patterson 1976), which is the same on every machine; a coordinate of its own decides who gets a second seed.
    """
    space = space_of(model)
    points = _points(len(space.parameters) + 1)[: configurations - 1]
    order = [Curve(0, repeat, horizon, baseline(model)) for repeat in range(BASELINE_SEEDS)]
    return order + _trainings(space, points, 1, horizon, _chosen)


def curves_at_bounds(model: ModelName, configurations: int, horizon: int) -> list[Curve]:
    """Return the trainings of configurations of which each number lies at one of its two bounds in one half of them.

    They are the last points of the order of ``curves``, spread over what is not at a bound.
    """
    space = space_of(model)
    points = _points(len(space.parameters) + 1)[-configurations:] if configurations else np.empty((0, 1))
    return _trainings(space, points, AT_BOUNDS, horizon, _chosen_at_bounds)


def _trainings(
    space: Space, points: NDArray[np.float64], first: int, horizon: int, choose: Callable[..., Value]
) -> list[Curve]:
    order = []
    for number, point in enumerate(points, start=first):
        at = dict(zip(space.parameters, point[1:].tolist(), strict=True))
        config = space.sample(partial(choose, at))
        repeats = 2 if point[0] < SECOND_SEED_SHARE else 1
        order += [Curve(number, repeat, horizon, config) for repeat in range(repeats)]
    return order


def _points(dimensions: int) -> NDArray[np.float64]:
    """Return the order's points, (4096, dimensions), in [0, 1)."""
    shift = np.random.PCG64(np.random.SeedSequence(SPLIT_SEED, spawn_key=(3,))).random_raw(dimensions) / 2.0**64
    points: NDArray[np.float64] = (qmc.Sobol(dimensions, scramble=False).random(_LONGEST_ORDER) + shift) % 1.0
    return points


def _chosen(at: dict[str, float], name: str, parameter: Parameter) -> Value:
    return from_cube(parameter, at[name])


def _chosen_at_bounds(at: dict[str, float], name: str, parameter: Parameter) -> Value:
    place = at[name]
    if isinstance(parameter, CategoricalParameter):
        return from_cube(parameter, place)
    if 0.25 <= place < 0.75:
        return from_cube(parameter, 2.0 * place - 0.5)
    return parameter.low if place < 0.25 else parameter.high
