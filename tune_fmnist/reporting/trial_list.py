"""The trials as a table of the page: every trial, with the settings that vary as columns and the others once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from tune_fmnist.models.config import later_settings
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.wording import DASH, duration, percent, plain


class Cell(NamedTuple):
    """What a cell says, and what it is sorted by: a number, or None for the text itself."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class TrialList:
    """The columns' heads and, for each trial in rank order and then those that do not rank, its number and cells.

    ``same`` says the settings that are equal in all trials; ``best`` is the number of the first in rank, None if none.
    """

    heads: list[str]
    rows: list[tuple[int, list[Cell]]]
    same: str
    best: int | None


def trial_list(results: Results) -> TrialList:
    """Return the trials of a search as a table."""
    trials, ranked = results.trials, results.ranked["number"].tolist()
    settings = [
        name
        for name in trials.columns
        if name.startswith("config_") and name not in ("config_id", "config_model") and trials[name].notna().any()
    ]
    varying = [name for name in settings if trials[name].nunique(dropna=False) > 1]
    told = {name: trials[name].notna().any() for name in ("origin", "parameters", "node")}
    extra = [name for name in ("origin", "parameters") if told[name]]
    if told["node"] and trials["node"].nunique() > 1:
        extra.append("node")
    heads = ["trial", "rank", "score", "epochs", "status", "time", *extra, *map(_setting, varying)]
    ranks = {number: place for place, number in enumerate(ranked, start=1)}
    by_number = {row["number"]: row for row in rows_of(trials)}
    order = [*ranked, *(number for number in sorted(by_number) if number not in ranks)]
    rows = [(number, _cells(by_number[number], ranks.get(number), [*extra, *varying])) for number in order]
    # What is off everywhere need not be told.
    off = {f"config_{name}": value for name, value in later_settings(results.record.model).items()}
    alike = {name: row[name] for row in rows_of(trials[:1]) for name in settings if name not in varying}
    same = [
        f"{_setting(name)} {plain(value)}" for name, value in alike.items() if name not in off or value != off[name]
    ]
    return TrialList(heads, rows, ", ".join(same), ranked[0] if ranked else None)


def _cells(row: dict[str, Any], rank: int | None, columns: list[str]) -> list[Cell]:
    score = row["score"]
    known = score is not None and not math.isnan(score) and row["status"] not in ("diverged", "failed")
    cells = [
        Cell(str(row["number"]), row["number"]),
        Cell(DASH if rank is None else str(rank), math.inf if rank is None else rank),
        Cell(percent(score) if known else DASH, score if known else -1.0),
        Cell(str(row["epochs"]), row["epochs"]),
        Cell(row["status"] if math.isnan(row["audited_at"] or math.nan) else "audited"),
        Cell(duration(row["seconds"]), row["seconds"]),
    ]
    return cells + [_cell(name, row[name]) for name in columns]


def _cell(name: str, value: Any) -> Cell:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(plain(value))
    if math.isnan(value):
        return Cell(DASH, -math.inf)
    return Cell(f"{int(value):,}" if name == "parameters" else plain(value), float(value))


def _setting(column: str) -> str:
    return column.removeprefix("config_")
