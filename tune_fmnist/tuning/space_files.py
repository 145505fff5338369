"""A search space read from TOML or from a search's record, and written as JSON."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from tune_fmnist.base.errors import InputError, KeyPath, invalid
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Space
from tune_fmnist.tuning.space_checks import check_against_family

_TYPES: Final[dict[str, type[IntParameter | FloatParameter | CategoricalParameter]]] = {
    "int": IntParameter,
    "float": FloatParameter,
    "categorical": CategoricalParameter,
}


def from_values(values: Mapping[str, Any], *, file: str | None = None) -> Space:
    """Turn what TOML or JSON gave into a space of a family that this process knows.

    Raises:
        InputError: naming the file, the first bad key and its value.
    """
    space = recorded(values, file=file)
    check_against_family(space, file)
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


def default_space(model: str) -> Path:
    """Return the search space that comes with the package, from the wheel or from a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "search_spaces" / f"{model}.toml"
    return installed if installed.exists() else package.parent / "search_spaces" / f"{model}.toml"
