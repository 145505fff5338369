"""Ray Tune as PyTorch's tutorial "Hyperparameter tuning with Ray Tune" writes it, on this work.

https://docs.pytorch.org/tutorials/beginner/hyperparameter_tuning_tutorial.html: configurations drawn at random,
``ASHAScheduler``, one process per trial, one checkpoint per epoch.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from benchmarks.contenders.job import GRACE_EPOCHS, REDUCTION_FACTOR, Job, note
from tune_fmnist.tuning.space import IntParameter, Parameter
from tune_fmnist.tuning.space_files import read_space


def domain(parameter: Parameter) -> Any:
    if parameter.type == "categorical":
        return tune.choice(parameter.choices)
    if isinstance(parameter, IntParameter):
        if parameter.log:
            return tune.lograndint(parameter.low, parameter.high + 1)
        return tune.qrandint(parameter.low, parameter.high, parameter.step)
    return (tune.loguniform if parameter.log else tune.uniform)(parameter.low, parameter.high)


def train(config: dict[str, Any], job: Job) -> None:
    # Only the processes of trials need torchvision.
    from benchmarks.contenders.plain import Training

    trial = tune.get_context().get_trial_id()
    training = Training(job, config, seed=job.seed)
    for epoch, accuracy, train_seconds, eval_seconds in training.epochs():
        note(job.events, trial, epoch, accuracy, train_seconds, eval_seconds)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(training.state(), Path(folder) / "state.pt")
            tune.report({"accuracy": accuracy}, checkpoint=tune.Checkpoint.from_directory(folder))


def main() -> None:
    job = Job.given()
    # "local" joins no other Ray of this machine.
    ray.init(address="local", num_cpus=job.slots, include_dashboard=False)
    space = {name: domain(parameter) for name, parameter in read_space(Path(job.space)).parameters.items()}
    tuner = tune.Tuner(
        tune.with_resources(partial(train, job=job), {"cpu": 1, "gpu": torch.cuda.device_count() / job.slots}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=job.trials,
            search_alg=BasicVariantGenerator(points_to_evaluate=job.starts(), random_state=job.seed),
            scheduler=ASHAScheduler(max_t=job.max_epochs, grace_period=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR),
        ),
        run_config=tune.RunConfig(storage_path=job.scratch, name="search"),
    )
    best = tuner.fit().get_best_result()
    print(best.config, best.metrics)


if __name__ == "__main__":
    main()
