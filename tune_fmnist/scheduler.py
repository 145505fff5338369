"""When a trial is stopped early: ASHA, or never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from tune_fmnist.names import SchedulerName
from tune_fmnist.searcher import METRIC

GRACE_EPOCHS: Final = 1
REDUCTION_FACTOR: Final = 3


class Asha(ASHAScheduler):
    """Asynchronous successive halving (Li et al. 2020), which never stops trial 0.

    Trial 0 is what the others are compared with: its best epoch is chosen over the same length as theirs, and so is
    the number of epochs for which it is retrained.  There is one bracket, so that nothing is drawn at random.
    """

    def __init__(self, max_epochs: int) -> None:
        super().__init__(
            time_attr="epoch",
            metric=METRIC,
            mode="max",
            max_t=max_epochs,
            grace_period=min(GRACE_EPOCHS, max_epochs),
            reduction_factor=REDUCTION_FACTOR,
            brackets=1,
        )

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return whether the trial goes on; its result counts in its rung either way."""
        action: str = super().on_trial_result(tune_controller, trial, result)
        spared = trial.config["number"] == 0 and result["epoch"] < self._max_t
        return TrialScheduler.CONTINUE if spared else action


SCHEDULERS: Final[dict[SchedulerName, Callable[[int], TrialScheduler]]] = {
    "asha": Asha,
    "fifo": lambda max_epochs: FIFOScheduler(),  # type: ignore[no-untyped-call]
}
