"""Running a search's trials in the slots of Ray's cluster."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tune_fmnist.runtime.slots import Placement, Slots

# isort: split
# Ray after the slots' module, which sets what Ray reads when it is imported.
import ray.tune.tune
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter

from tune_fmnist.base import signals
from tune_fmnist.data.fashion_mnist import Split
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.trial_tables import Ledger
from tune_fmnist.trial import trainable
from tune_fmnist.tuning.searcher import OptunaSearcher

_RETRIES = 2
"""How often a trial whose process was lost or raised an error goes on from its checkpoint."""

_DEATH_SECONDS = 90.0
"""How long after the loss of a trial's process Ray may take to see that its node is gone; by default, 65 s."""

_LATE_SECONDS = 10.0
"""How long after a node is seen to be gone Ray may take to tell of a trial's process that was lost with it."""


class _Controller(TuneController):
    """Ray's, but that a trial goes on elsewhere when the process that it is handed, another trial's before, has died.

    Ray hears of it twice.  The first time it puts the trial back into the queue, and the second time it ends it as
    failed, whatever its retries: for it is not running then.
    """

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        trial = self._actor_to_trial[tracked_actor]
        if trial in self._resetting_trials:
            self._resetting_trials.remove(trial)
            self._unstage_trial_with_resources(trial)
            self._set_trial_status(trial, Trial.RUNNING)
        super()._actor_failed(tracked_actor, exception)


# It cannot be told to: this is the name by which `tune.run` makes its controller.
ray.tune.tune.TuneController = _Controller  # type: ignore[attr-defined]


class _Watcher(tune.Callback):
    """Ray's trials into the ledger's rows, and the nodes that come and go into the number of trials under way."""

    def __init__(
        self,
        ledger: Ledger,
        on_step: Callable[[int | None], None],
        timeout: float | None,
        slots: Slots,
        limiter: ConcurrencyLimiter,
    ) -> None:
        self._ledger, self._on_step, self._timeout = ledger, on_step, timeout
        self._slots, self._limiter = slots, limiter
        self._told: dict[int, float] = {}
        self._unsaved: set[int] = set()
        self._losses: list[tuple[float, Trial]] = []
        self._node_lost = -math.inf

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._told[trial.config["number"]] = time.monotonic()
        self._ledger.start(trial.config)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        number = trial.config["number"]
        self._told[number] = time.monotonic()
        if "unsaved" in result and number not in self._unsaved:
            why = f"epoch {result['epoch']} of trial {number} has no checkpoint, the trial goes on: {result['unsaved']}"
            logging.getLogger(__name__).warning(why)
        (self._unsaved.add if "unsaved" in result else self._unsaved.discard)(number)
        self._ledger.report(number, result)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._losses.append((time.monotonic(), trial))
        if time.monotonic() - self._node_lost <= _LATE_SECONDS:
            self._forgive()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ledger.end(trial.config["number"])
        self._on_step(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        number = trial.config["number"]
        if number not in self._ledger.trials:
            self._ledger.start(trial.config)
        self._ledger.fail(number, self._reason(trial))
        self._on_step(number)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._ledger.publish()
        self._on_step(None)
        signals.check()
        if (lost := self._slots.count()) is not None:
            self._limiter.max_concurrent = self._slots.wanted
            if lost:
                self._node_lost = time.monotonic()
                self._forgive()

    def _forgive(self) -> None:
        """Let a node's loss not count as a failure of its trials, which lose their processes shortly before or after.

        Another trial's error of that time is forgiven with it, which costs it one more attempt.
        """
        since = time.monotonic() - _DEATH_SECONDS
        for at, trial in self._losses:
            if at >= since and trial.run_metadata.num_failures:
                trial.run_metadata.num_failures -= 1
        self._losses.clear()

    def _reason(self, trial: Trial) -> str:
        """Return the last line of a trial's error: the traceback of its process stands before it."""
        lines = [line.strip() for line in Path(trial.error_file).read_text().splitlines() if line.strip()]
        silent = time.monotonic() - self._told.get(trial.config["number"], math.inf)
        if self._timeout is not None and silent >= self._timeout:
            return f"no epoch within {self._timeout:g} s, --trial-timeout, {_RETRIES + 1} times: {lines[-1]}"
        return lines[-1]


def training(split: Split, checkpoints: Folder, timeout: float | None) -> Callable[[dict[str, Any]], None]:
    """Return the function that trains a trial on ``split``, which every process of a node shares without a copy.

    Args:
        checkpoints: the folder for the trials' checkpoints.
        timeout: seconds after which an epoch that has not ended ends its process.
    """
    function: Callable[[dict[str, Any]], None] = tune.with_parameters(
        trainable, split=split, checkpoints=checkpoints, timeout=timeout
    )
    return function


def run_trials(
    function: Callable[[dict[str, Any]], None],
    searcher: OptunaSearcher,
    scheduler: TrialScheduler,
    ledger: Ledger,
    placement: Placement,
    *,
    trials: int,
    time_budget: float | None,
    timeout: float | None = None,
    slots: Slots | None = None,
    on_step: Callable[[int | None], None],
) -> None:
    """Run trials until there are enough or the time is up; their rows are in ``ledger`` when this returns.

    Args:
        function: runs one trial, given its job, in a process of its own.
        searcher: suggests configurations and is told how each trial ended.
        scheduler: stops trials early.
        ledger: gets the rows.
        placement: what a trial occupies.
        slots: how many run at once; those of the placement, on a cluster of this process's own, if None.
        trials: how many to run, those included that go on.
        time_budget: seconds after which no trial goes on; None for no limit.
        timeout: what ``training`` was given; a trial that it ended says so.
        on_step: called at least ten times a second with None, and with a trial's number when it has ended.
    """
    slots = slots or Slots(placement, joined=False)
    limiter = ConcurrencyLimiter(searcher, slots.wanted)
    with tempfile.TemporaryDirectory(prefix="tune_fmnist-") as scratch:
        try:
            tune.run(
                function,
                name="trials",
                storage_path=str(Path(scratch)),
                num_samples=trials,
                search_alg=limiter,
                scheduler=scheduler,
                resources_per_trial=placement.resources,
                time_budget_s=time_budget,
                reuse_actors=True,
                callbacks=[_Watcher(ledger, on_step, timeout, slots, limiter)],
                raise_on_failed_trial=False,
                max_failures=_RETRIES,
                verbose=0,
                log_to_file=False,
            )
            for trial in ledger.running:
                ledger.end(trial["number"], f"the time budget of {time_budget:g} s was used up")
            searcher.finish()
        finally:
            ledger.publish(now=True)
