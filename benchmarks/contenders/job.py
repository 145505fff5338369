"""The work that every contender is given, and the epochs that it notes down while it does it."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune_fmnist.models.config import baseline
from tune_fmnist.tuning.space_files import read_space

GRACE_EPOCHS = 1
REDUCTION_FACTOR = 3
"""Successive halving's settings are the same for all."""


@dataclass(frozen=True)
class Job:
    """A search to run.

    Attributes:
        model: ``ann`` or ``cnn``.
        trials: how many configurations to try.
        max_epochs: the length of a trial that is not stopped.
        slots: trials at once, one processor thread each.
        seed: of the search.
        space: the search space, a TOML file.
        data_root: a torchvision data root.
        split: a NumPy archive with ``train`` and ``validation``, places of images in the training file.
        scratch: an empty folder.
        events: where ``note`` writes.
    """

    model: str
    trials: int
    max_epochs: int
    slots: int
    seed: int
    space: str
    data_root: str
    split: str
    scratch: str
    events: str

    @classmethod
    def read(cls, file: Path | str) -> Job:
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))

    @classmethod
    def given(cls) -> Job:
        """Return the job that this process was started with."""
        return cls.read(sys.argv[1])

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    def starts(self) -> list[dict[str, Any]]:
        """Return the configurations that every contender tries first: the baseline and the space's start."""
        space = read_space(Path(self.space))
        first = space.values(baseline(space.model))
        return [*([first] if first else []), *space.start]


def note(events: str, trial: str, epoch: int, val_accuracy: float, train_seconds: float, eval_seconds: float) -> None:
    """Append an epoch to the file of events; processes may do so at the same time."""
    row = {
        "trial": trial,
        "epoch": epoch,
        "val_accuracy": val_accuracy,
        "train_seconds": train_seconds,
        "eval_seconds": eval_seconds,
        "at": time.time(),
    }
    file = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, (json.dumps(row) + "\n").encode())
    finally:
        os.close(file)
