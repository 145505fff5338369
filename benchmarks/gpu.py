"""What a training takes on a GPU, with and without the captured step: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import time

import torch

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
    print(f"seconds per epoch of {EPOCH:,} images, {torch.cuda.get_device_name()}, {dtype}, torch {torch.__version__}")
    capturable = training._can_be_captured

    def tell(config: Config, way: str, seconds: float) -> None:
        # Whoever ends this command keeps what was measured until then.
        print(f"{config.model}, {way}: {seconds:.3f}", flush=True)

    for config in (Ann(), Cnn()):
        tell(config, "captured step", seconds_of_fit(config, images))
        training._can_be_captured = lambda config, device: False
        tell(config, "steps one by one", seconds_of_fit(config, images))
        training._can_be_captured = capturable
        tell(config, "plain float32 loop", seconds_of_plain(config, images))


if __name__ == "__main__":
    main()
