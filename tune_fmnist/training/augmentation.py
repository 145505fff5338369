"""What is changed in the training images at each step."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from tune_fmnist.models.config import Config

_BLACK: Final = -1.0
_ERASED: Final = (0.02, 1 / 3)
"""Least and largest share of an image that is erased."""
_LENGTHENED: Final = 10 / 3
"""How many times an erased rectangle may be as high as it is wide, or as wide as it is high."""


class Augmentation:
    """Mirrors, moves and erases training images, as a configuration says.

    ``flip`` and ``shift`` are drawn in each step.  What else there is to draw is drawn for all images at the start of
    an epoch, which takes less time, into tensors that stay in their places, so that a captured step reads them.  All
    is drawn from PyTorch's generator.  On a GPU only ``shift`` waits: its offset is drawn on the processor.

    Args:
        config: ``flip``, ``alternating_flip``, ``shift``, ``image_shift`` and ``erasing``.
        images: all training images (n, channels, height, width) in (-1, 1).
    """

    def __init__(self, config: Config, images: Tensor) -> None:
        self._config = config
        self._count, (self._height, self._width), self._device = len(images), images.shape[2:], images.device
        # Drawn on a processor, where the weights are: it is the same whatever epoch comes next.
        self._first = torch.rand(self._count) < 0.5 if config.alternating_flip else None
        self._drawn: dict[str, Tensor] = {}

    @property
    def is_needed(self) -> bool:
        """Whether it changes images at all."""
        return bool(self._config.flip or self._config.shift or self._config.image_shift or self._config.erasing)

    def begin(self, epoch: int) -> None:
        """Draw what is drawn once an epoch; ``epoch`` is counted from 1."""
        new: dict[str, Tensor] = {}
        if self._first is not None:
            new["mirrored"] = self._first if epoch % 2 else ~self._first
        if most := self._config.image_shift:
            new["down"], new["right"] = torch.randint(0, 2 * most + 1, (2, self._count), device=self._device)
        if self._config.erasing:
            new |= self._rectangles(self._config.erasing)
        for name, value in new.items():
            self._drawn.setdefault(name, torch.empty_like(value, device=self._device)).copy_(value)

    def __call__(self, images: Tensor, places: Tensor) -> Tensor:
        """Return changed images (b, channels, height, width), which lie at these places (b,) among all."""
        config = self._config
        of = {name: value.index_select(0, places) for name, value in self._drawn.items()}
        if config.flip:
            mirrored = (
                of["mirrored"] if self._first is not None else torch.rand(len(images), device=images.device) < 0.5
            )
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        if config.shift:
            down, right = torch.randint(0, 2 * config.shift + 1, (2,)).tolist()
            images = _places(images, config.shift)[:, :, down, right]
        if config.image_shift:
            index = torch.arange(len(images), device=images.device)
            images = _places(images, config.image_shift)[index, :, of["down"], of["right"]]
        if config.erasing:
            inside = of["rows"].view(-1, 1, self._height, 1) & of["columns"].view(-1, 1, 1, self._width)
            images = torch.where(inside, of["grey"].to(images.dtype).view(-1, 1, 1, 1), images)
        return images

    def _rectangles(self, probability: float) -> dict[str, Tensor]:
        """Draw each image's rectangle, of random size, form, place and grey; most images have an empty one."""
        size, form, row, column, grey, kept = torch.rand(6, self._count, 1, device=self._device)
        area = size * (_ERASED[1] - _ERASED[0]) + _ERASED[0]
        longer = torch.exp((form - 0.5) * math.log(_LENGTHENED))
        tall, wide = (area.sqrt() * longer).clamp_max(1.0), (area.sqrt() / longer).clamp_max(1.0)
        return {
            "rows": _within(row, tall * (kept < probability), self._height),
            "columns": _within(column, wide, self._width),
            "grey": 2 * grey - 1,
        }


def _places(images: Tensor, most: int) -> Tensor:
    """Return images moved to all places up to ``most`` pixels away, (b, channels, down, right, height, width)."""
    padded = functional.pad(images, [most] * 4, value=_BLACK)
    return padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)


def _within(place: Tensor, length: Tensor, side: int) -> Tensor:
    """Return which of ``side`` pixels (n, side) lie in a stretch of this length (n, 1); both are shares of the side."""
    start = place * (1 - length)
    middle = (torch.arange(side, device=place.device) + 0.5) / side
    return (middle >= start) & (middle < start + length)
