"""Networks beyond the baselines: what they compute, how many parameters they have, and in which types they train."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tune_fmnist.base.datasets import KNOWN_SHAPE, DataShape
from tune_fmnist.data.images import Images
from tune_fmnist.models.config import Ann, Cnn, Config, to_config
from tune_fmnist.models.deep import DeepAnn, DeepCnn
from tune_fmnist.models.layers import is_batch_norm
from tune_fmnist.models.networks import AnnModel, CnnModel, build
from tune_fmnist.training.device import to_device
from tune_fmnist.training.fit import State, fit

DEEP: list[Config] = [
    Ann(hidden2=0),
    Ann(hidden1=40, hidden2=40, hidden3=30, hidden4=20, dropout=0.0),
    Ann(hidden1=40, hidden2=40, hidden3=30, batch_norm=True, skip=True, dropout=0.2),
    Ann(hidden1=8, hidden2=8, skip=True),
    Cnn(conv1_channels=4, conv2_channels=6, kernel_size=5, convolutions=2, dense_units=16),
    Cnn(conv1_channels=4, conv2_channels=6, convolutions=3, residual=True, head="max", conv2_pool=False),
    Cnn(conv1_channels=4, conv2_channels=6, convolutions=2, batch_norm=True, residual=True, head="average"),
    Cnn(conv1_channels=4, conv2_channels=5, conv3_channels=6, conv4_channels=7, batch_norm=True, head="max"),
    Cnn(conv1_channels=4, conv2_channels=5, conv3_channels=6, batch_norm=True, conv2_pool=False, dense_units=16),
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("config", DEEP)
def test_one_logit_for_each_class_of_images_of_any_shape(config: Config) -> None:
    assert build(config, KNOWN_SHAPE)(torch.rand(6, 1, 28, 28)).shape == (6, 10)
    assert build(config, DataShape((3, 20, 17), 7))(torch.rand(6, 3, 20, 17)).shape == (6, 7)
    small = build(config, DataShape((1, 8, 8), 2)).train()(torch.rand(6, 1, 8, 8))
    assert bool(small.isfinite().all())
    assert len(small.unique(dim=0)) == 6, "a network that sees something"


def test_the_baselines_are_built_as_before() -> None:
    for config, network in ((Ann(), AnnModel), (Cnn(), CnnModel), (Cnn(conv3_channels=8, residual=True), CnnModel)):
        assert type(build(config, KNOWN_SHAPE)) is network
    assert {type(build(config, KNOWN_SHAPE)) for config in DEEP} == {DeepAnn, DeepCnn}


@pytest.mark.parametrize(("config", "network"), [(Ann(), DeepAnn), (Cnn(), DeepCnn), (Cnn(conv3_channels=5), DeepCnn)])
def test_with_the_baselines_settings_they_compute_what_it_does(config: Any, network: Any) -> None:
    shallow, deep = build(config, KNOWN_SHAPE).eval(), network(config, KNOWN_SHAPE).eval()
    weights = zip(deep.state_dict(), shallow.state_dict().values(), strict=True)
    deep.load_state_dict(dict(weights))
    images = torch.rand(6, 1, 28, 28)
    assert torch.equal(deep(images), shallow(images))


def plain_ann(config: Ann, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Write a perceptron out, in training and without dropout."""
    for place in range(sum(1 for name in weights if name.startswith("hidden.") and name.endswith("weight"))):
        y = functional.linear(x, weights[f"hidden.{place}.weight"], weights.get(f"hidden.{place}.bias"))
        if config.batch_norm:
            y = (y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-5).sqrt()
            y = y * weights[f"norms.{place}.weight"] + weights[f"norms.{place}.bias"]
        y = y.relu()
        if config.skip and place:
            shortcut = weights.get(f"shortcuts.{place - 1}.weight")
            y = y + (x if shortcut is None else x @ shortcut.t())
        x = y
    return functional.linear(x, weights["output.weight"], weights["output.bias"])


