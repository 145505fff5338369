"""What the first edition searched with, kept to be compared with: its searcher and its scheduler, without Ray."""

from __future__ import annotations

from typing import Any, Final

import optuna
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.models.config import baseline
from tune_fmnist.store.jobs import JOB, METRIC, TrialJob
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.proposals import suggest
from tune_fmnist.tuning.scheduler import Asha
from tune_fmnist.tuning.space import Space

_ARGUMENTS: Final = {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "constant_liar": True}


class FirstSearcher:
    """TPE on the study of what happened: a completed trial is COMPLETE with its best epoch, a stopped one PRUNED."""

    def __init__(self, space: Space, seed: int, max_epochs: int) -> None:
        self._space, self._seed, self._max_epochs = space, seed, max_epochs
        sampler = TPESampler(seed=seed, **_ARGUMENTS)  # type: ignore[arg-type]
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial(dict(space.values(baseline(space.model)) or {}))
        self._running: dict[str, tuple[optuna.Trial, list[float]]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's job, as ``OptunaSearcher`` does."""
        trial = self._study.ask()
        config = self._space.sample(lambda name, parameter: suggest(trial, name, parameter))
        self._running[trial_id] = trial, []
        return {JOB: TrialJob(trial.number, derived_seed(self._seed, trial.number), config, self._max_epochs)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch."""
        trial, told = self._running[trial_id]
        told.append(result[METRIC])
        trial.report(result[METRIC], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the study how a trial ended."""
        self.on_trial_result(trial_id, result)
        trial, told = self._running.pop(trial_id)
        if result["epoch"] < self._max_epochs:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, max(told))


class FirstAsha(Asha):
    """ASHA after one epoch, which counts the baseline in its rungs as if it had been proposed."""

    def __init__(self, max_epochs: int) -> None:
        super().__init__(max_epochs, grace=1, reduction_factor=3, audit=Audit(0.0, 0))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Admit a trial."""
        self._admit(tune_controller, trial.config[JOB].number)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether the trial goes on; the baseline always does."""
        number = trial.config[JOB].number
        action = self._judge(tune_controller, number, result)
        return str(TrialScheduler.CONTINUE) if number == 0 and result["epoch"] < self._max_epochs else action
