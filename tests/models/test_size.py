"""Sizes of networks, against what is counted by hand and what is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples.resnet import ResNet
from tune_fmnist.base.datasets import KNOWN_SHAPE, DataShape
from tune_fmnist.models.config import Ann, Cnn, Config, to_config
from tune_fmnist.models.networks import build
from tune_fmnist.models.own import name_of, of_network
from tune_fmnist.models.size import multiply_adds, parameters


class Products(nn.Module):
    """A frozen layer, one that is used twice, and products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(784, 16).requires_grad_(requires_grad=False)
        self.twice = nn.Linear(16, 16)
        self.output = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Any:
        x = self.twice(self.twice(self.frozen(images.flatten(1))))
        x = (x.unsqueeze(1) @ torch.ones(len(x), 16, 16)).squeeze()
        return self.output(x)


def own(network: type[nn.Module]) -> Config:
    of_network(network)
    return to_config({"model": name_of(network)})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Ann(), 784 * 256 + 256 * 128 + 128 * 10),
        (Ann(hidden1=64, hidden2=32, skip=True, batch_norm=True), 784 * 64 + 2 * 64 * 32 + 32 * 10),
        (Cnn(), 28**2 * 9 * 32 + 14**2 * 9 * 32 * 64 + 3136 * 128 + 128 * 10),
        (
            Cnn(conv1_channels=8, conv2_channels=16, convolutions=2, kernel_size=5, conv2_pool=False, head="max"),
            25 * (28**2 * 8 + 14**2 * (8 * 8 + 8 * 16 + 16 * 16)) + 16 * 10,
        ),
        (own(Products), 784 * 16 + 2 * 16 * 16 + 16 * 16 + 16 * 10),
        (own(ResNet), 14**2 * 9 * (16 + 2 * 16 * 16) + 7**2 * 9 * (16 * 32 + 2 * 32 * 32) + 32 * 10),
    ],
)
def test_multiply_adds_are_those_of_an_image(config: Config, expected: int) -> None:
    assert multiply_adds(config, KNOWN_SHAPE) == expected


@pytest.mark.parametrize("config", [Ann(), Cnn(batch_norm=True, head="average"), own(Products), own(ResNet)])
@pytest.mark.parametrize("shape", [KNOWN_SHAPE, DataShape((1, 28, 28), 7)])
def test_parameters_are_those_that_are_trained(config: Config, shape: DataShape) -> None:
    network = build(config, shape) if "Products" not in config.model else Products()
    assert parameters(config, shape) == sum(p.numel() for p in network.parameters() if p.requires_grad)
