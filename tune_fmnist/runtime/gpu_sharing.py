"""How many trials share a GPU: a short measurement of throughput and memory on one of the cluster's GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.models.config import Config

MOST: Final = 8
"""Trials on a GPU at most; each occupies a processor core as well."""

_SECONDS: Final = 2.0
"""How long each number of trials is measured, with the first epoch, which does not count; two epochs at least."""

_GAIN: Final = 1.1
"""Twice as many trials must be worth this much: each has to wait longer for its rung."""

_MEMORY_SHARE: Final = 0.8
"""The share of a GPU's memory that trials may fill; the widest configurations take more than the measured one."""

_PATIENCE: Final = 120.0
"""Seconds for all trainings to have begun."""


class Measurement(NamedTuple):
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


def measured_before(recorded: Mapping[str, Any] | None, gpus: Sequence[str]) -> int | None:
    """Return how many trials are to share a GPU as it is recorded; None if it was not measured on GPUs of these names.

    Args:
        recorded: ``gpu_sharing`` of the record, whatever stands there.
        gpus: the names of the GPUs; none where they are not known.
    """
    if recorded is None or not gpus or recorded.get("gpus") != gpus:
        return None
    trials = recorded.get("trials")
    return trials if isinstance(trials, int) and 1 <= trials <= MOST else None


def measure(config: Config, shape: DataShape) -> Measurement | None:
    """Measure how many trainings of ``config`` on images of ``shape`` a GPU of the joined cluster takes at once.

    None without a GPU, or where others occupy what the measurement needs for longer than two minutes.
    """
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]  # type: ignore[no-untyped-call]
    cores = {node["NodeID"]: int(node["Resources"].get("CPU", 0) // node["Resources"]["GPU"]) for node in nodes}
    node = max(cores, key=lambda name: cores[name], default=None)
    if node is None or cores[node] < 1:
        return None
    counts = [count for count in (1, 2, 4, MOST) if count <= cores[node]]
    # Torch takes two seconds to import, for which a search without a GPU need not wait.
    from tune_fmnist.training.throughput import IMAGES, Trainer

    # On one node, shares that fill a GPU land on one before another is touched.
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    trainer: Any = ray.remote(num_cpus=1, num_gpus=1 / counts[-1])(Trainer)
    trainer = trainer.options(scheduling_strategy=pinned)
    trainers: list[Any] = [trainer.remote(config, shape) for _ in range(counts[-1])]
    try:
        # The first training of each loads libraries and allocates what it needs.
        first = [one.train.remote(0.0, 1) for one in trainers]
        if ray.wait(first, num_returns=len(first), timeout=_PATIENCE)[1]:
            return None
        ray.get(first)
        used, total = ray.get(trainers[0].memory.remote())
        ends = {count: ray.get([one.train.remote(_SECONDS, 2) for one in trainers[:count]]) for count in counts}
    finally:
        for one in trainers:
            ray.kill(one)
    each = used // counts[-1]
    rates = {count: IMAGES * epochs_per_second(of) for count, of in ends.items()}
    return Measurement(choose(rates, each, total), {count: round(rate) for count, rate in rates.items()}, each, total)


def epochs_per_second(ends: Sequence[Sequence[float]]) -> float:
    """Return how many epochs several trainings do in a second of the time in which all of them train.

    Args:
        ends: when the epochs of each ended, two at least; the first, which prepares the others, does not count.
    """
    begin, end = max(times[0] for times in ends), min(times[-1] for times in ends)
    if end <= begin:
        return 0.0
    done = [np.interp([begin, end], times, range(len(times))) for times in ends]
    return float(sum(last - first for first, last in done) / (end - begin))


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
