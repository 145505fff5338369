from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.networks import build

CONFIGS = [
    Ann(),
    Ann(hidden1=33, hidden2=7, dropout=0.0),
    Cnn(),
    Cnn(conv1_channels=3, conv2_channels=5, conv3_channels=7),
]


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 28, 28) * 2 - 1


@pytest.mark.parametrize("config", CONFIGS)
def test_one_logit_for_each_class(config: Config, images: torch.Tensor) -> None:
    assert build(config, KNOWN_SHAPE)(images).shape == (6, 10)


@pytest.mark.parametrize(("config", "count"), [(Ann(), 235_146), (Cnn(), 421_642)])
def test_the_baselines_have_as_many_weights_as_their_report_says(config: Config, count: int) -> None:
    assert sum(parameter.numel() for parameter in build(config, KNOWN_SHAPE).parameters()) == count


def test_the_anns_weights_work_in_plain_pytorch(images: torch.Tensor) -> None:
    model = build(Ann(), KNOWN_SHAPE).eval()
    plain = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden1=nn.Linear(784, 256), relu1=nn.ReLU(), dropout1=nn.Dropout(0.3),
            hidden2=nn.Linear(256, 128), relu2=nn.ReLU(), dropout2=nn.Dropout(0.3),
            output=nn.Linear(128, 10),
        )
    ).eval()  # fmt: skip
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(images), plain(images))


def test_the_cnns_weights_work_in_plain_pytorch(images: torch.Tensor) -> None:
    model = build(Cnn(), KNOWN_SHAPE).eval()
    conv1, conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
    dense, output = nn.Linear(7 * 7 * 64, 128), nn.Linear(128, 10)
    nn.ModuleDict({"blocks": nn.ModuleList([conv1, conv2]), "dense": dense, "output": output}).load_state_dict(
        model.state_dict()
    )
    blocks = nn.Sequential(conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2))
    plain = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), dense, nn.ReLU(), nn.Dropout(0.5), output).eval()
    # Channels last: so the model's dense layer counts them.
    torch.testing.assert_close(model(images), plain(blocks(images).permute(0, 2, 3, 1)))


def test_dropout_only_in_training(images: torch.Tensor) -> None:
    for config in (Ann(), Cnn()):
        model = build(config, KNOWN_SHAPE)
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))
