"""Frozen, validated configurations, the families they belong to, and the one gate from a dict to a configuration.

A family's defaults are its baseline: ``Ann()``, ``Cnn()``, or a network of one's own as its signature has it is trial 0
of every search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.importing import is_own_name


def _family_name(value: str) -> str:
    if value not in BUILT_IN and not is_own_name(value):
        raise ValueError("must be 'ann' or 'cnn', or MODULE:CLASS of your own")
    return value


FamilyName = Annotated[str, AfterValidator(_family_name)]
"""The name of a family: whether it is known in this process is another question."""

Units = Annotated[int, Field(ge=1, le=4096)]
Channels = Annotated[int, Field(ge=1, le=512)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Frozen values of exactly the declared types: no unknown key, no NaN, no conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Config(Strict):
    """How a model is trained; a family adds its name and what its networks are built from.

    Attributes:
        learning_rate: the optimizer's step size, above 0; where a schedule starts from.
        batch_size: images per step, 1 to 4096.
        optimizer: ``adam`` (betas 0.9 and 0.999) or ``sgd``.
        momentum: of SGD, in [0, 1); 0 under Adam.
        weight_decay: decoupled from the gradient under Adam (Loshchilov & Hutter 2019), 0 or more.
        schedule: ``constant``, or ``cosine`` to zero over the search's longest trial (Loshchilov & Hutter 2017).
        flip: mirror each training image left to right with probability one half.
        shift: move each training batch by up to this many pixels each way, 0 to 4.
        model: the family.
    """

    learning_rate: float = Field(default=1e-3, gt=0.0)
    batch_size: int = Field(default=64, ge=1, le=4096)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    flip: bool = False
    shift: int = Field(default=0, ge=0, le=4)
    model: str

    @field_validator("momentum")
    @classmethod
    def _momentum_belongs_to_sgd(cls, momentum: float, known: ValidationInfo) -> float:
        # Without an optimizer, that one was invalid, and is the mistake that is told.
        if momentum and known.data.get("optimizer", "sgd") != "sgd":
            raise ValueError(f"use 0, or optimizer 'sgd' instead of {known.data['optimizer']!r}")
        return momentum


class Ann(Config):
    """784-hidden1-hidden2-10 with ReLU and dropout after each hidden layer."""

    model: Literal["ann"] = "ann"
    hidden1: Units = 256
    hidden2: Units = 128
    dropout: Dropout = 0.3


class Cnn(Config):
    """Blocks of 3x3 convolution, ReLU and 2x2 max pooling, then a dense layer with dropout before it and after it.

    ``conv3_channels`` 0 leaves the third block out, as the baseline does.
    """

    model: Literal["cnn"] = "cnn"
    conv1_channels: Channels = 32
    conv2_channels: Channels = 64
    conv3_channels: int = Field(default=0, ge=0, le=512)
    dense_units: Units = 128
    dropout: Dropout = 0.5


BUILT_IN: Final[dict[str, type[Config]]] = {"ann": Ann, "cnn": Cnn}
"""The families of this package, by name."""

_families: dict[str, type[Config]] = dict(BUILT_IN)


def add_family(name: str, config: type[Config]) -> None:
    """Let this process know a family of the user's own, whose name is ``MODULE:CLASS``."""
    _families[name] = config


def known_family(name: Any) -> type[Config] | None:
    """Return the type of a family's configurations, None if this process does not know it."""
    return _families.get(name) if isinstance(name, str) else None


def family(name: Any, *, file: Path | str | None = None) -> type[Config]:
    """Return the type of a family's configurations.

    Raises:
        InputError: this process does not know it: what a file names is never imported.
    """
    if (known := known_family(name)) is not None:
        return known
    hint = f"use one of {', '.join(BUILT_IN)}, or MODULE:CLASS for a network of your own"
    if isinstance(name, str) and ":" in name:
        hint = f"name it as well: --model {name}"
    raise InputError(f"unknown model {name!r}", file=file, key="model", hint=hint)


def baseline(model: str) -> Config:
    """Return the baseline of a family."""
    # Each family has a default for its own name.
    return family(model)()  # type: ignore[call-arg]


def to_config(values: Mapping[str, Any], *, file: str | None = None) -> Config:
    """Turn a mapping into a configuration, or raise ``InputError`` naming the first bad key and its value."""
    of = family(values.get("model"), file=file)
    try:
        return of.model_validate(dict(values))
    except ValidationError as error:
        raise invalid(error, file=file, known=lambda path: of.model_fields) from None


def read_config(file: Path) -> Config:
    """Read a configuration from a JSON file.

    Raises:
        InputError: it cannot be read, or is no configuration.
    """
    return to_config(read_values(file), file=str(file))


def read_values(file: Path) -> dict[str, Any]:
    """Read the values of a configuration, which may be of a family that is not known here; errors as of its reader."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=file, hint="restore it or delete it") from None
    if not isinstance(values, dict):
        raise InputError(f"holds a {type(values).__name__}, not an object", file=file, hint="restore it or delete it")
    return values


def config_id(config: Config) -> str:
    """Return the configuration's name: 12 hexadecimal digits of the SHA-256 of its canonical JSON.

    Equal configurations have equal names on every machine and in every run.
    """
    return id_of(config.model_dump())


def id_of(values: Mapping[str, Any]) -> str:
    """Return the name of the configuration with these values, which may be of a family that is not known here."""
    # -0.0 equals 0.0; their sum is 0.0.
    same = {key: value + 0.0 if isinstance(value, float) else value for key, value in values.items()}
    canonical = json.dumps(same, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
