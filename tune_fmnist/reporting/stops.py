"""Was early stopping right?  How ranks at the rungs agree with those at the end, and how often the audit disagrees."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from scipy import stats

from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.wording import counted, percent

FEWEST: Final = 5
"""Trials below which a rank correlation says nothing."""

PLACES: Final = 3
"""A trial is wrongly stopped if it would have ranked among so many first."""


class Rung(NamedTuple):
    """An epoch at which trials are stopped, and Spearman's correlation of the scores there with those at the end.

    ``trials`` reached the end.  The correlation and its 95 % interval are NaN where there are fewer than ``FEWEST``, or
    where both scores are of the same epochs.
    """

    epoch: int
    trials: int
    correlation: float
    low: float
    high: float


class FalseStops(NamedTuple):
    """How many ``audited`` trials would have ranked among the first three, and the 95 % interval of their share."""

    wrong: int
    audited: int
    low: float
    high: float


def rungs(results: Results) -> list[Rung]:
    """Return the rungs of a search, over the trials that went on to the last epoch, without the baseline.

    They are the better ones, as the others were stopped: among all trials the correlation is higher.  The interval is
    that of Bonett and Wright (2000, Psychometrika 65).
    """
    record, trials = results.record, results.trials
    whole = trials.loc[(trials["status"] == COMPLETED) & (trials["number"] > 0), "trial_id"]
    own = results.epochs[results.epochs["trial_id"].isin(whole)]
    accuracies = own.pivot_table(index="epoch", columns="trial_id", values="val_accuracy")
    scores = accuracies.rolling(SCORED_EPOCHS, min_periods=1).mean()
    found = []
    for epoch in record.scheduler.rungs(record.max_epochs):
        enough = len(whole) >= FEWEST and epoch in scores.index and record.max_epochs - epoch >= SCORED_EPOCHS
        correlation = float(stats.spearmanr(scores.loc[epoch], scores.iloc[-1]).statistic) if enough else math.nan
        found.append(Rung(epoch, len(whole), correlation, *_interval(correlation, len(whole))))
    return found


def _interval(correlation: float, count: int) -> tuple[float, float]:
    if not -1.0 < correlation < 1.0:
        return correlation, correlation
    reach = float(stats.norm.ppf(0.975)) * math.sqrt((1.0 + correlation**2 / 2.0) / (count - 3))
    middle = math.atanh(correlation)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def false_stops(results: Results) -> FalseStops | None:
    """Return what the audit found; None if no audited trial has reached the last epoch or diverged on the way.

    None as well if fewer than three others have, the baseline aside: nobody was kept from a place then.  The interval
    is Clopper and Pearson's (1934).
    """
    trials = results.trials
    diverged = trials["status"] == DIVERGED
    audited = trials[trials["audited_at"].notna() & (diverged | (trials["epochs"] == results.record.max_epochs))]
    ranked = results.ranked
    first = ranked.loc[(ranked["status"] == COMPLETED) & (ranked["number"] > 0), "score"].head(PLACES)
    if audited.empty or len(first) < PLACES:
        return None
    wrong = int(((audited["status"] != DIVERGED) & (audited["score"] > first.min())).sum())
    interval = stats.binomtest(wrong, len(audited)).proportion_ci(0.95, method="exact")
    return FalseStops(wrong, len(audited), float(interval.low), float(interval.high))


def told_by_audit(results: Results) -> str | None:
    """Return in a sentence how many trials were wrongly stopped; None if there was no audit."""
    if (found := false_stops(results)) is None:
        return None
    return (
        f"Of {counted(found.audited, 'stopped trial')} that ran on for the audit, {found.wrong} would have ranked "
        f"among the first {PLACES}: {percent(found.wrong / found.audited, 0)} "
        f"(95 % interval {percent(found.low, 0)} to {percent(found.high, 0)})."
    )
