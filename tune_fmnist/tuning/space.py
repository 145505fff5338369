"""A search space: read from TOML, checked against its model family, sampled, to JSON and back."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.models.config import FAMILIES, Config, to_config

Value = bool | int | float | str


def _scalar(value: Any) -> Any:
    """Refuse what is no ``Value`` in one sentence: Pydantic would say for each type why it is not of that one."""
    if not isinstance(value, Value) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("use true, false, a finite number or a string")
    return value


_Scalar = Annotated[Value, BeforeValidator(_scalar)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _Parameter(_Strict):
    """What every parameter may have: ``when`` lets it exist only beside these values of earlier parameters."""

    when: dict[str, _Scalar] = Field(default_factory=dict)


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


Parameter = Annotated[IntParameter | FloatParameter | CategoricalParameter, Field(discriminator="type")]


class Space(_Strict):
    """The configurations a search chooses from.

    Attributes:
        model: the family.
        parameters: what is searched, in the order in which it is sampled.
        fixed: values that differ from the founding report's but are not searched.
        start: parameter values, whole or in part, to try right after trial 0.
    """

    model: ModelName
    parameters: dict[str, Parameter] = Field(min_length=1)
    fixed: dict[str, _Scalar] = Field(default_factory=dict)
    start: list[dict[str, _Scalar]] = Field(default_factory=list)

    def sample(self, choose: Callable[[str, Parameter], Value]) -> Config:
        """Return the configuration that ``choose`` gives, which is asked once for each parameter that exists."""
        return to_config({"model": self.model, **self.fixed, **self._walk(choose)})

    def values(self, config: Config) -> dict[str, Value] | None:
        """Return the parameters' values that give ``config``, or None if it lies outside this space."""
        if config.model != self.model:
            return None
        wanted = config.model_dump()
        chosen = self._walk(lambda name, parameter: wanted[name])
        inside = all(self.parameters[name].contains(value) for name, value in chosen.items())
        defaults = FAMILIES[self.model]().model_dump()
        return chosen if inside and {**defaults, **self.fixed, **chosen} == wanted else None

    def _walk(self, choose: Callable[[str, Parameter], Value]) -> dict[str, Value]:
        settled: dict[str, Value] = {**FAMILIES[self.model]().model_dump(), **self.fixed}
        chosen: dict[str, Value] = {}
        for name, parameter in self.parameters.items():
            if all(settled[key] == value for key, value in parameter.when.items()):
                settled[name] = chosen[name] = choose(name, parameter)
        return chosen

    def conditional(self) -> bool:
        """Return whether some parameter exists only beside certain values of others."""
        return any(parameter.when for parameter in self.parameters.values())


_GATE = TypeAdapter(Space)


def from_values(values: Mapping[str, Any], *, file: str | None = None) -> Space:
    """Turn what TOML or JSON gave into a space.

    Raises:
        InputError: naming the file, the first bad key and its value.
    """
    try:
        space = _GATE.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        if path[:1] == ["parameters"]:
            # After the parameter's name comes the type that it was read as.
            del path[2:3]
        shown = "" if isinstance(first["input"], Mapping) else f"{first['input']!r} "
        what, mend = f"{shown}is refused", first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            what = "is missing"
        elif first["type"] == "extra_forbidden":
            what, mend = f"{shown}is refused: there is no such key", "correct it or remove it"
        raise InputError(what, file=file, key=".".join(path), mend=mend) from None
    _check_against_family(space, file)
    return space


def read_space(path: Path) -> Space:
    """Read a search space from a TOML file.

    Raises:
        InputError: the file cannot be read, is not TOML, or is not a search space.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", file=path, key="--space", mend="name a file in TOML, encoded as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        # Beside its own error tomllib lets pass those of a number with too many digits and of too deep a nesting.
        raise InputError(f"is not TOML ({error})", file=path, mend="see https://toml.io") from None
    return from_values(values, file=str(path))


def to_json(space: Space) -> dict[str, Any]:
    """Return a space as JSON values; ``from_values`` gives it back."""
    dumped = space.model_dump(mode="json")
    for parameter in dumped["parameters"].values():
        if parameter.get("step", 0) is None:
            del parameter["step"]
    return dumped


def _check_against_family(space: Space, file: str | None) -> None:
    """Refuse parameters that the family does not have, cannot take at their bounds, or that contradict each other."""
    fields = FAMILIES[space.model].model_fields
    known = ", ".join(sorted(fields.keys() - {"model"}))
    for section, names in (("parameters", space.parameters), ("fixed", space.fixed)):
        for name in names:
            if name not in fields or name == "model":
                raise InputError(
                    f"{space.model} has no parameter {name!r}", file=file, key=f"{section}.{name}", mend=f"use {known}"
                )
            if name in space.fixed and name in space.parameters:
                raise InputError(
                    f"{name!r} is both searched and fixed", file=file, key=f"fixed.{name}", mend="remove one of the two"
                )

    def accept(values: Mapping[str, Value], section: str, name: str | None = None) -> None:
        try:
            to_config({**space.fixed, **values, "model": space.model})
        except InputError as error:
            raise InputError(error.what, file=file, key=f"{section}.{name or error.key}", mend=error.mend) from None

    accept({}, "fixed")
    settled = {**FAMILIES[space.model]().model_dump(), **space.fixed}
    earlier = set(fields) - space.parameters.keys()
    for name, parameter in space.parameters.items():
        for key, value in parameter.when.items():
            where = f"parameters.{name}.when.{key}"
            if key not in earlier:
                raise InputError(
                    f"{key!r} is not settled before {name!r}", file=file, key=where, mend="name a parameter above it"
                )
            other = space.parameters.get(key)
            if not (other and other.contains(value)) and not (settled[key] == value and (not other or other.when)):
                raise InputError(f"{key!r} is never {value!r}", file=file, key=where, mend="use a value that it takes")
        earlier.add(name)
        for end in _ends(parameter):
            accept({**parameter.when, name: end}, "parameters", name)
    for place, start in enumerate(space.start):
        for name, value in start.items():
            if name not in space.parameters or not space.parameters[name].contains(value):
                raise InputError(
                    f"{value!r} is not in the space", file=file, key=f"start.{place}.{name}", mend="widen it or change"
                )
        conditions = {key: value for name in start for key, value in space.parameters[name].when.items()}
        accept({**conditions, **start}, f"start.{place}")


def _ends(parameter: Parameter) -> list[Value]:
    if isinstance(parameter, CategoricalParameter):
        return list(parameter.choices)
    return [parameter.low, parameter.high]
