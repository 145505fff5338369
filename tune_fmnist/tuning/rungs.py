"""Trials that wait at a rung until they are among the best there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from tune_fmnist.base.vocabulary import PAUSED, STOPPED
from tune_fmnist.store.record import SchedulerSettings


class Rungs:
    """ASHA with promotion (Li et al. 2020): who has reached which rung, who waits there, and who goes on next.

    Of the trials that have reached a rung, the best one in ``factor`` goes on, each as soon as a slot is free; the
    others wait, for as the rung fills more of them may go on.  A search without such rungs has none, and nobody waits.

    Args:
        epochs: of the rungs, ascending.
        factor: of the trials at a rung, the best one in so many goes on.
        scores: by rung and trial number, of those that have reached it before.
        waiting: the rung at which each waiting trial waits, by number.
        went_on: the last rung after which each other trial went on, by number.
        closed: the rung at which trials of an earlier run were stopped for good, by number.  They count in it, but do
            not take the place of one that can go on.
    """

    def __init__(
        self,
        epochs: Iterable[int] = (),
        factor: int = 1,
        scores: Mapping[int, Mapping[int, float]] | None = None,
        waiting: Mapping[int, int] | None = None,
        went_on: Mapping[int, int] | None = None,
        closed: Mapping[int, int] | None = None,
    ) -> None:
        self._scores = {epoch: dict((scores or {}).get(epoch, {})) for epoch in epochs}
        self._factor = factor
        self._waiting, self._went_on = dict(waiting or {}), dict(went_on or {})
        self._closed = dict(closed or {})

    @classmethod
    def resumed(
        cls,
        settings: SchedulerSettings,
        max_epochs: int,
        trials: Mapping[int, Mapping[str, Any]],
        epochs: Iterable[Mapping[str, Any]],
    ) -> Self:
        """Return the rungs of a search, as its tables have them.

        Args:
            settings: of the search's scheduler.
            max_epochs: of a trial that is not stopped.
            trials: rows of ``trials.parquet``, by number.
            epochs: as ``TrialTables.reported`` returns them.
        """
        if settings.name != "promotion" or settings.reduction_factor is None:
            return cls()
        rungs = settings.rungs(max_epochs)
        scores: dict[int, dict[int, float]] = {epoch: {} for epoch in rungs}
        for row in epochs:
            number, epoch = row["number"], row["epoch"]
            counted = trials[number].get("audited_at", max_epochs)
            if number and epoch in scores and epoch <= counted:
                scores[epoch][number] = row["score"]
        waiting = {number: row["epochs"] for number, row in trials.items() if row["status"] == PAUSED}
        closed = {
            number: row.get("audited_at", row["epochs"]) for number, row in trials.items() if row["status"] == STOPPED
        }
        went_on = {
            number: max((rung for rung in rungs if rung < row["epochs"]), default=0) for number, row in trials.items()
        }
        return cls(rungs, settings.reduction_factor, scores, waiting, went_on, closed)

    @property
    def highest(self) -> int:
        """The epoch of the highest rung; 0 without rungs."""
        return max(self._scores, default=0)

    @property
    def waiting(self) -> Mapping[int, int]:
        """The rung at which each waiting trial waits, by number."""
        return self._waiting

    def waits(self, number: int, epoch: int, score: float, *, for_good: bool) -> bool:
        """Return whether a trial waits after an epoch: at a rung, unless it is the one that goes on next.

        Args:
            number: the trial's.
            epoch: from 1.
            score: after it.
            for_good: whether it has ended and cannot go on, as one that has diverged; its score counts all the same.
        """
        if epoch not in self._scores or epoch <= self._went_on.get(number, 0):
            return False
        self._scores[epoch][number] = score
        if for_good:
            return False
        self._waiting[number] = epoch
        if self.candidate() == number:
            self.promote(number)
        return number in self._waiting

    def candidate(self) -> int | None:
        """Return the waiting trial that goes on next: of those at the highest rung the best; None if none may."""
        for epoch in sorted(self._scores, reverse=True):
            scores = self._scores[epoch]
            able = [number for number in scores if self._closed.get(number) != epoch]
            # Of equal ones the earlier is first.
            best = sorted(able, key=lambda number: (-scores[number], number))[: len(scores) // self._factor]
            for number in best:
                if self._waiting.get(number) == epoch:
                    return number
        return None

    def promote(self, number: int) -> int:
        """Let a waiting trial go on; return the rung at which it waited."""
        self._went_on[number] = self._waiting.pop(number)
        return self._went_on[number]
