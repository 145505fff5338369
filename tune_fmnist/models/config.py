"""Frozen, validated configurations and the one gate from a dict to a configuration.

The defaults of both families are the founding report's set-up: ``Ann()`` and ``Cnn()`` are trial 0 of every search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import MODELS, ModelName

Units = Annotated[int, Field(ge=1, le=4096)]
Channels = Annotated[int, Field(ge=1, le=512)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Training(BaseModel):
    """What both families share: how they are trained.

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

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0.0)
    batch_size: int = Field(default=64, ge=1, le=4096)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "cosine"] = "constant"
    flip: bool = False
    shift: int = Field(default=0, ge=0, le=4)

    @model_validator(mode="after")
    def _momentum_belongs_to_sgd(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum {self.momentum} needs optimizer 'sgd', not {self.optimizer!r}")
        return self


class Ann(_Training):
    """784-hidden1-hidden2-10 with ReLU and dropout after each hidden layer."""

    model: Literal["ann"] = "ann"
    hidden1: Units = 256
    hidden2: Units = 128
    dropout: Dropout = 0.3


class Cnn(_Training):
    """Blocks of 3x3 convolution, ReLU and 2x2 max pooling, then a dense layer with dropout before it and after it.

    ``conv3_channels`` 0 leaves the third block out, as the founding report does.
    """

    model: Literal["cnn"] = "cnn"
    conv1_channels: Channels = 32
    conv2_channels: Channels = 64
    conv3_channels: int = Field(default=0, ge=0, le=512)
    dense_units: Units = 128
    dropout: Dropout = 0.5


Config = Ann | Cnn
_GATE: TypeAdapter[Config] = TypeAdapter(Annotated[Config, Field(discriminator="model")])
FAMILIES: dict[str, type[Ann] | type[Cnn]] = {"ann": Ann, "cnn": Cnn}


def baseline(model: ModelName) -> Config:
    """Return the founding report's configuration of a family."""
    return FAMILIES[model]()


def to_config(values: Mapping[str, Any], *, file: str | None = None) -> Config:
    """Turn a mapping into a configuration, or raise ``InputError`` naming the first bad key and its value."""
    if values.get("model") not in MODELS:
        raise InputError(
            f"unknown model {values.get('model')!r}", file=file, key="model", mend=f"use one of {', '.join(MODELS)}"
        )
    try:
        return _GATE.validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][1:]) or "momentum"
        fields = FAMILIES[values["model"]].model_fields
        if first["type"] == "extra_forbidden":
            what, mend = f"unknown parameter {key!r}", f"use one of {', '.join(sorted(fields))}"
        else:
            given = values.get(key)
            what, mend = f"{given!r} is refused", first["msg"].removeprefix("Value error, ")
        raise InputError(what, file=file, key=key, mend=mend) from None


def read_config(file: Path) -> Config:
    """Read a configuration from a JSON file.

    Raises:
        InputError: it cannot be read, or is no configuration.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=file, mend="restore or delete it") from None
    if not isinstance(values, dict):
        raise InputError(f"a {type(values).__name__} is no configuration", file=file, mend="restore or delete it")
    return to_config(values, file=str(file))


def config_id(config: Config) -> str:
    """Return the configuration's name: 12 hexadecimal digits of the SHA-256 of its canonical JSON.

    Equal configurations have equal names on every machine and in every run.
    """
    # -0.0 equals 0.0; their sum is 0.0.
    values = {key: value + 0.0 if isinstance(value, float) else value for key, value in config.model_dump().items()}
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
