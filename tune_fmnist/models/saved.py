"""A trained model's files: written, and read without running code."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from tune_fmnist.base.datasets import KNOWN_SHAPE, DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import MODEL_FORMAT, check_version, publish
from tune_fmnist.models.config import Config, id_of, read_config, read_values, to_config

Arrays = Mapping[str, NDArray[Any]]
"""A model's float32 weights, by their names in PyTorch's ``state_dict``."""

FORMAT_KEY: Final = "format_version"
"""Under which a file of weights says its format, in the metadata of safetensors, whose values are texts."""

CHECKSUM_KEY: Final = "crc"
"""Likewise, what ``checksum`` returned for what was stored."""

_CONFIG_KEY: Final = "config"
"""Likewise, the configuration, as JSON; files of releases that wrote no checksum have none."""

_SHAPE_KEY: Final = "shape"
"""Likewise, what the network is built for, as JSON; files of releases that knew Fashion-MNIST alone have none."""

_HINT: Final = "train it again with `tune-fmnist retrain`"
_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"


def save(weights: Arrays, config: Config, shape: DataShape, folder: Path) -> None:
    """Publish a model's weights and configuration, and what it was built for, in ``folder``."""
    # Of an array in another order, as those of convolutions are, safetensors would write the memory as it lies.
    ordered = {name: np.asarray(array, order="C") for name, array in weights.items()}
    stated = {_CONFIG_KEY: config.model_dump_json(), _SHAPE_KEY: json.dumps(shape._asdict())}
    metadata = {FORMAT_KEY: str(MODEL_FORMAT), **stated, CHECKSUM_KEY: checksum(ordered, "".join(stated.values()))}
    with publish(folder / _WEIGHTS) as partial:
        # Written by itself, a file of safetensors is its owner's alone.
        partial.write_bytes(to_bytes(ordered, metadata))
    with publish(folder / _CONFIG) as partial:
        partial.write_text(config.model_dump_json(indent=2) + "\n")


def read(folder: Path) -> tuple[Config, DataShape, dict[str, NDArray[Any]]]:
    """Return the configuration, what the network is built for, and the weights that ``save`` wrote.

    Raises:
        InputError: a file is missing, cannot be read, is of another format, or is not of the other one's model.
    """
    config = read_config(folder / _CONFIG)
    stated, shape, weights = _read_weights(folder / _WEIGHTS)
    if stated is not None and to_config(stated, file=str(folder / _WEIGHTS)) != config:
        raise misfit(folder)
    return config, shape, weights


def proven_id(folder: Path) -> str:
    """Return the name of the configuration of a whole model, whose family this process need not know.

    Raises:
        InputError: as of ``read``.
    """
    stated, _, _ = _read_weights(folder / _WEIGHTS)
    values = read_values(folder / _CONFIG)
    if stated not in (None, values):
        raise misfit(folder)
    return id_of(values)


def misfit(folder: Path) -> InputError:
    """Return the error of weights that are not of the configuration beside them."""
    return InputError(f"is not the configuration of {_WEIGHTS}", file=folder / _CONFIG, hint=_HINT)


def saved_config(folder: Path) -> Config | None:
    """Return the configuration of the model in ``folder``, or None if it has no weights that ``read`` can read.

    Raises:
        InputError: the configuration cannot be read: whose model it is cannot be told.
    """
    if not (folder / _CONFIG).exists():
        return None
    config = read_config(folder / _CONFIG)
    try:
        read(folder)
    except InputError:
        return None
    return config


def checksum(arrays: Arrays, text: str) -> str:
    """Return a checksum of arrays and of a text that stands beside them, in hexadecimal digits.

    The format itself notices only what is missing, not what is wrong.
    """
    crc = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(array.tobytes(), zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc))
    return f"{crc:08x}"


def _read_weights(file: Path) -> tuple[dict[str, Any] | None, DataShape, dict[str, NDArray[Any]]]:
    """Return the values of the configuration, if the file states them, the network's shape, and the weights."""
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- it is no mapping
    except FileNotFoundError:
        raise InputError("file not found", file=file, hint=_HINT) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read ({error})", file=file, hint=_HINT) from None
    found = metadata.get(FORMAT_KEY, "1")
    version = int(found) if found.isdecimal() else found
    check_version(version, oldest=MODEL_FORMAT, newest=MODEL_FORMAT, file=file, key=FORMAT_KEY)
    if (stated := metadata.get(_CONFIG_KEY)) is None:
        return None, KNOWN_SHAPE, arrays
    shape = metadata.get(_SHAPE_KEY, "")
    if metadata.get(CHECKSUM_KEY) != checksum(arrays, stated + shape):
        raise InputError("content does not match its checksum", file=file, key=CHECKSUM_KEY, hint=_HINT)
    return json.loads(stated), _shape(shape), arrays


def _shape(text: str) -> DataShape:
    if not text:
        return KNOWN_SHAPE
    values = json.loads(text)
    return DataShape(tuple(values["input_shape"]), values["classes"])
