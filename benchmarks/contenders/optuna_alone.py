"""Optuna alone, as its documentation has several processes share a study: a journal file, a pruner, no framework.

https://optuna.readthedocs.io/en/stable/tutorial/10_key_features/004_distributed.html and
https://github.com/optuna/optuna-examples/blob/main/pytorch/pytorch_simple.py.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import cast

import optuna
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from benchmarks.contenders.job import GRACE_EPOCHS, REDUCTION_FACTOR, Job, note
from tune_fmnist.tuning.space import IntParameter, Parameter, Value
from tune_fmnist.tuning.space_files import read_space


def suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    if parameter.type == "categorical":
        return cast(Value, trial.suggest_categorical(name, parameter.choices))
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)


def study(job: Job, process: int) -> optuna.Study:
    """Return the study that all processes share."""
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(Path(job.scratch) / "study.journal"))),
        study_name="search",
        direction="maximize",
        sampler=TPESampler(seed=job.seed + process),
        pruner=SuccessiveHalvingPruner(min_resource=GRACE_EPOCHS, reduction_factor=REDUCTION_FACTOR),
        load_if_exists=True,
    )


def work(job: Job, process: int) -> None:
    """Take trials from the study until there are enough."""
    # The process that only waits for the others needs no Torch.
    from benchmarks.contenders.plain import Training

    space = read_space(Path(job.space))

    def objective(trial: optuna.Trial) -> float:
        values = {name: suggest(trial, name, parameter) for name, parameter in space.parameters.items()}
        best = 0.0
        for epoch, accuracy, train_seconds, eval_seconds in Training(job, values, seed=job.seed).epochs():
            note(job.events, str(trial.number), epoch, accuracy, train_seconds, eval_seconds)
            best = max(best, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    begun = (TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    study(job, process).optimize(objective, callbacks=[MaxTrialsCallback(job.trials, states=begun)])


def main() -> None:
    job = Job.given()
    shared = study(job, 0)
    for start in job.starts():
        shared.enqueue_trial(start)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=work, args=(job, process)) for process in range(job.slots)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(1)
    print(shared.best_trial)


if __name__ == "__main__":
    main()
