"""A search space: read from TOML, checked against its model family, sampled, to JSON and back."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from tune_fmnist.base.errors import InputError, KeyPath, invalid
from tune_fmnist.models.config import Config, FamilyName, Strict, baseline, family, to_config

Value = bool | int | float | str


def _scalar(value: Any) -> Any:
    """Refuse what is no ``Value`` in one sentence: Pydantic would say for each type why it is not of that one."""
    if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("use true, false, a finite number or a string")
    return value


_Scalar = Annotated[Value, BeforeValidator(_scalar)]


class _Parameter(Strict):
    """What every parameter may have.

    Attributes:
        when: lets it exist only beside these values of other settings.
        setting: what it is the value of, if that is not its name: two that never exist together may be of one setting.
    """

    when: dict[str, _Scalar] = Field(default_factory=dict)
    setting: str | None = None


class _Range(_Parameter):
    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        low, high, step = (getattr(self, name) for name in ("low", "high", "step"))
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if getattr(self, "log", False) and low <= 0:
            raise ValueError(f"low {low} must be above 0 on a log scale")
        if step is not None and step <= 0:
            raise ValueError(f"step {step} must be above 0")
        if getattr(self, "log", False) and step is not None and step != 1:
            raise ValueError(f"step {step} does not go with a log scale")
        return self


class IntParameter(_Range):
    """An integer from ``low`` to ``high``, both included, in steps of ``step``."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int = 1

    def contains(self, value: Value) -> bool:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0  # type: ignore[operator]


class FloatParameter(_Range):
    """A number from ``low`` to ``high``, both included, in steps of ``step`` if given."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def contains(self, value: Value) -> bool:
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs(math.remainder(value - self.low, self.step)) <= 1e-8 * self.step


class CategoricalParameter(_Parameter):
    """One of ``choices``, which have no order."""

    type: Literal["categorical"]
    choices: list[_Scalar] = Field(min_length=1)

    @model_validator(mode="after")
    def _choices_differ(self) -> Self:
        if len({(isinstance(choice, bool), choice) for choice in self.choices}) != len(self.choices):
            raise ValueError(f"choices {self.choices} are not all different")
        return self

    def contains(self, value: Value) -> bool:
        # TOML's 0 and 0.0 are the same choice, false is another.
        return any(choice == value and isinstance(choice, bool) == isinstance(value, bool) for choice in self.choices)


_TYPES: Final[dict[str, type[IntParameter | FloatParameter | CategoricalParameter]]] = {
    "int": IntParameter,
    "float": FloatParameter,
    "categorical": CategoricalParameter,
}
Parameter = Annotated[IntParameter | FloatParameter | CategoricalParameter, Field(discriminator="type")]


class Space(Strict):
    """The configurations a search chooses from.

    Attributes:
        model: the family.
        parameters: what is searched, in the order in which it is sampled.
        max_parameters: configurations whose network would have more are not proposed, only the baseline and the start.
        fixed: values that differ from the baseline's but are not searched.
        start: parameter values, whole or in part, to try right after trial 0.
    """

    model: FamilyName
    parameters: dict[str, Parameter] = Field(min_length=1)
    max_parameters: int | None = Field(default=None, ge=1)
    fixed: dict[str, _Scalar] = Field(default_factory=dict)
    start: list[dict[str, _Scalar]] = Field(default_factory=list)

    def setting(self, name: str) -> str:
        """Return which of the family's settings a parameter is the value of."""
        return self.parameters[name].setting or name

    def sample(self, choose: Callable[[str, Parameter], Value]) -> Config:
        """Return the configuration that ``choose`` gives, which is asked once for each parameter that exists."""
        return self.config(self._walk(choose))

    def config(self, values: Mapping[str, Value]) -> Config:
        """Return the configuration with these values of parameters."""
        settings = {self.setting(name): value for name, value in values.items()}
        return to_config({"model": self.model, **self.fixed, **settings})

    def values(self, config: Config) -> dict[str, Value] | None:
        """Return the parameters' values that give ``config``, or None if it lies outside this space."""
        if config.model != self.model:
            return None
        wanted = config.model_dump()
        chosen = self._walk(lambda name, parameter: wanted[self.setting(name)])
        inside = all(self.parameters[name].contains(value) for name, value in chosen.items())
        settings = {self.setting(name): value for name, value in chosen.items()}
        defaults = baseline(self.model).model_dump()
        return chosen if inside and {**defaults, **self.fixed, **settings} == wanted else None

    def _walk(self, choose: Callable[[str, Parameter], Value]) -> dict[str, Value]:
        settled: dict[str, Value] = {**baseline(self.model).model_dump(), **self.fixed}
        chosen: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            if all(settled[key] == value for key, value in parameter.when.items()):
                settled[self.setting(name)] = chosen[name] = choose(name, parameter)
        return chosen

    def conditional(self) -> bool:
        """Return whether some parameter exists only beside certain values of others."""
        return any(parameter.when for parameter in self.parameters.values())


def from_values(values: Mapping[str, Any], *, file: str | None = None) -> Space:
    """Turn what TOML or JSON gave into a space of a family that this process knows.

    Raises:
        InputError: naming the file, the first bad key and its value.
    """
    space = recorded(values, file=file)
    _check_against_family(space, file)
    return space


def recorded(values: Mapping[str, Any], *, file: str | None = None) -> Space:
    """Turn what a search recorded into a space to look at, whether its family is known here or not.

    Raises:
        InputError: naming the file, the first bad key and its value.
    """
    try:
        return Space.model_validate(dict(values))
    except ValidationError as error:
        raise invalid(error, file=file, known=_known_keys, name=_key) from None


def _known_keys(path: KeyPath) -> Collection[str]:
    """Return the keys that may stand beside the one at the end of Pydantic's path."""
    if path[:1] == ("parameters",) and len(path) > 3:
        return _TYPES[str(path[2])].model_fields
    return Space.model_fields


def _key(path: KeyPath) -> str:
    """Return a key as the file has it: after a parameter's name Pydantic puts the type that it was read as."""
    named = path[:2] + path[3:] if path[:1] == ("parameters",) else path
    return ".".join(map(str, named))


def read_space(path: Path) -> Space:
    """Read a search space from a TOML file.

    Raises:
        InputError: the file cannot be read, is not TOML, or is not a search space.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", file=path, key="--space", hint="name a file in TOML, encoded as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        # Beside its own error tomllib lets pass those of a number with too many digits and of too deep a nesting.
        raise InputError(f"is not TOML ({error})", file=path, hint="see https://toml.io") from None
    return from_values(values, file=str(path))


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


def to_json(space: Space) -> dict[str, Any]:
    """Return a space as JSON values; ``from_values`` gives it back."""
    dumped = space.model_dump(mode="json")
    if dumped["max_parameters"] is None:
        del dumped["max_parameters"]
    for parameter in dumped["parameters"].values():
        for key in ("step", "setting"):
            if parameter.get(key, 0) is None:
                del parameter[key]
    return dumped


def _check_against_family(space: Space, file: str | None) -> None:
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


def default_space(model: str) -> Path:
    """Return the search space that comes with the package, from the wheel or from a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces" / f"{model}.toml"
    return installed if installed.exists() else package.parent / "search_spaces" / f"{model}.toml"
