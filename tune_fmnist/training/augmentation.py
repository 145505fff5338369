"""What is changed in the training images at each step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tune_fmnist.models.config import Config


def augment(images: Tensor, config: Config) -> Tensor:
    """Mirror each image with probability one half; move the batch by up to ``shift`` pixels each way."""
    if config.flip:
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if config.shift:
        side = images.shape[-1]
        down, right = torch.randint(0, 2 * config.shift + 1, (2,)).tolist()
        padded = functional.pad(images, [config.shift] * 4, value=-1.0)
        images = padded[:, :, down : down + side, right : right + side]
    return images
