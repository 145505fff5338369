"""A trial's state after an epoch, on disk: tensors and the epochs so far, and nothing that runs code when loaded."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tune_fmnist.paths import publish

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_KEPT = 2
"""The newest checkpoint and the one before, in case the newest is damaged."""


class Checkpoint(NamedTuple):
    """What ``Checkpoints.newest`` found: the reports of all epochs up to it, and the file with the tensors."""

    history: list[dict[str, Any]]
    file: Path

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors, on the processor."""
        import safetensors.torch

        loaded: dict[str, Tensor] = safetensors.torch.load_file(self.file)
        return loaded


class Checkpoints:
    """The checkpoints of one trial.

    Args:
        folder: that of all trials of one search.
        number: the trial's.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder / f"{number:05d}"

    def save(self, tensors: Mapping[str, Tensor], history: list[dict[str, Any]]) -> None:
        """Publish the state after the last epoch of ``history``, and remove all but it and the one before.

        Raises:
            OSError: it cannot be written; what was there is still there.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        copied = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        rows = json.dumps(history)
        metadata = {"history": rows, "crc": _crc({name: tensor.numpy() for name, tensor in copied.items()}, rows)}
        file = self._folder / f"epoch-{history[-1]['epoch']:05d}.safetensors"
        try:
            with publish(file) as partial:
                save_file(copied, partial, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from None
        # A later epoch's is a damaged one, or this epoch would not have been trained again.
        files = self._files()
        newest = files.index(file)
        for other in files[:newest] + files[newest + _KEPT :]:
            other.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or None."""
        from safetensors import SafetensorError, safe_open
        from safetensors.numpy import load_file

        for file in self._files():
            try:
                with safe_open(file, framework="numpy") as opened:
                    metadata = opened.metadata() or {}
                if metadata["crc"] == _crc(load_file(file), metadata["history"]):
                    return Checkpoint(json.loads(metadata["history"]), file)
            except (SafetensorError, OSError, ValueError, KeyError):
                continue
        return None

    def remove(self) -> None:
        """Remove all of them: the trial has ended and its rows are in the tables."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("epoch-*.safetensors"), reverse=True)


def _crc(arrays: Mapping[str, NDArray[Any]], history: str) -> str:
    """Return a checksum of all that is stored: the format itself notices only what is missing, not what is wrong."""
    crc = zlib.crc32(history.encode())
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(array.tobytes(), zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc))
    return f"{crc:08x}"
