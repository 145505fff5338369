"""A model of the recorded curves, which answers for every configuration of their space as a training would.

A configuration's expected curve is a regression of the recorded ones: the logarithm of the error after each epoch, in
its principal components, each by a Gaussian process or by extremely randomised trees over the unit cube.  A training
differs from it as two recorded trainings of one configuration differ from each other: their difference is drawn from
those of the recorded configurations next to it.  The truth about a configuration is its expected accuracy on the images
that no search sees.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import GroupKFold

from benchmarks.quality.curves import HERE, space_of
from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.tuning.cube import from_cube, to_cube
from tune_fmnist.tuning.proposals import Values
from tune_fmnist.tuning.space import CategoricalParameter, Space

Floats = NDArray[np.float64]
Kind = Literal["gp", "trees"]

SERIES: Final = ("seen_accuracy", "average_seen_accuracy", "held_accuracy", "average_held_accuracy")
"""The recorded accuracies that are modelled, one after the other: of the weights as trained and of their average."""

COMPONENTS: Final = 8
"""Principal components of a curve; the recorded ones are reproduced to 0.05 points with them."""

NEIGHBOURS: Final = 12
"""Recorded differences between seeds from which one is drawn: those of the nearest configurations."""

_CHOICE_WIDTH: Final = 0.7
"""Distance of a category from the others, per coordinate: two categories are a range apart."""

_LEAST_ERROR: Final = 1e-4


class Training(NamedTuple):
    """One training: seen accuracies (epochs,) of the weights and of their average, and the seconds of an epoch."""

    weights: Floats
    average: Floats
    seconds: float


class Truth(NamedTuple):
    """The expected accuracy at the last epoch on images that no search sees, of the weights and of their average."""

    weights: Floats
    average: Floats


@dataclass(frozen=True)
class Recorded:
    """Whole curves: where each configuration lies (curves, coordinates), which it is, and what was recorded.

    ``errors`` (curves, 4 x epochs) are the logarithms of the errors of ``SERIES``; ``seconds`` (curves,) the logarithms
    of the time of an epoch.
    """

    at: Floats
    number: NDArray[np.int64]
    errors: Floats
    seconds: Floats

    def part(self, chosen: NDArray[np.intp]) -> Recorded:
        return Recorded(self.at[chosen], self.number[chosen], self.errors[chosen], self.seconds[chosen])

    @property
    def horizon(self) -> int:
        return int(self.errors.shape[1]) // len(SERIES)


def read_recorded(model: ModelName, folder: Path = HERE) -> Recorded:
    """Read a family's published curves; one that diverged counts as having its last error to the end."""
    frame: pd.DataFrame = pq.read_table(folder / f"curves_{model}.parquet").to_pandas()
    space, horizon = space_of(model), int(frame["horizon"].max())
    at, numbers, errors, seconds = [], [], [], []
    for (number, _), rows in frame[frame["horizon"] == horizon].groupby(["number", "repeat"]):
        curve = rows.sort_values("epoch")
        first = curve.iloc[0]
        at.append(coordinates(space, {name: plain(first[f"config_{name}"]) for name in space.parameters}))
        numbers.append(number)
        padded = [np.pad(curve[key].to_numpy(), (0, horizon - len(curve)), mode="edge") for key in SERIES]
        errors.append(np.log(np.clip(1.0 - np.concatenate(padded), _LEAST_ERROR, 1.0)))
        seconds.append(np.log((curve["train_seconds"] + curve["eval_seconds"]).mean()))
    return Recorded(np.stack(at), np.array(numbers), np.stack(errors), np.array(seconds))


def plain(value: object) -> bool | int | float | str:
    """Return a value of a table as the plain Python value that a space has."""
    item = value.item() if isinstance(value, np.generic) else value
    assert isinstance(item, bool | int | float | str)
    return item


def coordinates(space: Space, values: Values) -> Floats:
    """Return where values lie: a coordinate in [0, 1] for each number, one per category for choices."""
    at: list[float] = []
    for name, parameter in space.parameters.items():
        if isinstance(parameter, CategoricalParameter):
            # One coordinate tells two choices apart.
            choices = parameter.choices[1:] if len(parameter.choices) == 2 else parameter.choices
            at += [_CHOICE_WIDTH * (choice == values[name]) for choice in choices]
        else:
            at.append(to_cube(parameter, values[name]))
    return np.array(at)


