"""What a step costs with each setting on, against the baseline's: ``python -m benchmarks.settings``.

All variants train on the same made-up images, on one thread, in turns.  A figure is the median, over the turns, of the
processor time of a variant over that of the baseline in the same turn; building the model counts as well.  The first
row is the baseline once more: how far it is from 1 is what the figures can tell apart.
"""

from __future__ import annotations

import statistics
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.step import seconds
from tune_fmnist.models.config import Config, to_config
from tune_fmnist.training.device import DeviceImages, choose_precision
from tune_fmnist.training.fit import fit

TURNS: Final = 9
STEPS: Final = {"ann": 375, "cnn": 40}
"""Steps of 64 images in a training."""

SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "the baseline": {},
    "one_cycle": {"schedule": "one_cycle", "warm_up": 0.3},
    "label_smoothing": {"label_smoothing": 0.1},
    "average": {"average": 1.0},
    "flip": {"flip": True},
    "alternating_flip": {"flip": True, "alternating_flip": True},
    "shift": {"shift": 1},
    "image_shift": {"image_shift": 1},
    "erasing": {"erasing": 0.25},
    "spare_biases": {"weight_decay": 0.05, "spare_biases": True},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
}

LAYERS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "ann": {
        "a third layer": {"hidden3": 128},
        "batch_norm": {"batch_norm": True},
        "skip": {"skip": True},
    },
    "cnn": {
        "batch_norm": {"batch_norm": True},
        "kernel_size 5": {"kernel_size": 5},
        "convolutions 2": {"convolutions": 2},
        "the same, residual": {"convolutions": 2, "residual": True},
        "head average": {"head": "average"},
        "head max": {"head": "max"},
    },
}
"""Settings of each family."""


def measure(model: str, turns: int = TURNS) -> dict[str, float]:
    """Return each variant's time over the baseline's."""
    count = STEPS[model] * 64
    images = (torch.rand(count, 1, 28, 28) * 2 - 1).to(getattr(torch, choose_precision(torch.device("cpu"))))
    data = DeviceImages(images, torch.randint(0, 10, (count,)), 10)
    configs = {name: to_config({"model": model, **changes}) for name, changes in (SETTINGS | LAYERS[model]).items()}
    ratios: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(turns + 1):
        base = _train(to_config({"model": model}), data)
        for name, config in configs.items():
            ratios[name].append(_train(config, data) / base)
    # The first turn pays for what happens once in a process.
    return {name: statistics.median(found[1:]) for name, found in ratios.items()}


def _train(config: Config, data: DeviceImages) -> float:
    return seconds(lambda: fit(config, data, None, epochs=1, horizon=1, seed=0))


def main() -> None:
    torch.set_num_threads(1)
    found = {model: measure(model) for model in STEPS}
    table = Table("", *found, title=f"processor time over the baseline's, one thread, torch {torch.__version__}")
    for name in {key: None for ratios in found.values() for key in ratios}:
        table.add_row(name, *(f"{ratios[name]:.2f}" if name in ratios else "" for ratios in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
