"""How many trials share a GPU: a short measurement of throughput and memory on one of the cluster's GPUs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from tune_fmnist.models.config import Config

MOST: Final = 8
"""Trials on a GPU at most; each occupies a processor core as well."""

_SECONDS: Final = 1.5
"""How long each number of trials is measured."""

_GAIN: Final = 1.1
"""Twice as many trials must be worth this much: each has to wait longer for its rung."""

_MEMORY_SHARE: Final = 0.8
"""The share of a GPU's memory that trials may fill; the widest configurations take more than the measured one."""

_PATIENCE: Final = 60.0
"""Seconds for all trainings to have begun."""

_IMAGES: Final = 60_000
_EPOCH: Final = 6_400
"""Images that are resident, and images of an epoch of the measurement."""


class Probe(NamedTuple):
    """What was measured, for ``search.json``.

    Attributes:
        trials: how many trials are to share a GPU.
        images_per_second: of all trials together, by their number.
        bytes_per_trial: GPU memory of one of them, with what its process takes.
        bytes: GPU memory.
    """

    trials: int
    images_per_second: dict[int, float]
    bytes_per_trial: int
    bytes: int


def probe(config: Config) -> Probe | None:
    """Measure how many trainings of ``config`` a GPU of the joined cluster takes at once.

    None without a GPU, or where others occupy what the measurement needs for longer than a minute.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]  # type: ignore[no-untyped-call]
    cores = {node["NodeID"]: int(node["Resources"].get("CPU", 0) // node["Resources"]["GPU"]) for node in nodes}
    node = max(cores, key=lambda name: cores[name], default=None)
    if node is None or cores[node] < 1:
        return None
    counts = [count for count in (1, 2, 4, MOST) if count <= cores[node]]
    # On one node, shares that fill a GPU land on one before another is touched.
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    trainer: Any = ray.remote(num_cpus=1, num_gpus=1 / counts[-1])(_Trainer)
    trainer = trainer.options(scheduling_strategy=pinned)
    trainers: list[Any] = [trainer.remote(config) for _ in range(counts[-1])]
    try:
        # The first training of each loads libraries and allocates what it needs.
        first = [one.rate.remote(0.0) for one in trainers]
        if ray.wait(first, num_returns=len(first), timeout=_PATIENCE)[1]:
            return None
        ray.get(first)
        used, total = ray.get(trainers[0].memory.remote())
        rates = {count: sum(ray.get([one.rate.remote(_SECONDS) for one in trainers[:count]])) for count in counts}
    finally:
        for one in trainers:
            ray.kill(one)
    each = used // counts[-1]
    return Probe(choose(rates, each, total), {count: round(rate) for count, rate in rates.items()}, each, total)


def choose(rates: Mapping[int, float], bytes_per_trial: int, memory: int) -> int:
    """Return how many trials are to share a GPU.

    Args:
        rates: throughput by number of trials, ascending; 1 is among them.
        bytes_per_trial: GPU memory of one of them.
        memory: GPU memory in bytes.
    """
    chosen = 1
    for count, rate in rates.items():
        if count * bytes_per_trial <= _MEMORY_SHARE * memory and rate >= _GAIN * rates[chosen]:
            chosen = count
    return chosen


class _EnoughError(Exception):
    """The time of a measurement is over."""


class _Trainer:
    """Trains as a trial does, on images of noise; an actor with a share of a GPU."""

    def __init__(self, config: Config) -> None:
        import torch

        from tune_fmnist.training.fit import DeviceImages, choose_precision

        torch.set_num_threads(1)
        device = torch.device("cuda")
        dtype = getattr(torch, choose_precision(device))
        self._config = config
        self._images = torch.rand(_IMAGES, 1, 28, 28, device=device, dtype=dtype)
        labels = torch.randint(0, 10, (_EPOCH,), device=device)
        self._train = DeviceImages(self._images[:_EPOCH], labels)

    def rate(self, seconds: float) -> float:
        """Return the images a second of a training of this length, less its first epoch; one epoch at least."""
        from tune_fmnist.training.fit import fit

        began, epochs = 0.0, 0

        def on_epoch(result: Any, state: Any) -> None:
            nonlocal began, epochs
            if result.epoch == 1:
                began = time.perf_counter()
            else:
                epochs += 1
                if time.perf_counter() - began >= seconds:
                    raise _EnoughError

        with suppress(_EnoughError):
            fit(self._config, self._train, self._train, epochs=10**6, horizon=10**6, seed=0, on_epoch=on_epoch)
        return epochs * _EPOCH / (time.perf_counter() - began)

    def memory(self) -> tuple[int, int]:
        """Return the bytes in use on the GPU, by whomever, and all bytes."""
        import torch

        free, total = torch.cuda.mem_get_info()
        return total - free, total
