"""Frozen, validated configurations and the one gate from a dict to a configuration.

The defaults of both families are the baseline: ``Ann()`` and ``Cnn()`` are trial 0 of every search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.vocabulary import ModelName

Units = Annotated[int, Field(ge=1, le=4096)]
Channels = Annotated[int, Field(ge=1, le=512)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class Strict(BaseModel):
    """Frozen values of exactly the declared types: no unknown key, no NaN, no conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TrainingConfig(Strict):
    """How a model is trained, shared by all families.

    Attributes:
        learning_rate: the optimizer's step size, above 0; where a schedule starts from.
        batch_size: images per step, 1 to 4096.
        optimizer: ``adam`` (betas 0.9 and 0.999) or ``sgd``.
        momentum: of SGD, in [0, 1); 0 under Adam.
        weight_decay: decoupled from the gradient under Adam (Loshchilov & Hutter 2019), 0 or more.
        schedule: ``constant``, or ``cosine`` to zero over the search's longest trial (Loshchilov & Hutter 2017).
        flip: mirror each training image left to right with probability one half.
        shift: move each training batch by up to this many pixels each way, 0 to 4.
    """

    learning_rate: float = Field(default=1e-3, gt=0.0)
    batch_size: int = Field(default=64, ge=1, le=4096)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    flip: bool = False
    shift: int = Field(default=0, ge=0, le=4)

    @field_validator("momentum")
    @classmethod
    def _momentum_belongs_to_sgd(cls, momentum: float, known: ValidationInfo) -> float:
        # Without an optimizer, that one was invalid, and is the mistake that is told.
        if momentum and known.data.get("optimizer", "sgd") != "sgd":
            raise ValueError(f"use 0, or optimizer 'sgd' instead of {known.data['optimizer']!r}")
        return momentum


class Ann(TrainingConfig):
    """784-hidden1-hidden2-10 with ReLU and dropout after each hidden layer."""

    model: Literal["ann"] = "ann"
    hidden1: Units = 256
    hidden2: Units = 128
    dropout: Dropout = 0.3


class Cnn(TrainingConfig):
    """Blocks of 3x3 convolution, ReLU and 2x2 max pooling, then a dense layer with dropout before it and after it.

    ``conv3_channels`` 0 leaves the third block out, as the baseline does.
    """

    model: Literal["cnn"] = "cnn"
    conv1_channels: Channels = 32
    conv2_channels: Channels = 64
    conv3_channels: int = Field(default=0, ge=0, le=512)
    dense_units: Units = 128
    dropout: Dropout = 0.5


Config = Ann | Cnn
FAMILIES: Final[dict[str, type[Ann] | type[Cnn]]] = {"ann": Ann, "cnn": Cnn}


def baseline(model: ModelName) -> Config:
    """Return the baseline of a family."""
    return FAMILIES[model]()


def to_config(values: Mapping[str, Any], *, file: str | None = None) -> Config:
    """Turn a mapping into a configuration, or raise ``InputError`` naming the first bad key and its value."""
    model = values.get("model")
    if not isinstance(model, str) or model not in FAMILIES:
        raise InputError(f"unknown model {model!r}", file=file, key="model", hint=f"use one of {', '.join(FAMILIES)}")
    try:
        return FAMILIES[model].model_validate(dict(values))
    except ValidationError as error:
        raise invalid(error, file=file, known=lambda path: FAMILIES[model].model_fields) from None


def read_config(file: Path) -> Config:
    """Read a configuration from a JSON file.

    Raises:
        InputError: it cannot be read, or is no configuration.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=file, hint="restore it or delete it") from None
    if not isinstance(values, dict):
        raise InputError(f"holds a {type(values).__name__}, not an object", file=file, hint="restore it or delete it")
    return to_config(values, file=str(file))


def config_id(config: Config) -> str:
    """Return the configuration's name: 12 hexadecimal digits of the SHA-256 of its canonical JSON.

    Equal configurations have equal names on every machine and in every run.
    """
    # -0.0 equals 0.0; their sum is 0.0.
    values = {key: value + 0.0 if isinstance(value, float) else value for key, value in config.model_dump().items()}
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