class World:
    """Answers for every configuration of a family's recorded space."""

    def __init__(self, space: Space, recorded: Recorded, kind: Kind = "gp") -> None:
        self.space, self.horizon = space, recorded.horizon
        components = min(COMPONENTS, len(recorded.errors) - 1)
        self._components = PCA(components, random_state=0).fit(recorded.errors)
        targets = self._components.transform(recorded.errors)
        self._curves = [regression(kind, recorded.at, targets[:, place]) for place in range(components)]
        self._seconds = regression(kind, recorded.at, recorded.seconds)
        self._differences, self._differ_at = differences(recorded)

    @classmethod
    def of(cls, model: ModelName, kind: Kind = "gp", folder: Path = HERE) -> Self:
        """Return the world of a family's published curves."""
        return cls(space_of(model), read_recorded(model, folder), kind)

    def expected(self, at: Floats) -> Floats:
        """Return the expected logarithms of errors (n, 4 x epochs) of configurations at these coordinates (n, d)."""
        scores = np.stack([curve.predict(at) for curve in self._curves], axis=1)
        errors: Floats = self._components.inverse_transform(scores)
        return errors

    def truth(self, at: Floats) -> Truth:
        """Return the truth about configurations at these coordinates (n, d)."""
        accuracy = 1.0 - np.exp(self.expected(at))
        return Truth(accuracy[:, 3 * self.horizon - 1], accuracy[:, 4 * self.horizon - 1])

    def train(self, values: Values, rng: np.random.Generator) -> Training:
        """Return one training of a configuration, with a seed of its own."""
        at = coordinates(self.space, values)
        nearest = np.argsort(((self._differ_at - at) ** 2).sum(axis=1))[:NEIGHBOURS]
        errors = self.expected(at[None])[0] + rng.choice([-1.0, 1.0]) * self._differences[rng.choice(nearest)]
        accuracy = 1.0 - np.exp(np.minimum(errors, 0.0))
        epochs = self.horizon
        return Training(
            accuracy[:epochs], accuracy[epochs : 2 * epochs], float(np.exp(self._seconds.predict(at[None])[0]))
        )

    def sample(self, count: int, seed: int = 0) -> Floats:
        """Return the coordinates (count, d) of configurations drawn uniformly from the space."""
        rng = np.random.default_rng(seed)
        draw = [self.space.sample(lambda name, parameter: from_cube(parameter, rng.random())) for _ in range(count)]
        return np.stack([coordinates(self.space, self.space.values(config) or {}) for config in draw])

    def best(self, count: int = 20_000) -> Truth:
        """Return the best truths of the space, over so many configurations."""
        truth = self.truth(self.sample(count))
        return Truth(truth.weights.max(), truth.average.max())


def regression(kind: Kind, at: Floats, target: Floats) -> GaussianProcessRegressor | ExtraTreesRegressor:
    """Return a regression of a target (n,) over coordinates (n, d), noise included."""
    if kind == "trees":
        return ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0).fit(at, target)
    kernel = ConstantKernel(1.0) * Matern(np.ones(at.shape[1]), (0.1, 30.0), nu=2.5) + WhiteKernel(0.1, (1e-3, 2.0))
    with warnings.catch_warnings():
        # A length that reaches its bound is that of a parameter which does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0).fit(
            at, target
        )


def differences(recorded: Recorded) -> tuple[Floats, Floats]:
    """Return how trainings of one configuration differ from their expectation (n, 4 x epochs), and where it lies.

    The deviations from the mean of k trainings are stretched by the root of k / (k - 1), as they are smaller than those
    from the expectation.
    """
    deviations, at = [], []
    for number in np.unique(recorded.number):
        same = np.flatnonzero(recorded.number == number)
        if len(same) > 1:
            errors = recorded.errors[same]
            deviations.append((errors - errors.mean(axis=0)) * np.sqrt(len(same) / (len(same) - 1)))
            at.append(recorded.at[same])
    return np.concatenate(deviations), np.concatenate(at)


def held_out(space: Space, recorded: Recorded, kind: Kind, folds: int = 5) -> Floats:
    """Return accuracies (n, 4 x epochs) that worlds expect of curves whose configurations they have not been given."""
    expected = np.empty_like(recorded.errors)
    for known, left in GroupKFold(folds).split(recorded.at, groups=recorded.number):
        expected[left] = World(space, recorded.part(known), kind).expected(recorded.at[left])
    return 1.0 - np.exp(expected)
