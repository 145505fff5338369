"""The function that Ray Tune runs for each trial."""

from __future__ import annotations

from typing import Any, cast

from ray import tune

from tune_fmnist.data.images import Split
from tune_fmnist.runtime.worker import run_trial
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import JOB, EpochResult, TrialJob, told_to_ray


def trainable(config: dict[str, Any], split: Split, checkpoints: Folder, timeout: float | None) -> None:
    """Run a trial on Ray, in a process that has run other trials before.

    Args:
        config: holds the trial's job.
        checkpoints: the folder with a folder for each trial's checkpoints, on a storage that every node reaches.
    """
    job = cast(TrialJob, config[JOB])
    resources = tune.get_context().get_trial_resources().required_resources
    results: list[EpochResult] = []

    def report(result: EpochResult) -> None:
        results.append(result)
        tune.report(told_to_ray(results))

    run_trial(
        job,
        split,
        report,
        gpu=resources.get("GPU", 0) > 0,
        threads=max(1, int(resources.get("CPU", 1))),
        checkpoints=Checkpoints(checkpoints, job.number, of=job.identity),
        timeout=timeout,
    )
