"""What a search space may not hold: names, conditions, bounds and starts that its model family cannot take."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from itertools import combinations

from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import baseline, family, to_config
from tune_fmnist.tuning.space import CategoricalParameter, IntParameter, Parameter, Space, Value


def check_against_family(space: Space, file: str | None) -> None:
    """Refuse parameters that the family does not have, cannot take at their bounds, or that contradict each other."""
    family(space.model, file=file)
    _check_names(space, file)
    _accept(space, {}, "fixed", file)
    settled: dict[str, Value] = {**baseline(space.model).model_dump(), **space.fixed}
    earlier = settled.keys() - {space.setting(name) for name in space.parameters}
    for name, parameter in space.parameters.items():
        _check_condition(space, name, earlier, settled, file)
        earlier.add(space.setting(name))
        for end in _ends(parameter):
            _accept(space, {**parameter.when, space.setting(name): end}, f"parameters.{name}", file)
    _check_pairs(space, file)
    _check_start(space, file)


def _check_names(space: Space, file: str | None) -> None:
    fields = family(space.model).model_fields
    known = ", ".join(sorted(fields.keys() - {"model"}))
    searched = {name: space.setting(name) for name in space.parameters}
    for section, names in (("parameters", searched), ("fixed", {name: name for name in space.fixed})):
        for name, setting in names.items():
            where = f"{section}.{name}" + ("" if setting == name else ".setting")
            if setting not in fields or setting == "model":
                what = f"{space.model} has no parameter {setting!r}"
                raise InputError(what, file=file, key=where, hint=f"use one of {known}")
            if section == "parameters" and setting in space.fixed:
                what = f"{setting!r} is both searched and fixed"
                raise InputError(what, file=file, key=f"fixed.{setting}", hint="remove one of the two")
    for (first, one), (second, other) in combinations(space.parameters.items(), 2):
        never_together = any(one.when[key] != other.when[key] for key in one.when.keys() & other.when.keys())
        if searched[first] == searched[second] and not never_together:
            what = f"{first!r} and {second!r} are both of {searched[first]!r}"
            hint = "let their `when` name different values of one parameter"
            raise InputError(what, file=file, key=f"parameters.{second}", hint=hint)


def _check_condition(
    space: Space, name: str, earlier: Collection[str], settled: Mapping[str, Value], file: str | None
) -> None:
    """Refuse a ``when`` that names a parameter below it, or a value that the other one never has."""
    for key, value in space.parameters[name].when.items():
        where = f"parameters.{name}.when.{key}"
        if key not in earlier:
            what = f"{key!r} has no value before {name!r}"
            raise InputError(what, file=file, key=where, hint="name a parameter above it")
        others = [other for of, other in space.parameters.items() if space.setting(of) == key]
        searched = any(other.contains(value) for other in others)
        # A parameter that does not always exist has its default where it does not.
        by_default = settled[key] == value and all(other.when for other in others)
        if not searched and not by_default:
            raise InputError(f"{key!r} is never {value!r}", file=file, key=where, hint="use a value that it takes")


def _check_pairs(space: Space, file: str | None) -> None:
    """Refuse two parameters that the family cannot take together at their bounds."""
    ends = [
        (name, {**parameter.when, space.setting(name): end})
        for name, parameter in space.parameters.items()
        for end in _ends(parameter)
    ]
    for (_, first), (name, second) in combinations(ends, 2):
        if all(first[key] == second[key] for key in first.keys() & second.keys()):
            _accept(space, {**first, **second}, f"parameters.{name}", file)


def _check_start(space: Space, file: str | None) -> None:
    for place, start in enumerate(space.start):
        for name, value in start.items():
            if name not in space.parameters or not space.parameters[name].contains(value):
                what, key = f"{value!r} is not in the space", f"start.{place}.{name}"
                raise InputError(what, file=file, key=key, hint="change it or widen the space")
        conditions = {key: value for name in start for key, value in space.parameters[name].when.items()}
        settings = {space.setting(name): value for name, value in start.items()}
        _accept(space, {**conditions, **settings}, f"start.{place}", file)


def _accept(space: Space, values: Mapping[str, Value], section: str, file: str | None) -> None:
    """Refuse parameter values that the family cannot take."""
    try:
        to_config({**space.fixed, **values, "model": space.model})
    except InputError as error:
        key = section if section.endswith(f".{error.key}") else f"{section}.{error.key}"
        raise InputError(error.what, file=file, key=key, hint=error.hint) from None


def _ends(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.choices)
    return [parameter.low, parameter.high]


def check_steps(space: Space, file: str | None = None) -> None:
    """Refuse steps that do not lead from ``low`` to ``high``: Optuna would search up to a lower ``high``.

    Spaces of searches that were recorded with such a step stay usable.

    Raises:
        InputError: naming the file, the parameter and the nearest ``high`` that its step reaches.
    """
    for name, parameter in space.parameters.items():
        if isinstance(parameter, CategoricalParameter) or parameter.step is None:
            continue
        # As they are written, and not as binary fractions.
        low, high, step = (Fraction(str(number)) for number in (parameter.low, parameter.high, parameter.step))
        count = (high - low) // step
        if count * step == high - low:
            continue
        kind = int if isinstance(parameter, IntParameter) else float
        what = f"step {parameter.step} does not lead from low {parameter.low} to high {parameter.high}"
        hint = f"use high = {kind(low + count * step)}" if count else f"use a step of {kind(high - low)}"
        raise InputError(what, file=file, key=f"parameters.{name}", hint=hint)
