"""How fast a GPU trains: what one process of the measurement does."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

import torch

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import Config
from tune_fmnist.training.device import DeviceImages, use_device
from tune_fmnist.training.fit import GPU_EVAL_BATCH, EpochMetrics, State, fit

_RESIDENT: Final = 60_000
"""Images on the GPU, as many as a trial's."""

IMAGES: Final = 4 * GPU_EVAL_BATCH
"""Images of an epoch of the measurement, a third of a trial's, so that eight slow trainings at once end in time too.
As in a trial a quarter as many are validated, here in one whole batch, which takes as much memory as a trial's."""


class _EnoughError(Exception):
    """The time of a measurement is over."""


class Trainer:
    """Trains as a trial does, on images of noise, on the GPU that its process sees."""

    def __init__(self, config: Config, shape: DataShape) -> None:
        device, precision = use_device(gpu=True, threads=1)
        self._config, self._classes = config, shape.classes
        self._images = torch.rand(_RESIDENT, *shape.input_shape, device=device, dtype=getattr(torch, precision))
        self._labels = torch.randint(0, shape.classes, (_RESIDENT,), device=device)

    def train(self, seconds: float, least: int) -> list[float]:
        """Train for so long, and ``least`` epochs at least; return when each ended, by a clock of all of this node."""
        end = time.monotonic() + seconds
        ends: list[float] = []

        def on_epoch(metrics: EpochMetrics, state: State) -> None:
            ends.append(time.monotonic())
            if len(ends) >= least and ends[-1] >= end:
                raise _EnoughError

        train, validation = self._part(0, IMAGES), self._part(IMAGES, IMAGES + GPU_EVAL_BATCH)
        with suppress(_EnoughError):
            fit(self._config, train, validation, epochs=10**6, horizon=10**6, seed=0, on_epoch=on_epoch)
        return ends

    def memory(self) -> tuple[int, int]:
        """Return the bytes in use on the GPU, by whomever, and all bytes."""
        free, total = torch.cuda.mem_get_info()
        return total - free, total

    def _part(self, first: int, end: int) -> DeviceImages:
        return DeviceImages(self._images[first:end], self._labels[first:end], self._classes)
