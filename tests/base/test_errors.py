"""What a user is told, in one line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tune_fmnist.base.errors import InputError, invalid, last_line


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    seeds: int = Field(ge=1)


class _Int(BaseModel):
    type: Literal["int"]
    low: int
    high: int

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class _Choice(BaseModel):
    type: Literal["choice"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    trials: int = Field(default=1, ge=1, le=1000)
    rate: float = Field(default=0.1, gt=0, lt=1)
    searcher: Literal["tpe", "gp"] = "tpe"
    plan: _Part | None = None
    choices: list[int] = Field(default_factory=list, max_length=2)
    space: Annotated[_Int | _Choice, Field(discriminator="type")] | None = None

    @field_validator("trials")
    @classmethod
    def _is_even(cls, trials: int) -> int:
        if trials > 1 and trials % 2:
            raise ValueError("Use an even number")
        return trials


def told(values: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        _Options(**values)
    return str(invalid(caught.value, **options))


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"trials": 0}, "trials: invalid value 0; must be at least 1"),
        ({"trials": 1001}, "trials: invalid value 1001; must be at most 1000"),
        ({"trials": "six"}, "trials: invalid value 'six'; must be a valid integer"),
        ({"trials": 7}, "trials: invalid value 7; use an even number"),
        ({"rate": 0.0}, "rate: invalid value 0.0; must be greater than 0"),
        ({"rate": 1.0}, "rate: invalid value 1.0; must be less than 1"),
        ({"searcher": "tpee"}, "searcher: invalid value 'tpee'; must be 'tpe' or 'gp'"),
        ({"plan": {}}, "plan.seeds: missing; add it"),
        ({"plan": {"seeds": 0}}, "plan.seeds: invalid value 0; must be at least 1"),
        ({"choices": ["a\nb"]}, r"choices.0: invalid value 'a\nb'; must be a valid integer"),
        ({"trials": {"six": 6}}, "trials: invalid value a dict; must be a valid integer"),
        ({"trials": [6]}, "trials: invalid value a list; must be a valid integer"),
        ({"choices": [1, 2, 3]}, "choices: invalid value a list; must have at most 2 items"),
        ({"space": {"type": "int", "low": 5, "high": 3}}, "space.int: invalid; low 5 is above high 3"),
        ({"space": {"type": "integer"}}, "space: invalid type 'integer'; must be one of 'int', 'choice'"),
        ({"space": {}}, "space: missing 'type'; add it"),
        ({"trails": 3, "rate": 0.5}, "trails: unknown; remove it"),
    ],
)
def test_the_first_mistake_is_one_line_with_its_value_and_bound(values: dict[str, Any], line: str) -> None:
    assert told(values) == line


def test_an_unknown_key_names_the_nearest_or_all_there_are() -> None:
    known = _Options.model_fields
    assert told({"trails": 3}, known=lambda path: known) == "trails: unknown; did you mean trials?"
    everything = "choices, plan, rate, searcher, space, trials"
    assert told({"colour": 3}, known=lambda path: known) == f"colour: unknown; use one of {everything}"


def test_the_file_the_hint_and_the_key_are_the_callers() -> None:
    where: dict[str, Any] = {"file": Path("some.json"), "hint": "restore the file"}
    assert told({"trials": 0}, **where) == "some.json: trials: invalid value 0: must be at least 1; restore the file"
    assert told({"plan": {}}, **where) == "some.json: plan.seeds: missing; restore the file"
    assert told({"trials": 0}, name=lambda path: f"--{path[0]}") == "--trials: invalid value 0; must be at least 1"


def test_an_error_stays_one_line_and_goes_to_other_processes() -> None:
    error = InputError("two\nlines", file="a.toml", key="b", hint="do\n  this")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 -- made here
    assert str(again) == str(error) == "a.toml: b: two lines; do this"
    assert (again.what, again.file, again.key, again.hint) == ("two\nlines", "a.toml", "b", "do\n  this")
    assert str(InputError("wrong", hint="right")) == "wrong; right"


def test_the_last_line_is_what_an_error_of_another_process_says() -> None:
    assert last_line(RuntimeError("Traceback:\n  File\nValueError: no room\n")) == "ValueError: no room"
    assert last_line(MemoryError()) == "MemoryError"
