"""The device that a process trains on: its precision, and images on it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.base.vocabulary import Precision
from tune_fmnist.data.images import Images


class DeviceImages(NamedTuple):
    """Images ready to train on.

    Attributes:
        images: (n, channels, height, width) in (-1, 1), in the computing type; of several channels, the last in memory.
        labels: (n,) int64.
        classes: how many there are.
    """

    images: Tensor
    labels: Tensor
    classes: int

    @property
    def shape(self) -> DataShape:
        """What a network is built for that takes these images."""
        _, channels, height, width = self.images.shape
        return DataShape((channels, height, width), self.classes)


def use_device(*, gpu: bool, threads: int) -> tuple[torch.device, Precision]:
    """Return the device that this process trains on and the type that it computes in; compute with so many threads.

    Args:
        gpu: whether it is the GPU that this process sees.
        threads: of the processor, 1 or more.
    """
    torch.set_num_threads(threads)
    if gpu:
        # Of several ways to compute a convolution, one that gives the same sums each time.
        torch.backends.cudnn.deterministic = True
    device = torch.device("cuda" if gpu else "cpu")
    return device, choose_precision(device)


def choose_precision(device: torch.device) -> Precision:
    """Return bfloat16 where the hardware multiplies it natively, else float32.

    The processor is asked, not timed, so that a search gives the same result twice.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bfloat16" if native else "float32"


def to_device(data: Images, device: torch.device, precision: Precision) -> DeviceImages:
    """Copy images to a device once, scaled to (-1, 1) in the computing type."""
    pixels = torch.tensor(data.images).to(device)
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2)
    scaled = pixels.to(torch.float32).div_(127.5).sub_(1.0)
    labels = torch.tensor(data.labels.astype(np.int64)).to(device)
    return DeviceImages(scaled.to(getattr(torch, precision)), labels, data.classes)


def autocast(images: Tensor) -> torch.autocast:
    """Return the context in which a model computes in the images' type."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16)
