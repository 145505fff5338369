"""The two model families, built from a configuration."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from tune_fmnist.models.config import Ann, Cnn, Config, read_config
from tune_fmnist.models.layers import Dropout, perceptron, pool_relu
from tune_fmnist.store.paths import publish

CLASS_COUNT = 10


class AnnModel(nn.Module):
    """A multilayer perceptron. Input (n, 1, 28, 28), output logits (n, 10)."""

    def __init__(self, config: Ann) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(28 * 28, config.hidden1)
        self.hidden2 = nn.Linear(config.hidden1, config.hidden2)
        self.output = nn.Linear(config.hidden2, CLASS_COUNT)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        return perceptron(images.flatten(1), (self.hidden1, self.hidden2, self.output), self.dropout)


class CnnModel(nn.Module):
    """A small convolutional network. Input (n, 1, 28, 28), output logits (n, 10).

    The dense layer takes the blocks' output in the order it lies in memory: row, column, channel.
    """

    def __init__(self, config: Cnn) -> None:
        super().__init__()
        channels = [1, config.conv1_channels, config.conv2_channels]
        if config.conv3_channels:
            channels.append(config.conv3_channels)
        self.blocks = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels))
        side = 28 >> len(self.blocks)
        self.dense = nn.Linear(channels[-1] * side * side, config.dense_units)
        self.output = nn.Linear(config.dense_units, CLASS_COUNT)
        self.dropout = Dropout(config.dropout)

    def forward(self, images: Tensor) -> Tensor:
        # Channels last, and said by the strides: of one channel PyTorch takes the slow order, several times slower.
        x = images.reshape(-1, 28, 28, 1).permute(0, 3, 1, 2)
        for convolution in self.blocks:
            x = pool_relu(convolution(x))
        features = x.permute(0, 2, 3, 1).flatten(1)
        return perceptron(self.dropout(features), (self.dense, self.output), self.dropout)


def build(config: Config) -> AnnModel | CnnModel:
    """Return a model of ``config`` with weights drawn from PyTorch's global generator."""
    return AnnModel(config) if isinstance(config, Ann) else CnnModel(config)


def load(folder: Path | str) -> AnnModel | CnnModel:
    """Return the model saved in ``folder`` (``config.json``, ``model.safetensors``), in evaluation mode.

    It takes images (n, 1, 28, 28) float32 scaled to (-1, 1).  Nothing in the folder is run as code.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    config = read_config(config_file)
    model = build(config)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval()
    return model


def save(model: AnnModel | CnnModel, config: Config, folder: Path) -> None:
    """Publish a model's weights and configuration in ``folder``, for ``load``."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with publish(folder / "model.safetensors") as partial:
        # Written by itself, a file of safetensors is its owner's alone.
        partial.write_bytes(to_bytes(weights))
    with publish(folder / "config.json") as partial:
        partial.write_text(config.model_dump_json(indent=2) + "\n")
