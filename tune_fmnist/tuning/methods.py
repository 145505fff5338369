"""The arguments of the searchers and schedulers, spelled out and recorded in ``search.json``."""

from __future__ import annotations

from typing import Any, Final

from tune_fmnist.base.vocabulary import SchedulerName, SearcherName

SEARCHER_ARGUMENTS: Final[dict[SearcherName, dict[str, Any]]] = {
    "tpe": {"n_startup_trials": 10, "n_ei_candidates": 24, "multivariate": True, "constant_liar": True},
    "gp": {"n_startup_trials": 10, "deterministic_objective": False},
    "random": {},
}
"""Optuna's defaults change between releases."""

SCHEDULER_ARGUMENTS: Final[dict[SchedulerName, dict[str, int]]] = {
    "asha": {"grace": 1, "reduction_factor": 3},
    "fifo": {},
}
"""``grace``: epochs before a trial can be stopped."""
