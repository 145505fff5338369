"""A trained model's files: written, and read without running code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import MODEL_FORMAT, check_version, publish
from tune_fmnist.models.config import Config, read_config

Arrays = Mapping[str, NDArray[Any]]
"""A model's float32 weights, by their names in PyTorch's ``state_dict``."""

FORMAT_KEY: Final = "format_version"
"""Under which a file of weights says its format, in the metadata of safetensors, whose values are texts."""

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"


def save(weights: Arrays, config: Config, folder: Path) -> None:
    """Publish a model's weights and configuration in ``folder``."""
    # Of an array in another order, as those of convolutions are, safetensors would write the memory as it lies.
    ordered = {name: np.asarray(array, order="C") for name, array in weights.items()}
    with publish(folder / _WEIGHTS) as partial:
        # Written by itself, a file of safetensors is its owner's alone.
        partial.write_bytes(to_bytes(ordered, {FORMAT_KEY: str(MODEL_FORMAT)}))
    with publish(folder / _CONFIG) as partial:
        partial.write_text(config.model_dump_json(indent=2) + "\n")


def read(folder: Path) -> tuple[Config, dict[str, NDArray[Any]]]:
    """Return the configuration and the weights that ``save`` wrote.

    Raises:
        InputError: a file is missing, cannot be read, or is of another format.
    """
    return read_config(folder / _CONFIG), _read_weights(folder / _WEIGHTS)


def saved_config(folder: Path) -> Config | None:
    """Return the configuration of the model in ``folder``, or None if there are no weights that ``read`` can read.

    Raises:
        InputError: the configuration cannot be read: whose model it is cannot be told.
    """
    if not (folder / _CONFIG).exists():
        return None
    config = read_config(folder / _CONFIG)
    try:
        _read_weights(folder / _WEIGHTS)
    except InputError:
        return None
    return config


def _read_weights(file: Path) -> dict[str, NDArray[Any]]:
    hint = "train it again with `tune-fmnist retrain`"
    try:
        with safe_open(file, framework="numpy") as opened:
            found = (opened.metadata() or {}).get(FORMAT_KEY, "1")
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- it is no mapping
    except FileNotFoundError:
        raise InputError("file not found", file=file, hint=hint) from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read ({error})", file=file, hint=hint) from None
    version = int(found) if found.isdecimal() else found
    check_version(version, oldest=MODEL_FORMAT, newest=MODEL_FORMAT, file=file, key=FORMAT_KEY)
    return arrays
