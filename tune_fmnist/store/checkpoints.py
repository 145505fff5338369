"""A trial's state after an epoch: tensors and the epochs so far, and nothing that runs code when loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tune_fmnist.base.files import MODEL_FORMAT
from tune_fmnist.models.saved import CHECKSUM_KEY, FORMAT_KEY, checksum
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import EpochResult

if TYPE_CHECKING:
    from torch import Tensor

_NAME = re.compile(r"epoch-\d+\.safetensors")

_KEPT = 2
"""The newest checkpoint and the one before, in case the newest is damaged."""


class Checkpoint(NamedTuple):
    """What ``Checkpoints.newest`` found: the results of all epochs up to it, and the file that holds the tensors."""

    history: list[EpochResult]
    content: bytes

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors' values, by name."""
        loaded: dict[str, NDArray[Any]] = load(self.content)
        return loaded


class Checkpoints:
    """The checkpoints of one trial.

    Args:
        folder: that of all trials of one search.
        number: the trial's.
        of: what it trains; a checkpoint of something else counts as none.  None takes any.
    """

    def __init__(self, folder: Folder | Path, number: int, of: str | None = None) -> None:
        all_trials = Folder(str(folder.resolve())) if isinstance(folder, Path) else folder
        self._folder = all_trials / f"{number:05d}"
        self._of = of
        self._known: list[str] | None = None

    def save(self, tensors: Mapping[str, Tensor], history: Sequence[EpochResult]) -> None:
        """Publish the state after the last epoch of ``history``, and remove all but it and the one before.

        Raises:
            OSError: it cannot be written; what was there is still there.
            MemoryError: there is no room for the file's content.
        """
        arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
        _reserve(sum(array.nbytes for array in arrays.values()))
        rows = json.dumps([result.model_dump() for result in history])
        metadata = {FORMAT_KEY: str(MODEL_FORMAT), "history": rows, CHECKSUM_KEY: checksum(arrays, rows)}
        if self._of is not None:
            metadata["of"] = self._of
        name = f"epoch-{history[-1].epoch:05d}.safetensors"
        known = self._known if self._known is not None else self._names()
        self._folder.write(name, save(arrays, metadata))
        # A later epoch's is a damaged one, or this epoch would not have been trained again.
        earlier = [other for other in known if other < name]
        self._known = [name, *earlier[: _KEPT - 1]]
        for other in known:
            if other not in self._known:
                self._folder.remove(other)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, of this format and of this trial, or None."""
        self._known = self._names()
        for name in self._known:
            try:
                content = self._folder.read(name)
                metadata = _metadata(content)
                if metadata[FORMAT_KEY] != str(MODEL_FORMAT) or (self._of is not None and metadata["of"] != self._of):
                    continue
                if metadata[CHECKSUM_KEY] == checksum(load(content), metadata["history"]):
                    history = [EpochResult.model_validate(row) for row in json.loads(metadata["history"])]
                    return Checkpoint(history, content)
            except (SafetensorError, OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def remove(self) -> None:
        """Remove all of them: the trial has ended and its rows are in the tables."""
        self._folder.clear()

    def _names(self) -> list[str]:
        """Return the names of its files, the newest first; nobody else writes there while the trial runs."""
        return sorted((name for name in self._folder.names() if _NAME.fullmatch(name)), reverse=True)


def _reserve(size: int) -> None:
    """Raise MemoryError where a file of this size cannot be made: safetensors itself panics, or ends the process."""
    try:
        # It builds the file twice, as Rust's and as Python's bytes.  These pages are never touched, and cost no time.
        np.empty(2 * size, np.uint8)
    except MemoryError:
        raise MemoryError(f"no memory left for a checkpoint of {size / 2**20:.0f} MiB") from None


def _metadata(content: bytes) -> dict[str, str]:
    """Return what stands beside the tensors: the file begins with the length of a JSON header, 8 bytes, and with it."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata
