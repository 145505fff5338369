"""Networks of users in training: what they remember is resumed, and what is wrong with them is told at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from examples.resnet import ResNet
from tune_fmnist import data
from tune_fmnist.base.errors import InputError
from tune_fmnist.models.config import Config, to_config
from tune_fmnist.models.own import OwnConfig, name_of, of_network
from tune_fmnist.training.device import DeviceImages, to_device
from tune_fmnist.training.first_step import check
from tune_fmnist.training.fit import State, fit

CPU = torch.device("cpu")


class Odd(nn.Module):
    """Frozen, unused and shared parameters, random numbers, a count of its own, and a layer for float32 alone."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(784, units)
        self.norm = nn.BatchNorm1d(units)
        self.frozen = nn.Linear(units, units).requires_grad_(requires_grad=False)
        self.unused = nn.Linear(units, units)
        self.shared = self.last = nn.Linear(units, units)
        self.output = nn.Linear(units, 10)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.calls = self.calls + 1
        x = self.norm(self.first(images.flatten(1))) + torch.randn(len(images), 1)
        # There is none for bfloat16.
        noise = torch.linalg.inv(torch.eye(2, device=images.device))[0, 0]
        return self.output(self.shared(self.last(self.frozen(x).relu())) * noise)


def config_of(network: type[nn.Module], **values: Any) -> Config:
    of_network(network)
    return to_config({"model": name_of(network), **values})


@pytest.fixture(params=["float32", "bfloat16"])
def images(request: pytest.FixtureRequest, small_split: data.Split) -> tuple[DeviceImages, DeviceImages]:
    part = data.Images(small_split.train.images[:513], small_split.train.labels[:513], 10)
    return to_device(part, CPU, request.param), to_device(small_split.validation, CPU, request.param)


@pytest.mark.parametrize("network", [ResNet, Odd])
def test_a_training_that_was_cut_off_gives_the_same_model_to_the_bit(
    network: type[nn.Module], images: tuple[DeviceImages, DeviceImages]
) -> None:
    # With a batch of 64, one image is left over, on which batch norm cannot train.
    config = config_of(network, schedule="cosine")
    states: list[State] = []

    def keep(metrics: object, state: State) -> None:
        states.append({name: value.clone() for name, value in state.items()})

    whole = fit(config, *images, epochs=3, horizon=3, seed=5, on_epoch=keep)
    again = fit(config, *images, epochs=3, horizon=3, seed=5, after=1, state=states[0])
    assert any(name.startswith("buffer.") for name in states[0])
    for (name, one), (_, other) in zip(whole.model.state_dict().items(), again.model.state_dict().items(), strict=True):
        assert torch.equal(one, other), name
    assert whole.last.val_loss == again.last.val_loss


def test_only_what_is_trained_changes_and_counts(images: tuple[DeviceImages, DeviceImages]) -> None:
    config = config_of(Odd)
    kept: list[State] = []
    fitted = fit(config, *images, epochs=1, horizon=1, seed=5, on_epoch=lambda metrics, state: kept.append(state))
    torch.manual_seed(0)
    model: Any = fitted.model
    assert model.calls == 8
    assert model.first.weight.dtype == torch.float32
    assert fitted.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert fitted.parameters < sum(p.numel() for p in model.parameters())


class NoParameters(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10]


class WrongShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 7)

    def forward(self, images: Tensor) -> Any:
        return self.layer(images.flatten(1))


class Raises(WrongShape):
    def forward(self, images: Tensor) -> Any:
        return self.layer(images)


class RaisesWhenBuilt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("no such\nlayer")


class Tuple(WrongShape):
    def forward(self, images: Tensor) -> Any:
        return super().forward(images), 0


class Doubles(WrongShape):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10).double()


class Detached(WrongShape):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).detach()


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (NoParameters, "NoParameters has no parameter to train; give it a layer that has weights"),
        (WrongShape, "WrongShape gives of shape (64, 7) for 64 images, not logits of shape (64, 10)"),
        (Raises, "Raises raised RuntimeError on images of shape (64, 1, 28, 28): "),
        (RaisesWhenBuilt, "RaisesWhenBuilt raised RuntimeError when it was built: no such layer"),
        (Tuple, "Tuple gives a tuple for 64 images"),
        (Doubles, "the parameter 'layer.weight' of Doubles is torch.float64, not float32"),
        (Detached, "the output of Detached does not depend on its parameters"),
    ],
)
def test_what_is_wrong_with_a_network_is_one_line(small_split: data.Split, network: type[nn.Module], line: str) -> None:
    config = config_of(network)
    assert isinstance(config, OwnConfig)
    with pytest.raises(InputError) as caught:
        check(config, small_split.train)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_line_of_an_error_is_that_of_the_users_code(small_split: data.Split) -> None:
    config = config_of(Raises)
    assert isinstance(config, OwnConfig)
    with pytest.raises(InputError, match=rf"{__file__}:\d+: --model: "):
        check(config, small_split.train)
