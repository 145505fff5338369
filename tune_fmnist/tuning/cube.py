"""A parameter's range as coordinates in [0, 1), and back: equal distances are equal steps on the parameter's scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Parameter, Space, Value


def value_of(space: Space, name: str, settings: Mapping[str, Any]) -> Value | None:
    """Return the value that a parameter has in a configuration's settings; None where it does not exist there."""
    exists = all(settings.get(key) == wanted for key, wanted in space.parameters[name].when.items())
    value: Value | None = settings.get(space.setting(name)) if exists else None
    return value


def from_cube(parameter: Parameter, at: float) -> Value:
    """Return the value at a coordinate in [0, 1]; each integer, step and choice has an equal share of its scale."""
    if isinstance(parameter, CategoricalParameter):
        return parameter.choices[min(int(at * len(parameter.choices)), len(parameter.choices) - 1)]
    if isinstance(parameter, IntParameter):
        return _integer(parameter, at)
    if parameter.step is not None:
        steps = round((parameter.high - parameter.low) / parameter.step)
        return min(parameter.low + parameter.step * min(int(at * (steps + 1)), steps), parameter.high)
    if parameter.log:
        value = parameter.low * (parameter.high / parameter.low) ** at
    else:
        value = parameter.low + at * (parameter.high - parameter.low)
    return min(max(float(value), parameter.low), parameter.high)


def _integer(parameter: IntParameter, at: float) -> int:
    if parameter.log:
        # Each integer has the share of the logarithmic range from half before it to half behind it.
        near = (parameter.low - 0.5) * float(((parameter.high + 0.5) / (parameter.low - 0.5)) ** at)
        return min(max(round(near), parameter.low), parameter.high)
    steps = (parameter.high - parameter.low) // parameter.step
    return parameter.low + parameter.step * min(int(at * (steps + 1)), steps)


def to_cube(parameter: Parameter, value: Value) -> float:
    """Return the coordinate of a value of the parameter: the middle of its share."""
    if isinstance(parameter, CategoricalParameter):
        same = [choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in parameter.choices]
        return (same.index(True) + 0.5) / len(same)
    number = float(value)
    if isinstance(parameter, IntParameter) and parameter.log:
        return math.log(number / (parameter.low - 0.5)) / math.log((parameter.high + 0.5) / (parameter.low - 0.5))
    if parameter.step is not None:
        steps = round((parameter.high - parameter.low) / parameter.step)
        return (round((number - parameter.low) / parameter.step) + 0.5) / (steps + 1)
    if parameter.low == parameter.high:
        return 0.5
    if isinstance(parameter, FloatParameter) and parameter.log:
        return math.log(number / parameter.low) / math.log(parameter.high / parameter.low)
    return (number - parameter.low) / (parameter.high - parameter.low)
