"""What an epoch costs, against its arithmetic and against a plain loop: ``python -m benchmarks.step``.

Both loops train the baselines, ANN and CNN, on the same made-up images, on one thread, in turns.  The figures are
medians over the turns, in seconds of processor time (that of other processes does not count) for an epoch of 48,000
images, building the model included.  The plain loop is what most would write: layers, autograd and Adam as they come,
float32, images indexed from one tensor in memory.  The arithmetic is what the matrix products of an epoch take at the
rate that this processor reaches in bfloat16, measured in each turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.training.device import DeviceImages, choose_precision
from tune_fmnist.training.fit import fit

EPOCH = 48_000
TURNS = 7
STEPS = {"ann": 750, "cnn": 75}
"""Steps of 64 images: so many that what happens once in a training weighs as little as in an epoch."""
PRODUCTS = {"ann": 3 * 2 * (784 * 256 + 256 * 128 + 128 * 10) - 2 * 784 * 256, "cnn": 0}
"""Operations per image: forward, and backward twice that, less the gradient with respect to the image itself."""
_CONV1 = 2 * 28 * 28 * 9 * 32
PRODUCTS["cnn"] = 3 * (_CONV1 + 2 * 14 * 14 * 9 * 32 * 64 + 2 * 3136 * 128 + 2 * 128 * 10) - _CONV1


def plain_model(config: Config) -> nn.Module:
    drop = nn.Dropout(config.model_dump()["dropout"])
    if isinstance(config, Ann):
        hidden = [nn.Linear(784, 256), nn.ReLU(), drop, nn.Linear(256, 128), nn.ReLU(), drop]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))
    conv1, conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
    blocks = [conv1, nn.ReLU(), nn.MaxPool2d(2), conv2, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), drop, nn.Linear(3136, 128), nn.ReLU(), drop, nn.Linear(128, 10))


def plain_epoch(config: Config, images: Tensor, labels: Tensor) -> None:
    model = plain_model(config).to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    for batch in torch.split(torch.randperm(len(labels), device=labels.device), config.batch_size):
        optimizer.zero_grad()
        functional.cross_entropy(model(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def operations_per_second(size: int = 1024) -> float:
    """Return the rate of square matrix products in bfloat16: the best of five."""
    a, b = torch.randn(2, size, size, dtype=torch.bfloat16).unbind()
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(5))


def measure(config: Config, turns: int = TURNS) -> tuple[float, float, float]:
    """Return the seconds of an epoch's arithmetic, of an epoch of this loop and of one of the plain loop."""
    count = STEPS[config.model] * config.batch_size
    images, labels = torch.rand(count, 1, 28, 28) * 2 - 1, torch.randint(0, 10, (count,))
    # The type of the images is the type of the computation.
    ready = DeviceImages(images.to(getattr(torch, choose_precision(torch.device("cpu")))), labels, 10)
    arithmetic, own, plain = [], [], []
    for _ in range(turns + 1):
        arithmetic.append(PRODUCTS[config.model] * EPOCH / operations_per_second())
        own.append(seconds(lambda: fit(config, ready, None, epochs=1, horizon=1, seed=0)))
        plain.append(seconds(lambda: plain_epoch(config, images, labels)))
    per_epoch = EPOCH / count
    # The first turn pays for what happens once in a process.
    return (
        statistics.median(arithmetic[1:]),
        statistics.median(own[1:]) * per_epoch,
        statistics.median(plain[1:]) * per_epoch,
    )


def main() -> None:
    torch.set_num_threads(1)
    columns = ("", "arithmetic, s", "this loop, s", "plain loop, s", "this / arithmetic", "this / plain")
    table = Table(*columns, title=f"an epoch of {EPOCH:,} images, one thread, torch {torch.__version__}")
    for config in (Ann(), Cnn()):
        arithmetic, own, plain = measure(config)
        row = (f"{arithmetic:.2f}", f"{own:.2f}", f"{plain:.2f}", f"{own / arithmetic:.2f}", f"{own / plain:.2f}")
        table.add_row(config.model, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
