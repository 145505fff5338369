"""Trials that run on although they would have been stopped, so that it shows how often that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tune_fmnist.base.seeds import derived_seed


@dataclass
class Audit:
    """Decides which trials run on outside of the search, and remembers after which epoch each would have been stopped.

    With promotion a trial would be stopped when the search ends, if it still waits then.

    Such a trial counts as stopped at that epoch for the scheduler, for what proposes configurations and in the ranking.
    What it reaches afterwards only tells whether it was rightly stopped.

    Attributes:
        share: of the trials that are stopped, from 0 to 1; each has this chance, by the search's seed and its number.
        seed: of the search.
        stopped_at: the epoch, by trial number.
    """

    share: float
    seed: int
    stopped_at: dict[int, int] = field(default_factory=dict)

    @classmethod
    def resumed(cls, share: float, seed: int, trials: Mapping[int, Mapping[str, Any]]) -> Self:
        """Return the audit of a search with these rows of ``trials.parquet``, by number."""
        known = {number: row["audited_at"] for number, row in trials.items() if row.get("audited_at") is not None}
        return cls(share, seed, known)

    def spares(self, number: int, epoch: int) -> bool:
        """Return whether a trial that would be stopped after an epoch runs on."""
        chance = derived_seed(derived_seed(self.seed, number), 2) / 2**32
        if chance < self.share:
            self.stopped_at[number] = epoch
        return chance < self.share

    def counted(self, number: int, scores: Mapping[int, float]) -> dict[int, float]:
        """Return a trial's scores by epoch as far as they count in the search."""
        last = self.stopped_at.get(number)
        return {epoch: score for epoch, score in scores.items() if last is None or epoch <= last}
