"""Which parameter matters: how much worse a forest foretells the trials' ranks when it does not know a parameter.

All trials count, at the first rung, which all of them reach, so that those that were stopped tell as well: the few that
reached the end were chosen, and look alike.  A random forest (Breiman 2001, Machine Learning 45) is fitted to a
bootstrap sample of the trials, and asked for the others.  A parameter's importance is the share of the variance of
their ranks that is lost when its values are shuffled among them.  Other samples give other importances: their spread is
told, and of a parameter that is no better than one of pure chance, which is added, it is said that it cannot be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor

from tune_fmnist.base.vocabulary import DIVERGED
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.rungs import common_epoch, scores_after
from tune_fmnist.store.tables import config_values
from tune_fmnist.tuning.cube import to_cube, value_of
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_files import recorded

FEWEST: Final = 12
"""Trials below which no importance is computed."""

_SAMPLES: Final = 30
"""Bootstrap samples."""

_SHUFFLES: Final = 4
"""How often a parameter is shuffled in each."""

_TREES: Final = 30
_ABSENT: Final = -1.0
"""The coordinate of a parameter that does not exist in a configuration."""


class Importance(NamedTuple):
    """A parameter's importance: the share of the variance of the ranks that it tells, in the mean of the samples.

    ``low`` and ``high`` hold nine in ten of the samples; ``told`` is whether it is above chance in 19 of 20.
    """

    name: str
    mean: float
    low: float
    high: float
    told: bool


@dataclass(frozen=True)
class Importances:
    """The importances of a space's parameters, the greatest first, from ``trials`` scores after ``epoch``.

    ``parameters`` is empty where there are too few trials.
    """

    epoch: int
    trials: int
    parameters: list[Importance]


def importances(results: Results) -> Importances:
    """Return how much each parameter of a search tells of its trials' ranks at the first rung.

    Diverged trials, which rank last, count too; those with a value outside of the space do not.

    Raises:
        InputError: the recorded space cannot be read.
    """
    space, epoch = recorded(results.record.space, file=str(results.paths.search)), common_epoch(results)
    scores = scores_after(results.epochs, epoch).to_dict()
    points, found = [], []
    for row in rows_of(results.trials):
        score = -1.0 if row["status"] == DIVERGED else scores.get(row["trial_id"])
        point = coordinates(space, config_values(row))
        if score is not None and point is not None:
            points.append(point)
            found.append(score)
    enough = len(found) >= FEWEST and len(set(found)) > 1
    told = compute(np.array(points), np.array(found), list(space.parameters)) if enough else []
    return Importances(epoch, len(found), told)


def coordinates(space: Space, config: dict[str, object]) -> list[float] | None:
    """Return where a configuration lies on each parameter's scale; None if a value is outside of the space."""
    point = []
    for name, parameter in space.parameters.items():
        value = value_of(space, name, config)
        if value is None:
            point.append(_ABSENT)
        elif not parameter.contains(value):
            return None
        else:
            point.append(to_cube(parameter, value))
    return point


def compute(points: NDArray[np.float64], scores: NDArray[np.float64], names: list[str]) -> list[Importance]:
    """Return the importances of columns for scores, the greatest first.

    Args:
        points: (trials, parameters), at least ``FEWEST`` rows.
        scores: (trials,), of which only the order counts.
        names: of the columns.
    """
    rng = np.random.default_rng(0)
    ranks = rankdata(scores) / len(scores)
    known = np.column_stack([points, rng.permutation(len(points)) / len(points)])
    losses = np.array([loss for _ in range(_SAMPLES) if (loss := _losses(known, ranks, rng)) is not None])
    own, chance = losses[:, :-1], losses[:, -1:]
    above = np.quantile(own - chance, 0.05, axis=0)
    low, high = np.quantile(own, [0.05, 0.95], axis=0)
    found = [
        Importance(name, float(own[:, place].mean()), float(low[place]), float(high[place]), bool(above[place] > 0.0))
        for place, name in enumerate(names)
    ]
    return sorted(found, key=lambda importance: -importance.mean)


def _losses(
    points: NDArray[np.float64], ranks: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Return for each column the share of variance lost when it is shuffled; None if too few trials are left out."""
    count = len(points)
    drawn = rng.integers(0, count, count)
    left = np.setdiff1d(np.arange(count), drawn)
    spread = float(ranks[left].var()) if len(left) > 2 else 0.0
    if spread == 0.0:
        return None
    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
    forest.fit(points[drawn], ranks[drawn])
    shuffled = []
    for column in range(points.shape[1]):
        for _ in range(_SHUFFLES):
            changed = points[left].copy()
            changed[:, column] = rng.permutation(changed[:, column])
            shuffled.append(changed)
    stacked = forest.predict(np.concatenate([points[left], *shuffled])).reshape(-1, len(left))
    errors = ((stacked - ranks[left]) ** 2).mean(axis=1)
    by_column: NDArray[np.float64] = errors[1:].reshape(-1, _SHUFFLES).mean(axis=1)
    lost: NDArray[np.float64] = (by_column - errors[0]) / spread
    return lost


def told(found: Importances) -> str:
    """Return in a sentence which parameters matter, and of which it cannot be told."""
    if not found.parameters:
        return f"Which parameter matters cannot be told from {found.trials} trials."
    matter = [parameter.name for parameter in found.parameters if parameter.told]
    others = [parameter.name for parameter in found.parameters if not parameter.told]
    if not matter:
        return f"Which parameter matters cannot be told from {found.trials} trials: none is above chance."
    first = f"{_listed(matter)} {'matters' if len(matter) == 1 else 'matter'} for the rank after epoch {found.epoch}"
    if not others:
        return f"{first}."
    return f"{first}; of {_listed(others)} it cannot be told from {found.trials} trials."


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
