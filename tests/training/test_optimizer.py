from __future__ import annotations

import pytest
import torch

from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.networks import build
from tune_fmnist.training.optimizer import Optimizer


def reference(config: Config, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    spared = [parameter for parameter in parameters if config.spare_biases and parameter.ndim < 2]
    groups = [
        {"params": [p for p in parameters if not any(p is other for other in spared)]},
        {"params": spared, "weight_decay": 0.0},
    ]
    decay = config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, 0.01, config.momentum, weight_decay=decay, nesterov=config.nesterov)
    return torch.optim.AdamW(groups, 0.01, weight_decay=decay)


@pytest.mark.parametrize(
    "config",
    [
        Ann(dropout=0.0),
        Ann(dropout=0.0, weight_decay=0.1),
        Ann(dropout=0.0, optimizer="sgd"),
        Cnn(dropout=0.0, optimizer="sgd", momentum=0.9, weight_decay=0.1),
        Ann(dropout=0.0, weight_decay=0.5, spare_biases=True),
        Cnn(dropout=0.0, optimizer="sgd", momentum=0.9, nesterov=True, weight_decay=0.5, spare_biases=True),
    ],
)
def test_steps_are_those_of_pytorchs_optimizer(config: Config) -> None:
    own, plain = build(config, KNOWN_SHAPE), build(config, KNOWN_SHAPE)
    plain.load_state_dict(own.state_dict())
    optimizer, pytorchs = Optimizer(own, config, torch.float32), reference(config, list(plain.parameters()))
    for _ in range(5):
        images, gradient = torch.rand(8, 1, 28, 28), torch.randn(8, 10)
        optimizer.step(own(images), gradient, 0.01)
        pytorchs.zero_grad()
        plain(images).backward(gradient)
        pytorchs.step()
    optimizer.release()
    for mine, theirs in zip(own.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_steps_too_small_for_bfloat16_add_up() -> None:
    config = Ann(hidden1=8, hidden2=8, dropout=0.0, optimizer="sgd")
    model = build(config, KNOWN_SHAPE)
    optimizer = Optimizer(model, config, torch.bfloat16)
    before = model.output.bias.detach().clone()
    gradient = torch.full((1, 10), -1.0, dtype=torch.bfloat16)
    for _ in range(200):
        optimizer.step(model(torch.zeros(1, 1, 28, 28, dtype=torch.bfloat16)), gradient, 5e-4)
    assert model.output.bias.dtype == torch.bfloat16
    optimizer.release()
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    torch.testing.assert_close(model.output.bias.detach(), before.float() + 0.1, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "config",
    [
        Ann(dropout=0.0, weight_decay=0.1),
        Ann(optimizer="sgd", momentum=0.9),
        Ann(weight_decay=0.1, spare_biases=True, average=0.5),
    ],
)
def test_what_is_restored_goes_on_to_the_bit(config: Config, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    batches = [(torch.rand(8, 1, 28, 28).to(dtype), torch.randn(8, 10).to(dtype)) for _ in range(6)]
    first, second = build(config, KNOWN_SHAPE).eval(), build(config, KNOWN_SHAPE).eval()
    one, other = Optimizer(first, config, dtype), Optimizer(second, config, dtype)
    for images, gradient in batches[:3]:
        one.step(first(images), gradient, 0.01)
        one.average(0.5)
    kept = {name: tensor.clone() for name, tensor in one.state().items()}
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    # Steps of its own first: all of them must be forgotten.
    for images, gradient in batches[4:]:
        other.step(second(images), gradient, 0.01)
        other.average(0.5)
    other.restore(kept)
    for images, gradient in batches[3:]:
        outputs = first(images), second(images)
        assert torch.equal(*outputs), "restored are the weights that the model computes with"
        for optimizer, output in zip((one, other), outputs, strict=True):
            optimizer.step(output, gradient, 0.01)
            optimizer.average(0.25)
    states = one.state(), other.state()
    assert all(torch.equal(states[0][name], states[1][name]) for name in kept)
    assert not any(torch.equal(states[0][name], kept[name]) for name in kept), "a state changes with the next step"
    for model, optimizer in ((first, one), (second, other)):
        optimizer.release()
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (Ann(), {"weights", "mean", "square", "steps"}),
        (Ann(optimizer="sgd"), {"weights", "momentum"}),
        (Ann(optimizer="sgd", average=1.0), {"weights", "momentum", "average"}),
    ],
)
def test_a_state_is_only_what_its_optimizer_uses(config: Config, names: set[str]) -> None:
    assert Optimizer(build(config, KNOWN_SHAPE), config, torch.float32).state().keys() == names
