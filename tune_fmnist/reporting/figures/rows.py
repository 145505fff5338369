"""The trials as rows that all charts of trials share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, RUNNING
from tune_fmnist.reporting.figures.style import CHOSEN, RAMP, accuracy_scale, hundredfold, palette, share_of_ink
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.wording import counted, plain
from tune_fmnist.store.ranking import start_id
from tune_fmnist.store.tables import config_values
from tune_fmnist.tuning.cube import to_cube, value_of
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_files import recorded

TRIALS: Final = "trials"
"""The name under which charts know the rows."""

SHOWN: Final = alt.condition(CHOSEN, alt.value(1.0), alt.value(0.06))


@dataclass(frozen=True)
class TrialRows:
    """What charts of trials share.

    Attributes:
        space: of the search.
        rows: one per trial: number ``n``, ``role`` (baseline, start, best or trial), ``status``, ``reached``,
            ``origin``, ``score`` in percent, ``epochs``, ``minutes``, ``size`` in parameters, and of each parameter of
            the space its value ``v_NAME`` and its coordinate ``c_NAME`` from 0 to 1, null outside of the space; ``c_``
            is the coordinate of the score in ``score_range``, or at its end.
        colours: of ``reached``, in order, of those that occur.
    """

    space: Space
    rows: list[dict[str, Any]]
    colours: dict[str, str]

    @property
    def reached(self) -> alt.Color:
        """The colour of how far a trial came, with its legend."""
        return alt.Color("reached:N", scale=palette(self.colours), legend=alt.Legend(symbolOpacity=1.0))

    @property
    def legend(self) -> dict[str, str]:
        """The same for a figure of several panels, which ring the best and the baseline."""
        return {**self.colours, "ring: the baseline": "base", "ring: the best": "best"}

    @property
    def ink(self) -> float:
        """By how much marks are smaller and lines paler where trials are many."""
        return share_of_ink(len(self.rows))

    @property
    def score_range(self) -> tuple[float, float]:
        """The scores in percent that an axis holds; there is a score."""
        low, high = accuracy_scale(self.scores).domain
        return low, high

    @property
    def scores(self) -> list[float]:
        """The scores, fractions, of the trials that have one and did not diverge."""
        return [
            row["score"] / 100.0
            for row in self.rows
            if row["score"] is not None and row["status"] not in (DIVERGED, FAILED)
        ]


def trial_rows(results: Results, retrained: Retrained | None) -> TrialRows:
    """Return the trials of a search.

    Raises:
        InputError: the recorded space cannot be read.
    """
    space = recorded(results.record.space, file=str(results.paths.search))
    roles = _roles(results, retrained)
    bounds = [*results.record.scheduler.rungs(results.record.max_epochs), results.record.max_epochs]
    rows = []
    for trial in rows_of(results.trials):
        row: dict[str, Any] = {
            "n": trial["number"],
            "role": "baseline" if trial["number"] == 0 else roles.get(trial["config_id"], "trial"),
            "status": trial["status"],
            "reached": _reached(trial, bounds),
            "origin": trial["origin"] if isinstance(trial["origin"], str) else None,
            "score": None if trial["status"] == FAILED else hundredfold(trial["score"]),
            "epochs": trial["epochs"],
            "minutes": trial["seconds"] / 60.0,
            "size": None if pd.isna(trial["parameters"]) else int(trial["parameters"]),
        }
        rows.append(row | _point(space, config_values(trial)))
    data = TrialRows(space, rows, _colours(rows, bounds))
    low, high = data.score_range if data.scores else (0.0, 1.0)
    for row in rows:
        score = row["score"]
        row["c_"] = None if score is None else min(1.0, max(0.0, (score - low) / (high - low)))
    return data


def _roles(results: Results, retrained: Retrained | None) -> dict[str, str]:
    """Return by configuration which is the start and which the best: the same as in the table, or of the trials."""
    start = start_id(rows_of(results.trials[["number", "config_id"]]), results.record)
    roles = {} if start is None else {start: "start"}
    if retrained is not None:
        roles[retrained.best["config_id"]] = "best"
    elif len(results.ranked):
        roles[results.ranked["config_id"].iloc[0]] = "best"
    return roles


def _reached(trial: Mapping[str, Any], bounds: list[int]) -> str:
    if trial["status"] in (RUNNING, DIVERGED, FAILED):
        return str(trial["status"])
    stopped = trial["audited_at"]
    if trial["status"] == COMPLETED and (stopped is None or math.isnan(stopped)):
        return f"{counted(bounds[-1], 'epoch')}, the end"
    ended = trial["epochs"] if stopped is None or math.isnan(stopped) else int(stopped)
    return _up_to(next((bound for bound in bounds if ended <= bound), bounds[-1]))


def _up_to(bound: int) -> str:
    return f"up to {counted(bound, 'epoch')}"


def _colours(rows: list[dict[str, Any]], bounds: list[int]) -> dict[str, str]:
    found = {row["reached"] for row in rows}
    steps = [_up_to(bound) for bound in bounds]
    colours = {step: RAMP[min(place, len(RAMP) - 2)] for place, step in enumerate(steps)}
    colours |= {
        f"{counted(bounds[-1], 'epoch')}, the end": RAMP[-1],
        RUNNING: "start",
        DIVERGED: "lost",
        FAILED: "lost",
    }
    return {name: colour for name, colour in colours.items() if name in found}


def _point(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """Return the values and coordinates of a configuration; a choice is text, as an axis has it."""
    point: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        value = value_of(space, name, config)
        point[f"v_{name}"] = plain(value) if value is not None and parameter.type == "categorical" else value
        inside = value is not None and parameter.contains(value)
        point[f"c_{name}"] = to_cube(parameter, value) if inside and value is not None else None
    return point
