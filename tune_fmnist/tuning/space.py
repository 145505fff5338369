"""A search space: its parameters, and the configurations that they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tune_fmnist.models.config import Config, FamilyName, Strict, baseline, to_config

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
