"""The closing summary of a search, on one screen: what was found, beside the baseline."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table

from tune_fmnist.reporting import edges, stops, verdicts
from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.wording import (
    baseline_source,
    counted,
    duration,
    p_text,
    percent,
    points,
    proposers,
    published,
    score_definition,
    settings,
    smaller_than_published,
    states,
)


def print_summary(results: Results, out: Console) -> None:
    """Print what a search found, on one screen of 80 columns."""
    retrained, confirmed = Retrained.of(results), Confirmed.of(results)
    if retrained is not None:
        out.print(verdicts.answer(retrained, results.dataset_title))
        out.print()
    out.print(_table(results, retrained))
    out.print()
    out.print(f"baseline: {baseline_source(results.record)}")
    mean = "mean score of the confirmations. " if confirmed else ""
    out.print(f"validation: {mean}{score_definition(results.record)}")
    if smaller := smaller_than_published(results.record):
        out.print(smaller)
    for said in verdicts.all_of(retrained, confirmed):
        out.print(said)
    if retrained is not None:
        out.print(_best(retrained))
    elif results.ranked.empty:
        out.print("no trial has a score that counts: nothing ranks")
    else:
        best = rows_of(results.ranked)[0]
        out.print(f"best score, not tested: trial {best['number']} ({settings(best, results.record)})")
    if at_edge := edges.told(edges.of_best(results, retrained)):
        out.print(at_edge)
    out.print(_trials(results))
    if who := proposers(results.trials):
        out.print(who)
    if wrongly := stops.told_by_audit(results):
        out.print(wrongly)
    # Without line ends of its own, what is longer than the screen can be copied whole.
    for line in _files(results):
        out.print(line, soft_wrap=True)


def _table(results: Results, retrained: Retrained | None) -> Table:
    """Return the configurations that were tested, or the best trial and the baseline's."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for heading in ("validation, %", "test, %", "95 % interval", "points", "p"):
        table.add_column(heading, justify="right")
    by_report = published(results.record)
    if by_report is not None and smaller_than_published(results.record) is None:
        table.add_row("published baseline", _percent(by_report.validation), _percent(by_report.test))
    for row in rows_of(results.ranked) if retrained is None else []:
        if row["number"] == 0 or row["number"] == results.ranked["number"].iloc[0]:
            name = "baseline, trial 0" if row["number"] == 0 else f"trial {row['number']}"
            table.add_row(name, _percent(row["score"]))
    for row in [] if retrained is None else rows_of(retrained.summary):
        compared = [] if row["is_baseline"] else [points(row["difference"]), p_text(row["p_value"])]
        interval = f"{_percent(row['low'])} to {_percent(row['high'])}"
        table.add_row(row["name"], _percent(row["validation"]), _percent(row["mean"]), interval, *compared)
    return table


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.2f}"


def _best(retrained: Retrained) -> str:
    best = retrained.best
    size = f"{counted(best['epochs'], 'epoch')}, {best['parameters']:,} parameters"
    return f"best configuration: {best['settings']}; {size}"


def _trials(results: Results) -> str:
    """Return how the trials ended, how long the search took and how busy the slots were."""
    record = results.record
    line = f"{counted(len(results.trials), 'trial')} ({states(results.trials)}), "
    line += f"{counted(len(results.epochs), 'epoch')} in {duration(record.search_seconds)}"
    if record.utilisation is not None:
        line += f"; slots {percent(record.utilisation, 0)} busy"
    if record.utilisation_while_trials_wait is not None:
        line += f", {percent(record.utilisation_while_trials_wait, 0)} until the last trial began"
    return line


def _files(results: Results) -> list[str]:
    """Return where everything is, and a command that goes further."""
    folder = results.paths.folder
    what = "tables, model and report" if results.paths.best.exists() else "tables and report"
    files = f"{what}: {folder}; open {results.paths.page}"
    more = _next(results)
    return [files] if more is None else [files, f"next: {shlex.join(['python', '-m', *more])}"]


def _next(results: Results) -> list[str] | None:
    """Return the module and the options that go further; None while the search runs."""
    record = results.record
    resume = ["tune_fmnist.search", *record.to_resume(results.paths)]
    if record.state == "running":
        return None
    if record.state != "finished":
        return resume
    if results.retrained:
        return [*resume, "--trials", str(2 * record.trials)]
    return ["tune_fmnist.retrain", str(results.paths.folder), *record.named_again]
