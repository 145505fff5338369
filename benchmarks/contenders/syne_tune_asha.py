"""Syne Tune's local backend with ASHA, as its README writes it: one process per trial, reports through its output.

https://github.com/syne-tune/syne-tune.  The tuner looks for reports every half second instead of every five, which
suits trials of a few seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import choice, finrange, lograndint, loguniform, uniform
from syne_tune.optimizer.baselines import ASHA

from benchmarks.contenders.job import GRACE_EPOCHS, REDUCTION_FACTOR, Job
from tune_fmnist.tuning.space import IntParameter, Parameter
from tune_fmnist.tuning.space_files import read_space


def domain(parameter: Parameter) -> Any:
    if parameter.type == "categorical":
        return choice(parameter.choices)
    if isinstance(parameter, IntParameter):
        if parameter.log:
            return lograndint(parameter.low, parameter.high)
        count = (parameter.high - parameter.low) // parameter.step + 1
        return finrange(parameter.low, parameter.high, count, cast_int=True)
    return (loguniform if parameter.log else uniform)(parameter.low, parameter.high)


def main() -> None:
    job = Job.given()
    space = {name: domain(parameter) for name, parameter in read_space(Path(job.space)).parameters.items()}
    scheduler = ASHA(
        {**space, "job": sys.argv[1]},
        metric="accuracy",
        time_attr="epoch",
        max_t=job.max_epochs,
        do_minimize=False,
        random_seed=job.seed,
        grace_period=GRACE_EPOCHS,
        reduction_factor=REDUCTION_FACTOR,
        points_to_evaluate=[{**start, "job": sys.argv[1]} for start in job.starts()],
    )
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_tune_trial.py"))),
        scheduler=scheduler,
        # It stops once more than this number have been started.
        stop_criterion=StoppingCriterion(max_num_trials_started=job.trials - 1),
        n_workers=job.slots,
        sleep_time=0.5,
        wait_trial_completion_when_stopping=True,
    )
    tuner.run()


if __name__ == "__main__":
    main()
