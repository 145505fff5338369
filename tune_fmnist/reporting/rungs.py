"""The rungs of a search: how many trials entered each, how many went on, and where the cut lay."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.base.vocabulary import STOPPED
from tune_fmnist.reporting.results import Results


class RungCount(NamedTuple):
    """What became of the trials that reached a rung; the baseline, which is never stopped, is not among them.

    Attributes:
        epoch: of the rung, from 1.
        entered: trials with a score there.
        went_on: of these, those that trained further; those that ran on for the audit did not.
        stopped: of these, those that were stopped there.
        lowest_on: the lowest score of those that went on, a fraction; None if none did.
        highest_stopped: the highest score of those stopped; None if none was.
    """

    epoch: int
    entered: int
    went_on: int
    stopped: int
    lowest_on: float | None
    highest_stopped: float | None


def scores_after(epochs: pd.DataFrame, epoch: int) -> pd.Series[float]:
    """Return by ``trial_id`` the score after an epoch of each trial that reached it, whatever became of it then.

    Args:
        epochs: rows of ``epochs.parquet``.
        epoch: from 1.
    """
    until = epochs[epochs["epoch"] <= epoch].sort_values("epoch")
    reached = until.loc[until["epoch"] == epoch, "trial_id"]
    own = until[until["trial_id"].isin(reached)]
    scores: pd.Series[float] = own.groupby("trial_id")["val_accuracy"].apply(
        lambda accuracies: accuracies.tail(SCORED_EPOCHS).mean()
    )
    return scores.dropna()


def rung_counts(results: Results) -> list[RungCount]:
    """Return the rungs of a search in order; none if its scheduler stops no trial."""
    record = results.record
    trials = results.trials[results.trials["number"] > 0].set_index("trial_id")
    return [
        _count(epoch, trials, scores_after(results.epochs, epoch))
        for epoch in record.scheduler.rungs(record.max_epochs)
    ]


def _count(epoch: int, trials: pd.DataFrame, scores: pd.Series[float]) -> RungCount:
    there = trials[trials.index.isin(scores.index)]
    # One that ran on for the audit was stopped where the audit took it.
    ended = there["audited_at"].fillna(there["epochs"])
    stopped = there[(ended == epoch) & ((there["status"] == STOPPED) | there["audited_at"].notna())]
    on = there[ended > epoch]
    return RungCount(
        epoch,
        entered=len(there),
        went_on=len(on),
        stopped=len(stopped),
        lowest_on=None if on.empty else float(scores[on.index].min()),
        highest_stopped=None if stopped.empty else float(scores[stopped.index].max()),
    )


def common_epoch(results: Results) -> int:
    """Return the last epoch that all trials reach unless they are lost: the first rung, or else the end."""
    record = results.record
    return next(iter(record.scheduler.rungs(record.max_epochs)), record.max_epochs)
