"""An epoch's steps as a graph: everything but the capture itself, which needs a GPU (``tests/gpu``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tune_fmnist.data.images import Split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training import fit as module
from tune_fmnist.training.cuda_graph import CapturedSteps
from tune_fmnist.training.device import to_device
from tune_fmnist.training.fit import EpochMetrics, fit

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

    def _capture(self) -> Callable[[], None]:
        return self._one


def trained(config: Config, split: Split) -> tuple[torch.Tensor, list[EpochMetrics]]:
    seen: list[EpochMetrics] = []
    data = to_device(split.train, CPU, "float32")
    fitted = fit(config, data, None, epochs=2, horizon=2, seed=5, on_epoch=lambda result, state: seen.append(result))
    return torch.cat([parameter.detach().flatten() for parameter in fitted.model.parameters()]), seen


@pytest.mark.parametrize("config", CONFIGS)
def test_captured_steps_train_as_steps_do(config: Config, small_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, epochs = trained(config, small_split)
    monkeypatch.setattr(module, "CapturedSteps", Called)
    monkeypatch.setattr(module, "_can_be_captured", lambda config, device: True)
    captured_weights, captured_epochs = trained(config, small_split)
    torch.testing.assert_close(captured_weights, weights, rtol=0, atol=0, equal_nan=True)
    for one, other in zip(epochs, captured_epochs, strict=True):
        assert (one.train_accuracy, one.learning_rate, one.diverged) == (
            other.train_accuracy,
            other.learning_rate,
            other.diverged,
        )
