"""An epoch's steps as a graph: everything but the capture itself, which needs a GPU (``tests/gpu``)."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from weakref import WeakMethod

import pytest
import torch

from tune_fmnist.data.images import Split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training import fit as module
from tune_fmnist.training.augmentation import Augmentation
from tune_fmnist.training.cuda_graph import CapturedSteps, Step, nothing_collected
from tune_fmnist.training.device import to_device
from tune_fmnist.training.fit import EpochMetrics, fit
from tune_fmnist.training.optimizer import Optimizer

CPU = torch.device("cpu")

# Learning rates that float32 holds exactly: a graph reads them from a tensor.
CONFIGS: list[Config] = [
    Ann(hidden1=16, hidden2=16, flip=True, learning_rate=2**-10),
    Cnn(conv1_channels=4, conv2_channels=4, dense_units=16, learning_rate=2**-9, batch_size=100),
    Ann(optimizer="sgd", momentum=0.5, learning_rate=2**-6, batch_size=700),
    Ann(learning_rate=2.0**100, batch_size=4),
    Ann(learning_rate=2**-10, average=0.5, flip=True, alternating_flip=True, image_shift=1, erasing=0.5, mirror=True),
    Cnn(conv1_channels=4, conv2_channels=4, learning_rate=2**-9, label_smoothing=0.1, spare_biases=True),
    Ann(hidden1=16, hidden2=16, hidden3=8, batch_norm=True, skip=True, average=0.5, learning_rate=2**-10),
    Cnn(conv1_channels=4, conv2_channels=4, convolutions=2, batch_norm=True, head="max", learning_rate=2**-9),
]


class Called(CapturedSteps):
    """Calls the step instead of replaying its capture."""

    def _warm_up(self, step: Step) -> None:
        self._one(step)

    def _capture(self, step: Step) -> Callable[[], None]:
        # A graph holds neither of them.
        own, given = WeakMethod(self._one), WeakMethod(step)

        def replay() -> None:
            one, its_step = own(), given()
            assert one is not None
            assert its_step is not None
            one(its_step)

        return replay


def call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CapturedSteps", Called)
    monkeypatch.setattr(module, "_can_be_captured", lambda config, device: True)


def trained(config: Config, split: Split) -> tuple[torch.Tensor, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []
    data = to_device(split.train, CPU, "float32")
    fitted = fit(config, data, None, epochs=2, horizon=2, seed=5, on_epoch=lambda result, state: seen.append(result))
    return torch.cat([parameter.detach().flatten() for parameter in fitted.model.parameters()]), seen


@pytest.mark.parametrize("config", CONFIGS)
def test_captured_steps_train_as_steps_do(config: Config, small_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, epochs = trained(config, small_split)
    call(monkeypatch)
    captured_weights, captured_epochs = trained(config, small_split)
    torch.testing.assert_close(captured_weights, weights, rtol=0, atol=0, equal_nan=True)
    for one, other in zip(epochs, captured_epochs, strict=True):
        assert (one.train_accuracy, one.learning_rate, one.diverged) == (
            other.train_accuracy,
            other.learning_rate,
            other.diverged,
        )


def living() -> Counter[str]:
    """Return how many objects of a training there are, those included that wait for the collector."""
    kinds = (Called, module._EpochLoop, Optimizer, Augmentation, torch.nn.Module)
    return Counter(type(one).__name__ for one in gc.get_objects() if issubclass(type(one), kinds))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_training_leaves_nothing_to_the_collector(
    config: Config, small_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch)
    trained(config, small_split)
    gc.collect()
    with nothing_collected():
        before = living()
        trained(config, small_split)
        assert living() == before


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_during_a_capture(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with nothing_collected():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(ValueError, match="in the capture"), nothing_collected():
            raise ValueError("in the capture")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
