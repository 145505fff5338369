"""What a training takes on a GPU, with and without the captured step: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import time

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.step import plain_epoch
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training import fit as training
from tune_fmnist.training.device import DeviceImages, choose_precision
from tune_fmnist.training.fit import EpochMetrics, fit

EPOCH = 48_000
EPOCHS = 6
GPU = torch.device("cuda")


def seconds_of_fit(config: Config, images: DeviceImages) -> float:
    """Return the seconds of an epoch; the first, in which libraries load, does not count."""
    seen: list[EpochMetrics] = []
    fit(config, images, None, epochs=EPOCHS, horizon=EPOCHS, seed=0, on_epoch=lambda result, state: seen.append(result))
    return min(result.train_seconds for result in seen[1:])


def seconds_of_plain(config: Config, images: DeviceImages) -> float:
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        plain_epoch(config, images.images.float(), images.labels)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    dtype = getattr(torch, choose_precision(GPU))
    images = DeviceImages(
        torch.rand(EPOCH, 1, 28, 28, device=GPU, dtype=dtype) * 2 - 1, torch.randint(0, 10, (EPOCH,), device=GPU), 10
    )
    title = f"seconds per epoch of {EPOCH:,} images, {torch.cuda.get_device_name()}, {dtype}, torch {torch.__version__}"
    table = Table("", "captured step", "steps one by one", "plain float32 loop", title=title)
    capturable = training._can_be_captured
    for config in (Ann(), Cnn()):
        captured = seconds_of_fit(config, images)
        training._can_be_captured = lambda config, device: False
        single = seconds_of_fit(config, images)
        training._can_be_captured = capturable
        table.add_row(config.model, *(f"{x:.3f}" for x in (captured, single, seconds_of_plain(config, images))))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
