"""When a trial is stopped early: ASHA, with promotion or without, or never."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tune_fmnist.store.jobs import JOB, METRIC, RESULT, TrialJob
from tune_fmnist.store.record import SchedulerSettings
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.rungs import Rungs

_START_SECONDS = 30.0
"""How long a trial may take to get a process of its own before it is given that of a trial that has ended."""


class _InOrder(TrialScheduler):
    """Starts trials in order of issue."""

    _since: Mapping[int, float] = MappingProxyType({})

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the earliest trial that waits to start and has no process on its way, of those that have not ended.

        Ray gives it the process of a trial that has ended, and ends the one that was being started for it.  With short
        trials none would ever be up, so that its slot stays empty: a process takes longer to start than the next trial
        to end.  Ray's own schedulers look at all trials, so that one costs the more the more there were.
        """
        now = time.monotonic()
        live = tune_controller.get_live_trials()
        waiting = {_job(trial).number: trial for trial in live if trial.status == Trial.PENDING}
        self._since = {number: self._since.get(number, now) for number in waiting}
        ready = [number for number, since in self._since.items() if not 0 < now - since < _START_SECONDS]
        return waiting[min(ready)] if ready else None


class Asha(_InOrder, ASHAScheduler):
    """Asynchronous successive halving that stops trials for good, as Ray has it; it neither stops nor counts trial 0.

    Trial 0 is what the others are compared with: it is trained for the same length.  Nobody proposed it, so that the
    others need not be better to go on.  There is one bracket, so that nothing is drawn at random.

    Args:
        max_epochs: the length of a trial that is not stopped.
        grace: epochs before a trial can be stopped, the first rung; later ones are each ``reduction_factor`` times as
            far.
        reduction_factor: of the trials at a rung, the best one in so many goes on.
        audit: lets some trials run on that would be stopped.
    """

    def __init__(self, max_epochs: int, grace: int, reduction_factor: int, audit: Audit) -> None:
        self._max_epochs, self._audit = max_epochs, audit
        self._known: set[int] = set()
        super().__init__(
            time_attr="epoch",
            metric=METRIC,
            mode="max",
            max_t=max_epochs,
            grace_period=min(grace, max_epochs),
            reduction_factor=reduction_factor,
            brackets=1,
        )

    def resume(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Fill the rungs with what an interrupted search reported: rows with number, epoch and score, in order.

        A trial that goes on is judged at a rung only once: trials are known by their number, not by Ray's name.
        """
        # ASHA does not look at the controller.
        tune_controller: Any = None
        for row in epochs:
            number = row["number"]
            if number == 0 or row["epoch"] > self._audit.stopped_at.get(number, self._max_epochs):
                continue
            self._admit(tune_controller, number)
            action = self._judge(tune_controller, number, dict(row))
            if action == TrialScheduler.STOP and row["epoch"] < self._max_epochs:
                # The table of trials may be older than that of epochs.
                self._audit.spares(number, row["epoch"])

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Admit a trial, by its number."""
        if number := _job(trial).number:
            self._admit(tune_controller, number)

    def _admit(self, tune_controller: Any, number: int) -> None:
        if number not in self._known:
            self._known.add(number)
            super().on_trial_add(tune_controller, _named(number))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether the trial goes on; its result counts in its rung either way."""
        number, epoch = _job(trial).number, result["epoch"]
        if number == 0 or epoch > self._audit.stopped_at.get(number, self._max_epochs):
            ended = epoch >= self._max_epochs
            return _judged(trial, result) or str(TrialScheduler.STOP if ended else TrialScheduler.CONTINUE)
        action = _judged(trial, result) or self._judge(tune_controller, number, result)
        if action == TrialScheduler.STOP and epoch < self._max_epochs and self._audit.spares(number, epoch):
            return str(TrialScheduler.CONTINUE)
        return action

    def _judge(self, tune_controller: Any, number: int, result: dict[str, Any]) -> str:
        """Return what ASHA makes of a trial's epoch, which counts in its rung."""
        action: str = super().on_trial_result(tune_controller, _named(number), result)
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Count a trial's last result."""
        number = _job(trial).number
        if number and number not in self._audit.stopped_at:
            super().on_trial_complete(tune_controller, _named(number), result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forget a trial that never ran."""
        if number := _job(trial).number:
            super().on_trial_remove(tune_controller, _named(number))


def _judged(trial: Trial, result: Mapping[str, Any]) -> str | None:
    """Return what was decided on an epoch before the search was interrupted, if it is told once more.

    The rungs lack what had not reached the tables, so that the same epoch might be judged otherwise now.  The study
    knows what was decided; where its last lines are lost, the trial's checkpoint shows after which epochs it went on.
    """
    job = _job(trial)
    if job.ended and result["epoch"] == job.judged:
        return str(TrialScheduler.STOP)
    went_on = result["epoch"] <= job.judged or result[RESULT].passed
    return str(TrialScheduler.CONTINUE) if went_on else None


def _job(trial: Trial) -> TrialJob:
    job: TrialJob = trial.config[JOB]
    return job


def _named(number: int) -> Any:
    """Return all that Ray's ASHA reads of a trial."""
    return SimpleNamespace(trial_id=number)


class Promotion(_InOrder, FIFOScheduler):
    """Asynchronous successive halving as it was published (Li et al. 2020): trials wait at a rung, and may go on later.

    A trial that waits has ended for Ray, so that its slot is free; the searcher issues it once more when it goes on,
    after its last checkpoint.  Trial 0 never waits and does not count, as in ``Asha``.

    Args:
        rungs: decide who waits.
        audit: knows which trials run on outside of the search.
    """

    def __init__(self, rungs: Rungs, audit: Audit) -> None:
        self._rungs, self._audit = rungs, audit
        super().__init__()  # type: ignore[no-untyped-call]

    def resume(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Need nothing of what an interrupted search reported: the rungs know it."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether the trial goes on at once; its result counts in its rung either way."""
        job, epoch, told = _job(trial), result["epoch"], result[RESULT]
        if job.ended and epoch == job.judged:
            return str(TrialScheduler.STOP)
        counts = job.number > 0 and job.number not in self._audit.stopped_at
        if not told.passed and counts and self._rungs.waits(job.number, epoch, result[METRIC], for_good=told.diverged):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)


class Fifo(_InOrder, FIFOScheduler):
    """Never stops a trial early."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def resume(self, epochs: Iterable[Mapping[str, Any]]) -> None:
        """Need nothing of what an interrupted search reported."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return that the trial goes on, unless it had ended here before the search was interrupted."""
        return _judged(trial, result) or str(TrialScheduler.CONTINUE)


def make_scheduler(settings: SchedulerSettings, max_epochs: int, audit: Audit, rungs: Rungs) -> Asha | Promotion | Fifo:
    """Return the scheduler of a search with these settings, trials of so many epochs, this audit and these rungs."""
    if settings.grace is None or settings.reduction_factor is None:
        return Fifo()
    if settings.name == "promotion":
        return Promotion(rungs, audit)
    return Asha(max_epochs, settings.grace, settings.reduction_factor, audit)
