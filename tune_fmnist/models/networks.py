"""Networks, built from a configuration: those of the two families of this package, and those of users."""

from __future__ import annotations

import inspect
import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.deep import DeepAnn, DeepCnn
from tune_fmnist.models.layers import Dropout, in_channels_last, is_batch_norm, perceptron, pool_relu
from tune_fmnist.models.own import OwnConfig
from tune_fmnist.models.saved import Arrays, misfit, read


class AnnModel(nn.Module):
    """A multilayer perceptron. Input (n, channels, height, width), output logits (n, classes)."""

    def __init__(self, config: Ann, shape: DataShape) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(math.prod(shape.input_shape), config.hidden1)
        self.hidden2 = nn.Linear(config.hidden1, config.hidden2)
        self.output = nn.Linear(config.hidden2, shape.classes)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        return perceptron(images.flatten(1), (self.hidden1, self.hidden2, self.output), self.dropout)


class CnnModel(nn.Module):
    """A small convolutional network. Input (n, channels, height, width), output logits (n, classes).

    The dense layer takes the blocks' output in the order it lies in memory: row, column, channel.
    """

    def __init__(self, config: Cnn, shape: DataShape) -> None:
        super().__init__()
        colours, height, width = shape.input_shape
        channels = [colours, config.conv1_channels, config.conv2_channels]
        if config.conv3_channels:
            channels.append(config.conv3_channels)
        self.blocks = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels))
        pixels = (height >> len(self.blocks)) * (width >> len(self.blocks))
        self.dense = nn.Linear(channels[-1] * pixels, config.dense_units)
        self.output = nn.Linear(config.dense_units, shape.classes)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        x = in_channels_last(images)
        for convolution in self.blocks:
            x = pool_relu(convolution(x))
        features = x.permute(0, 2, 3, 1).flatten(1)
        return perceptron(self.dropout(features), (self.dense, self.output), self.dropout)


def build(config: Config, shape: DataShape) -> nn.Module:
    """Return a network of ``config`` for images of ``shape``, its weights drawn from PyTorch's global generator."""
    if isinstance(config, Ann):
        return AnnModel(config, shape) if _is_shallow_ann(config) else DeepAnn(config, shape)
    if isinstance(config, Cnn):
        return CnnModel(config, shape) if _is_shallow_cnn(config) else DeepCnn(config, shape)
    if not isinstance(config, OwnConfig):
        raise TypeError(f"{type(config).__name__} is no family's configuration")
    network = type(config).network
    wanted = inspect.signature(network).parameters
    built: nn.Module = network(
        **config.arguments(), **{name: value for name, value in shape._asdict().items() if name in wanted}
    )
    return built


def _is_shallow_ann(config: Ann) -> bool:
    return bool(config.hidden2) and not (config.hidden3 or config.hidden4 or config.batch_norm or config.skip)


def _is_shallow_cnn(config: Cnn) -> bool:
    plain = config.convolutions == 1 and config.kernel_size == 3 and config.head == "dense" and not config.batch_norm
    return plain and config.conv2_pool and not config.conv4_channels


def computes_in_copy(network: nn.Module) -> bool:
    """Return whether a network's layers compute in bfloat16 with weights in bfloat16, as this package's do.

    Batch norms keep float32 weights among them.  A network of a user may have layers that cannot: its weights and
    inputs stay float32, and PyTorch's autocast chooses the type of each operation.
    """
    own = network.network if isinstance(network, Mirrored) else network
    return isinstance(own, AnnModel | CnnModel | DeepAnn | DeepCnn)


def trains_on_one_image(network: nn.Module) -> bool:
    """Return whether a batch of one image will do, as a batch norm's does not; of a user's network, nobody knows."""
    return computes_in_copy(network) and not any(is_batch_norm(module) for module in network.modules())


class Mirrored(nn.Module):
    """A network whose logits, outside of training, are the means of those of an image and of its mirror image.

    Attributes:
        network: the network itself.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        if self.training:
            return logits
        mirrored: Tensor = self.network(images.flip(-1))
        return (logits.float() + mirrored.float()) / 2


def judged(network: nn.Module, config: Config) -> nn.Module:
    """Return a network of ``config`` as it is evaluated and used."""
    return Mirrored(network) if config.mirror else network


def load_trained(folder: Path) -> nn.Module:
    """Return the network that ``saved.save`` wrote, in evaluation mode; errors as of ``saved.read``."""
    config, shape, weights = read(folder)
    try:
        return restored(config, shape, weights)
    except RuntimeError:
        # Files of releases that did not write whose weights they are.
        raise misfit(folder) from None


def restored(config: Config, shape: DataShape, weights: Arrays) -> nn.Module:
    """Return a network of ``config`` with these weights, in evaluation mode."""
    model = build(config, shape)
    model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    return judged(model, config).eval()