@pytest.mark.parametrize("changes", [{}, {"batch_norm": True}, {"skip": True}, {"batch_norm": True, "skip": True}])
def test_a_perceptron_is_its_layers_written_out(changes: dict[str, Any]) -> None:
    config = Ann(hidden1=12, hidden2=12, hidden3=9, hidden4=8, dropout=0.0, **changes)
    model = build(config, KNOWN_SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images = torch.rand(7, 1, 28, 28)
    expected = plain_ann(config, dict(model.named_parameters()), images.flatten(1))
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def plain_cnn(config: Cnn, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """Write a convolutional network out, in training and without dropout."""

    def convolved(name: str, x: Tensor) -> Tensor:
        bias = weights.get(f"{name}.bias")
        return functional.conv2d(x, weights[f"{name}.weight"], bias, padding=config.kernel_size // 2)

    def normed(name: str, x: Tensor) -> Tensor:
        if not config.batch_norm:
            return x
        return functional.batch_norm(x, None, None, weights[f"{name}.weight"], weights[f"{name}.bias"], training=True)

    for stage in range(2 + bool(config.conv3_channels) + bool(config.conv4_channels)):
        x = convolved(f"stages.{stage}.convolutions.0", x)
        if stage != 1 or config.conv2_pool:
            x = functional.max_pool2d(x, 2)
        x = y = normed(f"stages.{stage}.norms.0", x).relu()
        for place in range(1, config.convolutions):
            y = convolved(f"stages.{stage}.convolutions.{place}", y)
            y = normed(f"stages.{stage}.norms.{place}", y).relu()
        x = x + y if config.residual and config.convolutions > 1 else y
    if config.head == "dense":
        x = x.permute(0, 2, 3, 1).flatten(1)
        x = functional.linear(x, weights["dense.weight"], weights["dense.bias"]).relu()
    else:
        x = x.mean((2, 3)) if config.head == "average" else x.flatten(2).max(2).values
    return functional.linear(x, weights["output.weight"], weights["output.bias"])


@pytest.mark.parametrize("config", [config for config in DEEP if isinstance(config, Cnn)])
def test_a_convolutional_network_is_its_layers_written_out_with_its_gradients(config: Cnn) -> None:
    config = config.model_copy(update={"dropout": 0.0})
    model = build(config, KNOWN_SHAPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    images = torch.rand(7, 1, 28, 28)
    named = dict(model.named_parameters())
    own, plain = model(images), plain_cnn(config, named, images)
    torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-4)
    gradient = torch.randn_like(plain)
    gradients = (torch.autograd.grad(output, list(named.values()), gradient) for output in (own, plain))
    for name, (one, other) in zip(named, zip(*gradients, strict=True), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=name)


def test_parameters_are_counted_as_by_hand() -> None:
    residual = Cnn(
        conv1_channels=32, conv2_channels=64, conv2_pool=False, conv3_channels=128, convolutions=3, residual=True,
        batch_norm=True, head="max",
    )  # fmt: skip
    convolutions = 9 * (32 + 32 * 64 + 64 * 128 + 2 * (32 * 32 + 64 * 64 + 128 * 128))
    assert count(residual) == convolutions + 3 * 2 * (32 + 64 + 128) + 128 * 10 + 10
    perceptron = Ann(hidden1=1024, hidden2=512, hidden3=256, batch_norm=True)
    assert count(perceptron) == 784 * 1024 + 1024 * 512 + 512 * 256 + 2 * (1024 + 512 + 256) + 256 * 10 + 10
    assert count(Ann(hidden1=64, hidden2=64, hidden3=32, skip=True)) == count(
        Ann(hidden1=64, hidden2=64, hidden3=32)
    ) + (64 * 32)


def count(config: Config) -> int:
    return sum(parameter.numel() for parameter in build(config, KNOWN_SHAPE).parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", DEEP)
def test_they_learn_and_go_on_to_the_bit(config: Config, precision: Any, training: Images) -> None:
    """A batch of one image is left over, on which a batch norm cannot train."""
    config = to_config(config.model_dump() | {"learning_rate": 3e-3, "average": 0.5})
    data = to_device(Images(training.images[:513], training.labels[:513], 10), torch.device("cpu"), precision)
    states: list[State] = []
    losses: list[float] = []
    types: set[tuple[bool, torch.dtype]] = set()

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if list(module.parameters(recurse=False)):
            types.update((is_batch_norm(module), tensor.dtype) for tensor in module.state_dict().values())
            types.add((False, output.dtype))

    def keep(metrics: Any, state: State) -> None:
        losses.append(metrics.train_loss)
        states.append({name: value.clone() for name, value in state.items()})

    noting = nn.modules.module.register_module_forward_hook(note)
    try:
        whole = fit(config, data, data, epochs=3, horizon=3, seed=5, on_epoch=keep)
    finally:
        noting.remove()
    assert losses[2] < losses[1] < losses[0]
    computed = getattr(torch, precision)
    assert {kind for norm, kind in types if not norm} <= {computed}
    assert {kind for norm, kind in types if norm} <= {torch.float32, torch.int64}
    again = fit(config, data, data, epochs=3, horizon=3, seed=5, after=1, state=states[0])
    for (name, one), other in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert one.dtype in (torch.float32, torch.int64), name
        assert torch.equal(one, other), name
    assert whole.last.val_loss == again.last.val_loss


def test_both_precisions_agree_roughly(training: Images) -> None:
    images = Images(training.images[:1000], training.labels[:1000], 10)
    for config in DEEP:
        exact = to_config(config.model_dump() | {"dropout": 0.0, "learning_rate": 1e-4})
        losses = []
        for precision in ("float32", "bfloat16"):
            data = to_device(images, torch.device("cpu"), precision)  # type: ignore[arg-type]
            losses.append(fit(exact, data, data, epochs=1, horizon=1, seed=0).last.val_loss)
        assert losses[1] == pytest.approx(losses[0], rel=0.03), config
