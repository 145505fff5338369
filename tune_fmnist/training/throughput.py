"""How many images per second a GPU trains on: the measurement of one process."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

import torch

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import Config
from tune_fmnist.training.device import DeviceImages, use_device
from tune_fmnist.training.fit import fit

_IMAGES: Final = 60_000
_EPOCH: Final = 6_400
"""Images that are resident, and images of an epoch of the measurement."""


class _EnoughError(Exception):
    """The time of a measurement is over."""


class Trainer:
    """Trains as a trial does, on images of noise, on the GPU that its process sees."""

    def __init__(self, config: Config, shape: DataShape) -> None:
        device, precision = use_device(gpu=True, threads=1)
        self._config = config
        self._images = torch.rand(_IMAGES, *shape.input_shape, device=device, dtype=getattr(torch, precision))
        labels = torch.randint(0, shape.classes, (_EPOCH,), device=device)
        self._train = DeviceImages(self._images[:_EPOCH], labels, shape.classes)

    def rate(self, seconds: float) -> float:
        """Return the images per second of a training of this length, less its first epoch; one epoch at least."""
        began, epochs = 0.0, 0

        def on_epoch(metrics: Any, state: Any) -> None:
            nonlocal began, epochs
            if metrics.epoch == 1:
                began = time.perf_counter()
            else:
                epochs += 1
                if time.perf_counter() - began >= seconds:
                    raise _EnoughError

        with suppress(_EnoughError):
            fit(self._config, self._train, self._train, epochs=10**6, horizon=10**6, seed=0, on_epoch=on_epoch)
        return epochs * _EPOCH / (time.perf_counter() - began)

    def memory(self) -> tuple[int, int]:
        """Return the bytes in use on the GPU, by whomever, and all bytes."""
        free, total = torch.cuda.mem_get_info()
        return total - free, total
