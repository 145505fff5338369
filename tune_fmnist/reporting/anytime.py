"""How good the best trial was, against time, epochs and the number of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaln

from tune_fmnist.base.metrics import DIVERGED_SCORE
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED
from tune_fmnist.reporting.results import Results


class BestPoint(NamedTuple):
    """A trial that reached the last epoch, in the order of their ends.

    Attributes:
        number: of the trial.
        seconds: from the first trial's start to this trial's end, without the time in which the search did not run.
        epochs: what all trials together had trained by then.
        best: the best score so far, a fraction.
    """

    number: int
    seconds: float
    epochs: int
    best: float


class ExpectedBest(NamedTuple):
    """The best score to expect of so many ``trials``: its mean and standard deviation over all choices of them."""

    trials: int
    mean: float
    std: float


def best_so_far(trials: pd.DataFrame, epochs: pd.DataFrame, resumed_at: Sequence[datetime]) -> list[BestPoint]:
    """Return the best score after the end of each trial that reached the last epoch.

    Args:
        trials: rows of ``trials.parquet``.
        epochs: rows of ``epochs.parquet``.
        resumed_at: when the search went on after an interruption, of the search record.
    """
    ends = epochs.groupby("trial_id")["reported_at"].max().rename("ended_at")
    kept = trials[trials["status"] == COMPLETED].join(ends, on="trial_id").sort_values("ended_at")
    if kept.empty:
        return []
    began = min(trials["started_at"].min(), epochs["reported_at"].min())
    pauses = pd.Series(0.0, index=kept.index)
    for moment in resumed_at:
        # What ran between the last report and the interruption was lost, and counts as not run.
        if not (before := epochs.loc[epochs["reported_at"] < moment, "reported_at"]).empty:
            pauses += (kept["ended_at"] >= moment) * (moment - before.max()).total_seconds()
    reported = np.sort(epochs["reported_at"].to_numpy())
    spent = np.searchsorted(reported, kept["ended_at"].to_numpy(), side="right")
    best = kept["score"].cummax()
    seconds = (kept["ended_at"] - began).dt.total_seconds() - pauses
    columns = (kept["number"], seconds, spent, best)
    return [
        BestPoint(int(number), float(second), int(epoch), float(score))
        for number, second, epoch, score in zip(*columns, strict=True)
    ]


def expected_best(scores: NDArray[np.float64]) -> list[ExpectedBest]:
    """Return what the best of 1, 2, ... trials is to be expected to score.

    The estimator without bias: the mean over all choices of so many of the trials, without repeats (Tang et al. 2020,
    ACL, who correct Dodge et al. 2019, EMNLP, whose choices have repeats).  It holds for trials of which none depends
    on another.

    Args:
        scores: of all trials (trials,), at least one.
    """
    ordered = np.sort(scores)
    count = len(ordered)
    places = np.arange(1, count + 1, dtype=np.float64)
    found = []
    for size in range(1, count + 1):
        possible = places >= size
        # The chance that the score at a place is the best of those chosen: C(place - 1, size - 1) / C(count, size).
        logs = _log_binomial(places[possible] - 1, size - 1) - _log_binomial(np.array([float(count)]), size)
        chances = np.exp(logs)
        chances /= chances.sum()
        mean = float(chances @ ordered[possible])
        variance = float(chances @ (ordered[possible] - mean) ** 2)
        found.append(ExpectedBest(size, mean, math.sqrt(max(0.0, variance))))
    return found


def drawn_scores(results: Results) -> NDArray[np.float64]:
    """Return the scores of the trials that a searcher drew, in their order: neither the baseline nor a start.

    A diverged trial has the lowest score there is; those that failed or have reported nothing are left out.
    """
    trials = results.trials
    # Of version 1 nobody knows who proposed a trial: the starts came first.
    starts = len(results.record.space.get("start", []))
    start = trials["origin"].eq("start") | (trials["origin"].isna() & (trials["number"] <= starts))
    drawn = trials[(trials["number"] > 0) & ~start & (trials["status"] != FAILED)].sort_values("number")
    scores = drawn["score"].mask(drawn["status"] == DIVERGED, DIVERGED_SCORE).dropna()
    listed: NDArray[np.float64] = scores.to_numpy(np.float64)
    return listed


def _log_binomial(top: NDArray[np.float64], below: int) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = gammaln(top + 1.0) - gammaln(below + 1.0) - gammaln(top - below + 1.0)
    return logs
