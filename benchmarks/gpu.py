"""What a training takes on a GPU, with and without the captured step: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from benchmarks.step import plain_epoch
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training import fit as training
from tune_fmnist.training.device import DeviceImages, use_device
from tune_fmnist.training.fit import EpochMetrics, fit

EPOCH = 48_000
EPOCHS = 6
GPU = torch.device("cuda")


def seconds_of_fit(config: Config, images: DeviceImages) -> float:
    """Return the seconds of an epoch; the first, in which libraries load, does not count."""
    seen: list[EpochMetrics] = []
    fit(config, images, None, epochs=EPOCHS, horizon=EPOCHS, seed=0, on_epoch=lambda result, state: seen.append(result))
    return min(result.train_seconds for result in seen[1:])


def seconds_of_plain(config: Config, images: Tensor, labels: Tensor) -> float:
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        plain_epoch(config, images, labels)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def tell(config: Config, way: str, seconds: float) -> None:
    # Whoever ends this command keeps what was measured until then.
    print(f"{config.model}, {way}: {seconds:.3f}", flush=True)


def main() -> None:
    print(f"seconds per epoch of {EPOCH:,} images, {torch.cuda.get_device_name()}, torch {torch.__version__}")
    images, labels = torch.rand(EPOCH, 1, 28, 28, device=GPU) * 2 - 1, torch.randint(0, 10, (EPOCH,), device=GPU)
    configs = (Ann(), Cnn())
    # First, because a plain loop does not ask cuDNN to sum alike each time.
    for config in configs:
        tell(config, "plain float32 loop", seconds_of_plain(config, images, labels))
    _, precision = use_device(gpu=True, threads=1)
    data = DeviceImages(images.to(getattr(torch, precision)), labels, 10)
    capturable = training._can_be_captured
    for config in configs:
        tell(config, f"captured step, {precision}", seconds_of_fit(config, data))
        training._can_be_captured = lambda config, device: False
        tell(config, f"steps one by one, {precision}", seconds_of_fit(config, data))
        training._can_be_captured = capturable


if __name__ == "__main__":
    main()
