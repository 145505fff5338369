"""All trials train for an epoch, and then the best of them go on: a contender that the package does not have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import TrialScheduler

from tune_fmnist.store.jobs import METRIC


class BestShare:
    """All trials train for an epoch; then the best share of them trains to the end.

    Args:
        share: how many of the trials, as a fraction; at least one.
    """

    def __init__(self, share: float) -> None:
        self._share, self._trials = share, 0
        self._told: dict[str, float] = {}
        self._gone: set[str] = set()

    def expect(self, trials: int) -> None:
        # Without the baseline, which never waits.
        self._trials = trials - 1

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        if trial.trial_id == "0" or result["epoch"] > 1:
            return str(TrialScheduler.CONTINUE)
        self._told[trial.trial_id] = result[METRIC]
        return str(TrialScheduler.PAUSE)

    def promoted(self) -> str | None:
        if len(self._told) < self._trials:
            return None
        count = math.ceil(self._share * self._trials)
        best = sorted(self._told, key=lambda name: -self._told[name])[:count]
        for name in best:
            if name not in self._gone:
                self._gone.add(name)
                return name
        return None
