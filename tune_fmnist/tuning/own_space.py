"""The search space of a network of the user's own, where no file gives one: its bounds, and the usual training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from tune_fmnist.models.config import Config
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_files import from_values, to_json

TRAINING: Final[dict[str, dict[str, Any]]] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "schedule": {"type": "categorical", "choices": ["constant", "cosine"]},
}
"""What is searched of the training; images are not mirrored, for of digits and letters that makes others."""

_LOG_FROM: Final = 8
"""Bounds above 0 whose quotient is at least this are searched on a log scale."""


def space_of(config: type[Config]) -> Space:
    """Return the space of a family: the parameters whose type has two bounds or some choices, and ``TRAINING``."""
    found = {name: _parameter(info) for name, info in config.model_fields.items() if name not in Config.model_fields}
    own = {name: parameter for name, parameter in found.items() if parameter is not None}
    return from_values({"model": config.model_fields["model"].default, "parameters": own | TRAINING})


def to_toml(space: Space) -> str:
    """Return a space as the file that ``--space`` reads."""
    values = to_json(space)
    lines = [f"model = {_scalar(values['model'])}", "", "[parameters]"]
    lines += [f"{name} = {_table(parameter)}" for name, parameter in values["parameters"].items()]
    return "\n".join(lines)


def _parameter(info: FieldInfo) -> dict[str, Any] | None:
    if info.annotation is bool:
        return {"type": "categorical", "choices": [False, True]}
    if get_origin(info.annotation) is Literal:
        return {"type": "categorical", "choices": list(get_args(info.annotation))}
    low, high = _bounds(info)
    if info.annotation not in (int, float) or low is None or high is None or low >= high:
        return None
    kind = "int" if info.annotation is int else "float"
    log = {"log": True} if low > 0 and high / low >= _LOG_FROM else {}
    return {"type": kind, "low": low, "high": high, **log}


def _bounds(info: FieldInfo) -> tuple[Any, Any]:
    """Return the lowest and the highest value of a parameter; None where there is no bound that it may take."""
    low = high = None
    # An integer next to an open bound is a bound; of the numbers next to one, none is.
    beside = 1 if info.annotation is int else None
    for bound in info.metadata:
        if isinstance(bound, annotated_types.Ge):
            low = bound.ge
        elif isinstance(bound, annotated_types.Le):
            high = bound.le
        elif isinstance(bound, annotated_types.Gt) and beside:
            low = bound.gt + beside  # type: ignore[operator]
        elif isinstance(bound, annotated_types.Lt) and beside:
            high = bound.lt - beside  # type: ignore[operator]
    return low, high


def _table(values: Mapping[str, Any]) -> str:
    """Return a parameter in one line; what is as it would be without it is left out."""
    usual: dict[str, Any] = {"log": False, "step": 1, "when": {}}
    told = {key: value for key, value in values.items() if key not in usual or value != usual[key]}
    return "{ " + ", ".join(f"{key} = {_scalar(value)}" for key, value in told.items()) + " }"


def _scalar(value: Any) -> str:
    # JSON's texts, numbers, lists and truth values are TOML's as well.
    return json.dumps(value)
