"""Which trials count, and in what order: the one definition for tables, screen, page and retrains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, TypeVar

from tune_fmnist.base.vocabulary import COMPLETED, STOPPED, UNFINISHED
from tune_fmnist.store.record import Settings

Trial = TypeVar("Trial", bound=Mapping[str, Any])


def counts(trial: Mapping[str, Any]) -> bool:
    """Return whether a row of ``trials.parquet`` has a score, and did not diverge, fail or run on for the audit."""
    score, audited = trial.get("score"), trial.get("audited_at")
    if audited is not None and not math.isnan(audited):
        return False
    return score is not None and not math.isnan(score) and trial["status"] in (*UNFINISHED, COMPLETED, STOPPED)


def confirmed(confirmations: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean score of each configuration's confirmations, highest first, of equal ones the earlier trial's.

    The trial itself does not count: it was chosen for its score, which is higher than it would be another time.

    Args:
        confirmations: rows of ``confirmations.parquet``.
    """
    scores: dict[str, list[float]] = {}
    # A configuration that was drawn again may be confirmed under both numbers.
    for row in sorted(confirmations, key=itemgetter("number")):
        scores.setdefault(row["config_id"], []).append(row["score"])
    means = {name: math.fsum(own) / len(own) for name, own in scores.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def start_id(trials: Iterable[Mapping[str, Any]], record: Settings) -> str | None:
    """Return the ``config_id`` of the space's first start, trial 1; None if there is none besides the baseline.

    Args:
        trials: rows of ``trials.parquet``.
        record: of the search.
    """
    ids = {trial["number"]: str(trial["config_id"]) for trial in trials if trial["number"] in (0, 1)}
    return ids.get(1) if record.space.get("start") and ids.get(1) != ids.get(0) else None


def ranked(trials: Iterable[Trial], *, ended: bool = False) -> list[Trial]:
    """Return the trials that count: those that reached the last epoch first, by score, then the others.

    The others are in the order of the epochs that they reached, then of their scores: a score after few epochs says
    little of one after many.  Of equal ones the earlier is first.

    Args:
        trials: rows of ``trials.parquet``.
        ended: whether a trial that still runs or waits is left out.
    """
    of_use = [trial for trial in trials if counts(trial) and not (ended and trial["status"] in UNFINISHED)]
    return sorted(
        of_use,
        key=lambda trial: (trial["status"] != COMPLETED, -trial["epochs"], -trial["score"], trial["number"]),
    )
