"""The moving average of the weights, label smoothing, mirrored evaluation, and the one-cycle schedule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from examples.resnet import ResNet
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.data.images import Images, Split
from tune_fmnist.models.config import Ann, Cnn, Config, to_config
from tune_fmnist.models.networks import build, restored
from tune_fmnist.models.own import name_of, of_network
from tune_fmnist.training.device import DeviceImages, to_device
from tune_fmnist.training.fit import EpochMetrics, State, fit, predict, score
from tune_fmnist.training.optimizer import Optimizer, share_of_average

CPU = torch.device("cpu")


@pytest.fixture(params=["float32", "bfloat16"])
def data(request: pytest.FixtureRequest, small_split: Split) -> tuple[DeviceImages, DeviceImages]:
    part = Images(small_split.train.images[:500], small_split.train.labels[:500], 10)
    return to_device(part, CPU, request.param), to_device(small_split.validation, CPU, request.param)


def own(**values: Any) -> Config:
    of_network(ResNet)
    return to_config({"model": name_of(ResNet), **values})


def trained(
    config: Config, data: tuple[DeviceImages, DeviceImages], **options: Any
) -> tuple[nn.Module, EpochMetrics, list[State]]:
    states: list[State] = []

    def keep(metrics: EpochMetrics, state: State) -> None:
        states.append({name: value.clone() for name, value in state.items()})

    arguments: dict[str, Any] = {"epochs": 3, "horizon": 3, "seed": 5} | options
    fitted = fit(config, *data, on_epoch=keep, **arguments)
    return fitted.model, fitted.last, states


def test_the_shares_are_those_of_a_moving_average_without_what_was_before() -> None:
    average, decay, values = 1000.0, 0.9, [1.0, 5.0, -2.0, 4.0]
    for step, value in enumerate(values, 1):
        average += share_of_average(decay, step) * (value - average)
    weights = [decay**age for age in (3, 2, 1, 0)]
    assert average == pytest.approx(np.average(values, weights=weights))


@pytest.mark.parametrize("config", [Ann(hidden1=32, hidden2=16), Cnn(conv1_channels=4, conv2_channels=4), own(width=8)])
def test_an_average_is_evaluated_and_saved_and_changes_no_step(
    config: Config, data: tuple[DeviceImages, DeviceImages]
) -> None:
    plain, last, states = trained(config, data)
    averaging = to_config(config.model_dump() | {"average": 0.5})
    averaged, of_average, kept = trained(averaging, data)
    for before, after in zip(states, kept, strict=True):
        assert all(torch.equal(value, after[name]) for name, value in before.items()), "the steps are the same"
    vector = torch.cat([parameter.detach().flatten() for parameter in averaged.parameters()])
    assert torch.equal(vector.sort().values, kept[-1]["average"].sort().values)
    assert last.train_loss == of_average.train_loss
    assert last.val_loss != of_average.val_loss
    for name, buffer in averaged.named_buffers():
        before_it = dict(plain.named_buffers())[name]
        assert torch.equal(buffer, before_it) != buffer.is_floating_point(), name
    # What is returned is what was evaluated.
    loss, accuracy = score(predict(averaged, data[1]), data[1].labels)
    assert (loss, accuracy) == pytest.approx((of_average.val_loss, of_average.val_accuracy), rel=2e-2)


def test_an_average_is_of_the_weights_after_each_step_with_its_half_life(training: Images) -> None:
    data = to_device(Images(training.images[:300], training.labels[:300], 10), CPU, "float32")
    taken: list[torch.Tensor] = []

    class Noting(Optimizer):
        def average(self, share: float | torch.Tensor) -> None:
            taken.append(self.state()["weights"].clone())
            super().average(share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tune_fmnist.training.fit.Optimizer", Noting)
        _, _, states = trained(Ann(hidden1=8, hidden2=8, average=2.0, batch_size=100), (data, data), horizon=4)
    assert len(taken) == 9
    # Two epochs of three steps.
    shares = 0.5 ** (torch.arange(8, -1, -1) / 6)
    torch.testing.assert_close(states[-1]["average"], (shares[:, None] * torch.stack(taken)).sum(0) / shares.sum())


EVERYTHING = {
    "schedule": "one_cycle",
    "warm_up": 0.3,
    "label_smoothing": 0.1,
    "average": 0.5,
    "flip": True,
    "alternating_flip": True,
    "image_shift": 2,
    "erasing": 0.5,
    "weight_decay": 0.05,
    "spare_biases": True,
    "mirror": True,
}
SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.02}


@pytest.mark.parametrize("changes", [EVERYTHING, EVERYTHING | SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("config", [Ann(hidden1=32, hidden2=16), Cnn(conv1_channels=4, conv2_channels=4), own(width=8)])
def test_all_together_goes_on_to_the_bit_after_an_interruption(
    config: Config, changes: dict[str, Any], data: tuple[DeviceImages, DeviceImages]
) -> None:
    config = to_config(config.model_dump() | changes)
    whole, last, states = trained(config, data)
    torch.rand(5)
    again, again_last, rest = trained(config, data, after=1, state=states[0])
    assert all(torch.equal(rest[-1][name], value) for name, value in states[-1].items())
    for (name, one), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert (last.train_loss, last.val_loss) == (again_last.train_loss, again_last.val_loss)


@pytest.mark.parametrize("key", sorted(EVERYTHING.keys() - {"flip", "schedule"}))
def test_each_setting_takes_part(key: str, small_split: Split) -> None:
    data = (to_device(small_split.train, CPU, "float32"), to_device(small_split.validation, CPU, "float32"))
    needed = {"flip": True, "schedule": "one_cycle", "weight_decay": 0.05}
    without = trained(
        to_config({"model": "ann", **needed} | ({"weight_decay": 0.0} if key == "weight_decay" else {})), data
    )
    with_it = trained(to_config({"model": "ann", **needed, key: EVERYTHING[key]}), data)
    assert without[1].val_loss != with_it[1].val_loss


def test_a_step_goes_down_the_cross_entropy_with_smoothed_labels(small_split: Split) -> None:
    config = Cnn(dropout=0.0, optimizer="sgd", learning_rate=0.5, batch_size=64, label_smoothing=0.2)
    data = to_device(Images(small_split.train.images[:64], small_split.train.labels[:64], 10), CPU, "float32")
    fitted = fit(config, data, None, epochs=1, horizon=1, seed=3)
    torch.manual_seed(int(np.random.SeedSequence([3, 0]).generate_state(1)[0]))
    model = build(config, KNOWN_SHAPE)
    logits = model(data.images)
    loss = nn.functional.cross_entropy(logits, data.labels, label_smoothing=0.2)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for new, fresh, gradient in zip(fitted.model.parameters(), model.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, fresh - 0.5 * gradient, rtol=1e-4, atol=1e-5)
    # What is told is the plain cross entropy, to be compared with that of others.
    plain = nn.functional.cross_entropy(logits, data.labels).item()
    assert fitted.last.train_loss == pytest.approx(plain, rel=1e-5)


def test_a_mirrored_model_judges_an_image_and_its_mirror_image(data: tuple[DeviceImages, DeviceImages]) -> None:
    plain, last, _ = trained(Ann(), data)
    mirrored, of_both, _ = trained(Ann(mirror=True), data)
    weights = {name: value.numpy() for name, value in mirrored.state_dict().items()}
    assert weights.keys() == plain.state_dict().keys(), "nothing else is saved"
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in mirrored.state_dict().items())
    assert last.val_loss != of_both.val_loss
    judge = restored(Ann(mirror=True), KNOWN_SHAPE, weights)
    images = data[1].images.float()
    torch.testing.assert_close(judge(images), (plain(images) + plain(images.flip(3))) / 2)
    assert torch.equal(judge(images), judge(images.flip(3)))
    loss, accuracy = score(predict(judge, data[1]), data[1].labels)
    assert (loss, accuracy) == pytest.approx((of_both.val_loss, of_both.val_accuracy), rel=2e-2)


def test_one_cycle_rises_in_a_line_and_falls_as_a_cosine(small_split: Split) -> None:
    data = to_device(Images(small_split.train.images[:10], small_split.train.labels[:10], 10), CPU, "float32")
    told: list[float] = []
    config = Ann(hidden1=4, hidden2=4, schedule="one_cycle", warm_up=0.25, learning_rate=0.02)
    fit(
        config,
        data,
        None,
        epochs=100,
        horizon=100,
        seed=0,
        on_epoch=lambda result, _: told.append(result.learning_rate),
    )
    assert told[:25] == pytest.approx([0.02 * step / 26 for step in range(1, 26)])
    assert told[25] == 0.02 == max(told)
    falling = [0.01 * (1 + math.cos(math.pi * step / 75)) for step in range(75)]
    assert told[25:] == pytest.approx(falling)
    assert told[-1] < 1e-5
