"""The loop over a search's trials, in the slots of Ray's cluster."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter

from tune_fmnist.base import signals
from tune_fmnist.data.images import Split
from tune_fmnist.runtime import head, ray_private
from tune_fmnist.runtime.slots import Placement, Slots
from tune_fmnist.runtime.trainable import trainable
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import JOB, RESULT, EpochResult, TrialJob
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.searcher import OptunaSearcher

_RETRIES = 2
"""How often a trial whose process was lost or raised an error goes on from its checkpoint."""

_DEATH_SECONDS = 90.0
"""How long after the loss of a trial's process Ray may take to see that its node is gone; by default, 65 s."""

_LATE_SECONDS = 10.0
"""How long after a node is seen to be gone Ray may take to tell of a trial's process that was lost with it."""

_SILENT_SECONDS = 60.0
"""How much longer than ``--trial-timeout`` a process may be silent: to start, to import Torch and to end itself."""

Trainable = Callable[[dict[str, Any]], None]
"""Runs one trial, given the dict that holds its ``TrialJob``, in a process of its own."""


@dataclass(frozen=True)
class Limits:
    """When trials end, apart from the scheduler.

    Attributes:
        time_budget: seconds after which no trial goes on; None for no limit.
        timeout: seconds after which an epoch that has not ended ends its process; None for no limit.
    """

    time_budget: float | None = None
    timeout: float | None = None

    @property
    def used_up(self) -> str:
        """Why trials are running when no more are wanted, in words."""
        return (
            "the search ended" if self.time_budget is None else f"the time budget of {self.time_budget:g} s was used up"
        )


def training(split: Split, checkpoints: Folder, timeout: float | None) -> Trainable:
    """Return the function that trains a trial on ``split``, which every process of a node shares without a copy.

    Args:
        checkpoints: the folder for the trials' checkpoints.
        timeout: seconds after which an epoch that has not ended ends its process.
    """
    function: Trainable = tune.with_parameters(trainable, split=split, checkpoints=checkpoints, timeout=timeout)
    return function


def run_trials(
    function: Trainable,
    searcher: OptunaSearcher,
    scheduler: TrialScheduler,
    tables: TrialTables,
    placement: Placement,
    limits: Limits,
    *,
    slots: Slots | None = None,
    on_step: Callable[[int | None], None],
    on_start: Callable[[TrialJob], None] = lambda job: None,
    on_epoch: Callable[[int, EpochResult], None] = lambda number, result: None,
) -> None:
    """Run trials until the searcher has no more or the time is up; their rows are in ``tables`` when this returns.

    Args:
        function: runs one trial.
        searcher: suggests configurations and is told how each trial ended; knows which trials wait.
        scheduler: says which trials go on.
        tables: get the rows.
        placement: what a trial occupies.
        limits: when to end.
        slots: how many run at once; those of the placement, on a cluster of this process's own, if None.
        on_step: called at least ten times a second with None, and with a trial's number when it has ended.
        on_start: called with each trial that begins or goes on, when its row is in ``tables``.
        on_epoch: called once for each epoch, with its trial's number, when its row is in ``tables``.
    """
    slots = slots or Slots(placement, joined=False)
    limiter = ConcurrencyLimiter(searcher, slots.wanted)
    watcher = _Watcher(searcher, tables, on_step, on_start, on_epoch, limits.timeout, slots, limiter)
    with tempfile.TemporaryDirectory(prefix="tune_fmnist-") as scratch, ray_private.resilient_controller():
        try:
            tune.run(
                function,
                name="trials",
                storage_path=str(Path(scratch)),
                # The searcher says when there are enough.
                num_samples=-1,
                search_alg=limiter,
                scheduler=scheduler,
                resources_per_trial=placement.resources,
                time_budget_s=limits.time_budget,
                reuse_actors=True,
                callbacks=[watcher],
                raise_on_failed_trial=False,
                max_failures=_RETRIES,
                # In a notebook, Ray's default would clear what stands below the cell.
                progress_reporter=tune.CLIReporter(),
                verbose=0,
                log_to_file=False,
            )
            reason = None if searcher.is_exhausted else limits.used_up
            for trial in tables.unfinished:
                tables.end(trial["number"], reason)
                on_step(trial["number"])
            searcher.finish(tables.trials, reason)
        finally:
            tables.publish(now=True)


