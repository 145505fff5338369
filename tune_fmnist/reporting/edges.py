"""Whether the best configuration lies at an edge of its space, where a wider one may hold a better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.wording import plain
from tune_fmnist.store.tables import config_values
from tune_fmnist.tuning.cube import to_cube, value_of
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Space, Value
from tune_fmnist.tuning.space_files import recorded

NEAR: Final = 0.05
"""A value within this share of a range, on its scale, lies at its edge."""


_FEWEST: Final = 3
"""Steps of a range of whole numbers that has an inside worth the name."""


class Edge(NamedTuple):
    """A parameter whose best value lies at a bound of its range."""

    name: str
    value: Value
    bound: float


def edges(space: Space, config: Mapping[str, Any]) -> list[Edge]:
    """Return the parameters of a configuration that lie at a bound where the range could be wider.

    It could not below 0; and of two or three whole numbers most lie at a bound.

    Args:
        space: where it comes from.
        config: its values by name; those that are not searched do not matter.
    """
    found = []
    for name, parameter in space.parameters.items():
        if isinstance(parameter, CategoricalParameter) or parameter.low == parameter.high or _is_short(parameter):
            continue
        value = value_of(space, name, config)
        if value is None or not parameter.contains(value):
            continue
        at = to_cube(parameter, value)
        if parameter.low != 0 and (value == parameter.low or at <= NEAR):
            found.append(Edge(name, value, parameter.low))
        elif value == parameter.high or at >= 1.0 - NEAR:
            found.append(Edge(name, value, parameter.high))
    return found


def _is_short(parameter: IntParameter | FloatParameter) -> bool:
    return isinstance(parameter, IntParameter) and parameter.high - parameter.low < _FEWEST * parameter.step


def of_best(results: Results, retrained: Retrained | None) -> list[Edge]:
    """Return the parameters of the best configuration that lie at a bound.

    The best one is the first in rank of those retrained, or else of the trials.
    """
    best = retrained.best if retrained is not None else next(iter(rows_of(results.ranked)), None)
    if best is None:
        return []
    space = recorded(results.record.space, file=str(results.paths.search))
    return edges(space, config_values(best))


def told(found: Sequence[Edge]) -> str | None:
    """Return in a sentence what lies at an edge, and what to do; None if nothing does."""
    if not found:
        return None
    listed = ", ".join(f"{edge.name} {plain(edge.value)} (bound {plain(edge.bound)})" for edge in found)
    return f"At the edge of the space, within 5 % of a bound: {listed}. A wider range may hold a better value."
