"""The result of a search as the last of its events."""

from __future__ import annotations

import math
from typing import Any

from tune_fmnist.reporting import verdicts
from tune_fmnist.reporting.events import Finished
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.store import tables

_TESTED = {
    "test_accuracy": "mean",
    **{name: name for name in ("low", "high", "difference", "difference_low", "difference_high", "p_value")},
}
"""Figures of the test in the event, and their columns in ``Retrained.summary``."""


def finished(results: Results) -> Finished:
    """Return what a search found: of its best configuration, or of its best trial where nothing was tested."""
    retrained = Retrained.of(results)
    best: dict[str, Any] = {}
    if retrained is not None:
        best = retrained.best
    elif not results.ranked.empty:
        best = rows_of(results.ranked)[0]
    figures = {name: _number(best.get(column)) for name, column in _TESTED.items()}
    validation = best.get("score" if retrained is None else "validation")
    return Finished(
        name=results.record.name,
        folder=results.paths.folder.absolute(),
        page=results.paths.page.absolute(),
        answer=None if retrained is None else verdicts.answer(retrained, results.dataset_title),
        config_id=best.get("config_id"),
        config=_config(results, best["config_id"]) if best else None,
        validation=_number(validation),
        seeds=best["seeds"] if retrained is not None else None,
        **figures,
    )


def _config(results: Results, config_id: str) -> dict[str, Any]:
    """Return a configuration's parameters as a trial's row has them, with the types of the table."""
    rows = tables.read(results.paths.trials, tables.TRIALS).to_pylist()
    return tables.config_values(next(row for row in rows if row["config_id"] == config_id))


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
