"""The README's table of results and what is said of each search, and how a text file takes a table."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish
from tune_fmnist.reporting import verdicts
from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import Comparison
from tune_fmnist.reporting.wording import (
    between,
    counted,
    p_text,
    percent,
    points,
    published,
    smaller_than_published,
)
from tune_fmnist.store.paths import SearchPaths

_COLUMNS: Final = (
    "model",
    "configuration",
    "validation",
    "test mean",
    "95 % interval",
    "difference",
    "p",
    "parameters",
    "seconds a seed",
)

MARKS: Final = ("<!-- results -->", "<!-- /results -->")
"""Lines between which ``--into`` writes the table of results."""


def write_results_table(file: Path, folders: Sequence[Path]) -> None:
    """Write the table of searches between its marks; errors as of ``results_table`` and ``write_between``."""
    write_between(file, MARKS, results_table(folders))


def results_table(folders: Sequence[Path]) -> str:
    """Return searches in Markdown: a table, then for each its command, what it found, and whether that may be chance.

    The table has the baseline as published and as retrained here, and the best one found.

    Raises:
        InputError: a folder is no search, or a table is missing or damaged.
    """
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    opened = [Results(SearchPaths(folder)) for folder in folders]
    for model in dict.fromkeys(results.record.model for results in opened):
        searches = [results for results in opened if results.record.model == model]
        if (by_report := next(filter(None, (published(results.record) for results in searches)), None)) is not None:
            lines.append(_line(model, "baseline, as published", by_report.validation, percent(by_report.test)))
        for results in searches:
            lines += _lines(results, named=len(searches) > 1)
    told = [f"- {_said(results)}" for results in opened]
    return "\n".join([*lines, "", *told]) + "\n"


def _said(results: Results) -> str:
    """Return in sentences how a search was run, who proposed what it found, and what the tests say of it."""
    record, retrained = results.record, Retrained.of(results)
    said = [f"`{results.paths.folder.resolve().name}`: `{record.command}`."]
    if retrained is None:
        return " ".join([*said, "Nothing was tested."])
    best = retrained.best
    trials = results.trials[results.trials["config_id"] == best["config_id"]]
    by = {
        "model": ", proposed by the searcher's model",
        "random": ", drawn at random",
        "start": ", the start written by hand",
        "baseline": ", the baseline",
    }
    who = "".join(by[origin] for origin in trials["origin"].dropna()[:1])
    said.append(f"Best of {counted(len(results.trials), 'trial')}{who}: {best['settings']}.")
    if not math.isnan(best["p_value"]):
        own = Comparison(best["difference"], best["difference_low"], best["difference_high"], best["p_value"])
        said.append(f"Against the baseline: {verdicts.gained(own)}.")
    confirmed = Confirmed.of(results)
    tied = None if confirmed is None else verdicts.ties(confirmed.against_first, "validation")
    said += filter(None, [tied, verdicts.tested_ranks(retrained), verdicts.against_start(retrained)])
    return " ".join(said)


def _lines(results: Results, *, named: bool) -> list[str]:
    """Return a search's lines, which hold its name if it must be told from another one of the same model."""
    model, retrained = results.record.model, Retrained.of(results)
    about = f" ({results.paths.folder.resolve().name})" if named else ""
    if smaller_than_published(results.record):
        about += f" on {results.record.images:,} images"
    if retrained is None:
        best = rows_of(results.ranked[:1])
        return [_line(model, f"best found{about}, not tested", row["score"]) for row in best]
    summary = retrained.summary
    chosen = rows_of(summary[(summary["rank"] == 1) | summary["is_baseline"] | summary["is_start"]])
    order = sorted(chosen, key=lambda row: (row["rank"] == 1, not row["is_baseline"]))
    seconds = retrained.retrains.groupby("config_id")["seconds"].mean()
    lines = [_line(model, *_tested(row, about, seconds[row["config_id"]])) for row in order]
    if (found := retrained.against_start) is not None:
        cells = ["", "", points(found.difference), p_text(found.p_value)]
        lines.append(_line(model, f"best found, against the start{about}", math.nan, *cells))
    return lines


def _tested(row: Mapping[str, Any], about: str, seconds: float) -> list[Any]:
    kind = "best found"
    if row["is_baseline"]:
        kind = "baseline, retrained"
    elif row["is_start"]:
        kind = "start, written by hand"
    what = f"{kind}{about}"
    if kind != "best found" and row["rank"] == 1:
        what += ", the best found"
    spread = f" ± {row['std'] * 100:.2f}" if row["seeds"] > 1 else ""
    mean = f"{percent(row['mean']).removesuffix(' %')}{spread} %"
    compared = ["", ""]
    if not math.isnan(row["difference"]):
        compared = [points(row["difference"]), p_text(row["p_value"])]
    cells = [row["validation"], mean, f"{between(row['low'], row['high'])} %", *compared]
    return [f"{what}, {counted(row['seeds'], 'seed')}", *cells, f"{row['parameters']:,}", f"{seconds:.0f}"]


def _line(model: str, name: str, validation: float, *cells: str) -> str:
    shown = "" if math.isnan(validation) else percent(validation)
    filled = [model.upper(), html.escape(name, quote=False).replace("|", "\\|"), shown, *cells]
    return f"| {' | '.join(filled + [''] * (len(_COLUMNS) - len(filled)))} |"


def write_between(file: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between the two marks of a text file.

    Raises:
        InputError: the file is not there, or does not have each mark once, in order.
    """
    start, end = marks
    hint = f"put the lines {start} and {end} where the table belongs"
    if not file.is_file():
        raise InputError("file not found", file=file, key="--into", hint="name a text file with the marks")
    try:
        whole = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what, hint = f"cannot be read ({error})", "name a text file in UTF-8"
        raise InputError(what, file=file, key="--into", hint=hint) from None
    for mark in marks:
        if whole.count(mark) != 1:
            what = f"{mark!r} found {counted(whole.count(mark), 'time')}"
            raise InputError(what, file=file, key="--into", hint=hint)
    before, _, rest = whole.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{end!r} stands before {start!r}", file=file, key="--into", hint=hint)
    with publish(file) as partial:
        partial.write_text(f"{before}{start}\n{text}{end}{after}", encoding="utf-8")
