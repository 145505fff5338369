"""Frozen, validated configurations, the families they belong to, and the one gate from a dict to a configuration.

A family's defaults are its baseline: ``Ann()``, ``Cnn()``, or a network of one's own as its signature has it is trial 0
of every search.
"""

from __future__ import annotations

import functools
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
OptionalUnits = Annotated[int, Field(ge=0, le=4096)]
Channels = Annotated[int, Field(ge=1, le=512)]
OptionalChannels = Annotated[int, Field(ge=0, le=512)]
Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]

_LATER: Final[dict[str, Any]] = {"later": True}
"""Marks a setting that the first releases did not have: their configurations have it at its default."""


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
        schedule: ``constant``, or to zero over the search's longest trial: ``cosine`` (Loshchilov & Hutter 2017), or
            ``one_cycle``, which rises in a line first (Smith & Topin 2019).
        flip: mirror each training image left to right with probability one half.
        shift: move each training batch by up to this many pixels each way, 0 to 4.
        warm_up: share of ``one_cycle`` in which the learning rate rises, in [0, 1); 0 under other schedules.
        label_smoothing: share of a target that all classes have alike (Szegedy et al. 2016), in [0, 1).
        average: half-life in epochs of a moving average of the weights, which is what is evaluated and saved; 0, the
            default, evaluates the weights of the last step.
        alternating_flip: with ``flip``, mirror each image in every other epoch instead (Jordan 2024).
        image_shift: move each training image by itself by up to this many pixels each way, 0 to 4.
        erasing: probability that a rectangle of a training image is painted over (Zhong et al. 2020).
        nesterov: let SGD's momentum look ahead.
        spare_biases: no weight decay for biases and norms, which are the parameters of one dimension.
        mirror: a model's logits are the means of those of an image and of its mirror image, outside of training.
        model: the family.
    """

    learning_rate: float = Field(default=1e-3, gt=0.0)
    batch_size: int = Field(default=64, ge=1, le=4096)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    flip: bool = False
    shift: int = Field(default=0, ge=0, le=4)
    warm_up: float = Field(default=0.0, ge=0.0, lt=1.0, json_schema_extra=_LATER)
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0, json_schema_extra=_LATER)
    average: float = Field(default=0.0, ge=0.0, le=1000.0, json_schema_extra=_LATER)
    alternating_flip: bool = Field(default=False, json_schema_extra=_LATER)
    image_shift: int = Field(default=0, ge=0, le=4, json_schema_extra=_LATER)
    erasing: float = Field(default=0.0, ge=0.0, le=1.0, json_schema_extra=_LATER)
    nesterov: bool = Field(default=False, json_schema_extra=_LATER)
    spare_biases: bool = Field(default=False, json_schema_extra=_LATER)
    mirror: bool = Field(default=False, json_schema_extra=_LATER)
    model: str

    @field_validator("momentum", "nesterov")
    @classmethod
    def _belongs_to_sgd(cls, value: float | bool, known: ValidationInfo) -> float | bool:
        # Without an optimizer, that one was invalid, and is the mistake that is told.
        if value and known.data.get("optimizer", "sgd") != "sgd":
            off = "false" if isinstance(value, bool) else "0"
            raise ValueError(f"use {off}, or optimizer 'sgd' instead of {known.data['optimizer']!r}")
        return value

    @field_validator("warm_up")
    @classmethod
    def _warm_up_belongs_to_one_cycle(cls, warm_up: float, known: ValidationInfo) -> float:
        if warm_up and known.data.get("schedule", "one_cycle") != "one_cycle":
            raise ValueError(f"use 0, or schedule 'one_cycle' instead of {known.data['schedule']!r}")
        return warm_up

    @field_validator("alternating_flip")
    @classmethod
    def _alternating_belongs_to_flip(cls, alternating: bool, known: ValidationInfo) -> bool:
        if alternating and not known.data.get("flip", True):
            raise ValueError("use false, or flip true")
        return alternating


def _of_batches(norm: bool, known: ValidationInfo) -> bool:
    if norm and known.data.get("batch_size") == 1:
        raise ValueError("use false, or batch_size 2 or more")
    return norm


BatchNorm = Annotated[bool, AfterValidator(_of_batches)]


class Ann(Config):
    """Hidden layers with ReLU and dropout after each: two of them, or one to four.

    Attributes:
        hidden2: units of the second hidden layer, as of the third and fourth; 0 leaves a layer out.
        batch_norm: normalise over the batch before each ReLU (Ioffe & Szegedy 2015).
        skip: each hidden layer but the first adds its input to its output.
    """

    model: Literal["ann"] = "ann"
    hidden1: Units = 256
    hidden2: OptionalUnits = 128
    dropout: Dropout = 0.3
    hidden3: OptionalUnits = Field(default=0, json_schema_extra=_LATER)
    hidden4: OptionalUnits = Field(default=0, json_schema_extra=_LATER)
    batch_norm: BatchNorm = Field(default=False, json_schema_extra=_LATER)
    skip: bool = Field(default=False, json_schema_extra=_LATER)


class Cnn(Config):
    """Stages of convolution, 2x2 max pooling and ReLU, then a dense layer with dropout before it and after it.

    Attributes:
        conv3_channels: of the third stage, as of the fourth; 0 leaves a stage out, as the baseline does.
        conv2_pool: whether the second stage halves the image, as the others do.
        convolutions: of each stage, 1 to 3; the further ones have as many channels, and do not pool.
        residual: the further convolutions of a stage add what they give to what they get; without them, nothing.
        kernel_size: pixels of each convolution each way, 3 or 5.
        batch_norm: normalise over the batch before each ReLU of the stages (Ioffe & Szegedy 2015).
        head: ``dense``, or the ``average`` or the ``max`` of each channel instead of the dense layer.
    """

    model: Literal["cnn"] = "cnn"
    conv1_channels: Channels = 32
    conv2_channels: Channels = 64
    conv3_channels: OptionalChannels = 0
    dense_units: Units = 128
    dropout: Dropout = 0.5
    conv4_channels: OptionalChannels = Field(default=0, json_schema_extra=_LATER)
    conv2_pool: bool = Field(default=True, json_schema_extra=_LATER)
    convolutions: int = Field(default=1, ge=1, le=3, json_schema_extra=_LATER)
    residual: bool = Field(default=False, json_schema_extra=_LATER)
    kernel_size: Literal[3, 5] = Field(default=3, json_schema_extra=_LATER)
    batch_norm: BatchNorm = Field(default=False, json_schema_extra=_LATER)
    head: Literal["dense", "average", "max"] = Field(default="dense", json_schema_extra=_LATER)


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


@functools.cache
def later_settings(model: str) -> dict[str, Any]:
    """Return a family's settings that the first releases did not have, with their defaults.

    A network of the user's own shares those of the training.
    """
    fields = BUILT_IN.get(model, Config).model_fields
    return {name: info.default for name, info in fields.items() if info.json_schema_extra == _LATER}


def config_id(config: Config) -> str:
    """Return the configuration's name: 12 hexadecimal digits of the SHA-256 of its canonical JSON.

    Equal configurations have equal names on every machine and in every run.
    """
    return id_of(config.model_dump())


def id_of(values: Mapping[str, Any]) -> str:
    """Return the name of the configuration with these values, which may be of a family that is not known here.

    A setting that the first releases did not have counts where it is not at its default, so that old names stay.
    """
    later = later_settings(values["model"])
    told = {key: value for key, value in values.items() if key not in later or value != later[key]}
    # -0.0 equals 0.0; their sum is 0.0.
    same = {key: value + 0.0 if isinstance(value, float) else value for key, value in told.items()}
    canonical = json.dumps(same, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
