"""Schedulers that pause trials and let the best of them go on later, instead of stopping them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import TrialScheduler

from tune_fmnist.store.jobs import METRIC


class Promotion:
    """ASHA as it was published (Li et al. 2020): a trial waits at a rung until it is among the best there.

    The baseline, trial 0, never waits and does not count.

    Args:
        max_epochs: the end.
        grace: the first rung.
        factor: one in so many goes on; the next rung is so many times as far.
    """

    def __init__(self, max_epochs: int, grace: int, factor: int) -> None:
        self._factor = factor
        self._rungs: dict[int, dict[str, float]] = {}
        self._promoted: dict[int, set[str]] = {}
        rung = grace
        while rung < max_epochs:
            self._rungs[rung], self._promoted[rung] = {}, set()
            rung *= factor

    def expect(self, trials: int) -> None:
        """The number of trials is of no matter here."""

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        if trial.trial_id == "0" or result["epoch"] not in self._rungs:
            return str(TrialScheduler.CONTINUE)
        self._rungs[result["epoch"]][trial.trial_id] = result[METRIC]
        return str(TrialScheduler.PAUSE)

    def promoted(self) -> str | None:
        for epoch in sorted(self._rungs, reverse=True):
            rung, gone = self._rungs[epoch], self._promoted[epoch]
            best = sorted(rung, key=lambda name: -rung[name])[: len(rung) // self._factor]
            for name in best:
                if name not in gone:
                    gone.add(name)
                    return name
        return None


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


Pausing = Promotion | BestShare
"""A scheduler of which a free slot asks for a paused trial, before it begins a new one."""