def _job(trial: Trial) -> TrialJob:
    job: TrialJob = trial.config[JOB]
    return job


@dataclass(eq=False)
class _Watcher(tune.Callback):
    """What happens to Ray's trials into rows, and nodes that come and go into the number of trials under way."""

    searcher: OptunaSearcher
    tables: TrialTables
    on_step: Callable[[int | None], None]
    on_start: Callable[[TrialJob], None]
    on_epoch: Callable[[int, EpochResult], None]
    timeout: float | None
    slots: Slots
    limiter: ConcurrencyLimiter
    told: dict[int, float] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)
    unsaved: set[int] = field(default_factory=set)
    losses: list[tuple[float, Trial]] = field(default_factory=list)
    node_lost: float = -math.inf

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        job = _job(trial)
        self.told[job.number] = time.monotonic()
        self.killed.discard(job.number)
        self.tables.start(job)
        self._note_audit(job.number)
        self.on_start(job)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number, epoch = _job(trial).number, result[RESULT]
        self.told[number] = time.monotonic()
        self._warn(number, epoch)
        is_new = epoch.epoch > self.tables.trials[number]["epochs"]
        self.tables.add(number, epoch)
        # Ray has asked the scheduler before.
        self._note_audit(number)
        if is_new:
            self.on_epoch(number, epoch)

    def _note_audit(self, number: int) -> None:
        if (epoch := self.searcher.audit.stopped_at.get(number)) is not None:
            self.tables.audit(number, epoch)

    def _warn(self, number: int, epoch: EpochResult) -> None:
        """Say once that a trial's checkpoints cannot be written, until one can again."""
        if epoch.unsaved is None:
            self.unsaved.discard(number)
        elif number not in self.unsaved:
            self.unsaved.add(number)
            what = f"epoch {epoch.epoch} of trial {number} has no checkpoint, the trial goes on: {epoch.unsaved}"
            logging.getLogger(__name__).warning(what)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.losses.append((time.monotonic(), trial))
        if time.monotonic() - self.node_lost <= _LATE_SECONDS:
            self._forgive()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        number = _job(trial).number
        if number in self.searcher.rungs.waiting:
            self.tables.pause(number)
        else:
            self.tables.end(number)
        self.on_step(number)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        job = _job(trial)
        if job.number not in self.tables.trials:
            self.tables.start(job)
            self.on_start(job)
        reason = self._reason(trial)
        # A search's journal is written before its tables.
        self.searcher.fail(job.number, reason)
        self.tables.fail(job.number, reason)
        self.on_step(job.number)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.tables.publish()
        self.on_step(None)
        signals.check()
        head.check()
        self._end_the_silent(trials)
        if (lost := self.slots.count()) is not None:
            self.limiter.max_concurrent = self.slots.wanted
            if lost:
                self.node_lost = time.monotonic()
                self._forgive()

    def _end_the_silent(self, trials: list[Trial]) -> None:
        """End processes that have not even ended themselves at the timeout, as where the system has halted them."""
        if self.timeout is None:
            return
        latest = time.monotonic() - self.timeout - _SILENT_SECONDS
        for trial in trials:
            number = _job(trial).number
            if trial.status == Trial.RUNNING and self.told.get(number, math.inf) < latest and number not in self.killed:
                self.killed.add(number)
                ray.kill(ray_private.process_of(trial))

    def _forgive(self) -> None:
        """Let a node's loss not count as a failure of its trials, which lose their processes shortly before or after.

        Another trial's error of that time is forgiven with it, which costs it one more attempt.
        """
        since = time.monotonic() - _DEATH_SECONDS
        for at, trial in self.losses:
            if at >= since:
                ray_private.forgive(trial)
        self.losses.clear()

    def _reason(self, trial: Trial) -> str:
        """Return the last line of a trial's error: the traceback of its process stands before it."""
        lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
        silent = time.monotonic() - self.told.get(_job(trial).number, math.inf)
        if self.timeout is not None and silent >= self.timeout:
            return f"no epoch within {self.timeout:g} s, --trial-timeout, {_RETRIES + 1} times: {lines[-1]}"
        return lines[-1]
