"""Trials that train nothing, for what is measured around a training: epochs are made up, and told to Ray as real ones.

Ray's processes import this module, so that it needs little.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from tune_fmnist.store.jobs import JOB, EpochResult, TrialJob, told_to_ray


def made_up(epoch: int, accuracy: float, **changes: Any) -> EpochResult:
    """Return the result of an epoch that nothing was trained in; ``changes`` are other values of it."""
    values: dict[str, Any] = {
        "train_loss": 1 / epoch,
        "train_accuracy": accuracy,
        "val_loss": 1 / epoch,
        "val_accuracy": accuracy,
        "learning_rate": 0.001,
        "train_seconds": 0.0,
        "eval_seconds": 0.0,
        "overhead_seconds": 0.0,
        "reported_at": time.time(),
        "node": "simulated",
        "device": "cpu",
        "precision": "float32",
        "parameters": 1,
    }
    return EpochResult(epoch=epoch, **(values | changes))


def tell(earlier: list[EpochResult], accuracy: float, **changes: Any) -> None:
    """Tell Ray of a made-up epoch and add it to the ``earlier`` ones; ``changes`` are other values of its result."""
    # Ray reads its environment when it is imported: what runs the trials sets it before.
    from ray import tune

    earlier.append(made_up(len(earlier) + 1, accuracy, **changes))
    tune.report(told_to_ray(earlier))


def simulated(seconds: float) -> Callable[[dict[str, Any]], None]:
    """Return a trial whose epochs take so many seconds together, if it is not stopped, and compute nothing."""

    def trial(config: dict[str, Any]) -> None:
        job: TrialJob = config[JOB]
        level = random.Random(job.number).uniform(0.8, 0.9)  # noqa: S311 -- no secret
        results: list[EpochResult] = []
        for epoch in range(1, job.max_epochs + 1):
            time.sleep(seconds / job.max_epochs)
            tell(results, level + 0.01 * epoch / job.max_epochs, train_seconds=seconds / job.max_epochs)

    return trial
