"""The families' networks beyond their baselines: more layers, batch norm, shortcuts, and global pooling.

Matrix products and convolutions compute in the type of their weights.  A batch norm computes in float32, with
parameters and running means in float32, and gives the type of its input back.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import Ann, Cnn
from tune_fmnist.models.layers import Dropout, in_channels_last, perceptron, pool, pool_relu


class DeepAnn(nn.Module):
    """A perceptron of one to four hidden layers. Input (n, channels, height, width), output logits (n, classes).

    A hidden layer is linear, then batch norm if there is any, ReLU and dropout.  With ``skip``, each but the first adds
    its input, through a linear map without bias where the widths differ (He et al. 2016).
    """

    def __init__(self, config: Ann, shape: DataShape) -> None:
        super().__init__()
        hidden = (config.hidden1, config.hidden2, config.hidden3, config.hidden4)
        widths = [math.prod(shape.input_shape), *(units for units in hidden if units)]
        # A norm subtracts what a bias adds.
        self.hidden = nn.ModuleList(
            nn.Linear(before, after, bias=not config.batch_norm) for before, after in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(units) for units in widths[1:] if config.batch_norm)
        self.shortcuts = nn.ModuleList(
            nn.Identity() if before == after else nn.Linear(before, after, bias=False)
            for before, after in pairwise(widths[1:])
            if config.skip
        )
        self.output = nn.Linear(widths[-1], shape.classes)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        if not self.norms and not self.shortcuts:
            return perceptron(x, [*self.hidden, self.output], self.dropout)
        for place, layer in enumerate(self.hidden):
            y = layer(x)
            if self.norms:
                y = self.norms[place](y)
            y = self.dropout(y.relu())
            x = y + self.shortcuts[place - 1](x) if self.shortcuts and place else y
        logits: Tensor = self.output(x)
        return logits


class Stage(nn.Module):
    """A convolution that halves the image, if it is to, and further ones of as many channels.

    Pooling comes before batch norm, which then has a quarter of the values to see (as in Jordan 2024).  With
    ``residual``, what the further convolutions give is added to what they get.
    """

    def __init__(self, config: Cnn, before: int, after: int, halves: bool) -> None:
        super().__init__()
        size = config.kernel_size
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, after, size, padding=size // 2, bias=not config.batch_norm)
            for channels in (before, *[after] * (config.convolutions - 1))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in self.convolutions if config.batch_norm)
        self.halves, self.residual = halves, config.residual and len(self.convolutions) > 1

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolutions[0](x)
        if not self.norms:
            x = pool_relu(x) if self.halves else x.relu()
        else:
            x = self.norms[0](pool(x) if self.halves else x).relu()
        y = x
        for place in range(1, len(self.convolutions)):
            y = self.convolutions[place](y)
            y = (self.norms[place](y) if self.norms else y).relu()
        return x + y if self.residual else y


def _halves(stages: int, pixels: int, second: bool) -> list[bool]:
    """Return which stages halve images of so many pixels: all, but for the ``second``; a single pixel is kept."""
    halves = []
    for place in range(stages):
        halves.append((place != 1 or second) and pixels > 1)
        pixels >>= halves[-1]
    return halves


class DeepCnn(nn.Module):
    """Two to four stages of convolutions, and a head. Input (n, channels, height, width), output logits (n, classes).

    Each stage halves height and width, the second one if the configuration says so; a single pixel stays one.

    The head is that of the baseline, a dense layer with dropout before and after it, or the mean or the largest value
    of each channel with dropout after it.  The dense layer takes the values in the order row, column, channel.
    """

    def __init__(self, config: Cnn, shape: DataShape) -> None:
        super().__init__()
        colours, height, width = shape.input_shape
        all_channels = (config.conv1_channels, config.conv2_channels, config.conv3_channels, config.conv4_channels)
        channels = [colours, *(count for count in all_channels if count)]
        halves = _halves(len(channels) - 1, min(height, width), config.conv2_pool)
        self.stages = nn.Sequential(
            *(Stage(config, *of, halved) for of, halved in zip(pairwise(channels), halves, strict=True))
        )
        self.head, units = config.head, channels[-1]
        if self.head == "dense":
            pixels = (height >> sum(halves)) * (width >> sum(halves))
            self.dense, units = nn.Linear(units * pixels, config.dense_units), config.dense_units
        self.output = nn.Linear(units, shape.classes)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.stages(in_channels_last(images))
        if self.head == "dense":
            features = self.dropout(x.permute(0, 2, 3, 1).flatten(1))
            return perceptron(features, (self.dense, self.output), self.dropout)
        pooled = x.mean((2, 3)) if self.head == "average" else x.amax((2, 3))
        logits: Tensor = self.output(self.dropout(pooled))
        return logits
