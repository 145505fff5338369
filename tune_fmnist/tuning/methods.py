"""The settings of the searchers and schedulers, spelled out and recorded in ``search.json``.

They were chosen by ``benchmarks/quality``.
"""

from __future__ import annotations

from typing import Any, Final

from tune_fmnist.base.vocabulary import SchedulerName, SearcherName

SEARCHER: Final[SearcherName] = "gp"
SCHEDULER: Final[SchedulerName] = "promotion"

SAMPLER_ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
    "tpe": {"n_ei_candidates": 24, "multivariate": True, "constant_liar": True},
    "gp": {"deterministic_objective": False},
    "random": {},
}
"""Optuna's defaults change between releases."""

N_STARTUP_TRIALS: Final = 3
"""Trials with an epoch, the baseline among them, before a searcher's model draws."""

GRACE: Final = 3
"""Epochs before a trial can wait or be stopped: after fewer, ranks say little of those at the end."""

REDUCTION_FACTOR: Final = 3
"""One in so many trials goes on at each rung, and the next rung is so many times as far."""
