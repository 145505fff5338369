"""``python -m tune_fmnist.report``: from the tables alone to ``report.html``, its figures, and the README's table."""

from __future__ import annotations

import base64
import html
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import CLASSES, DIVERGED, FAILED, MODELS, REPORT_FIGURES
from tune_fmnist.cli import Debug
from tune_fmnist.reporting.wording import between, ends, p_text, percent, plain, points, provenance, settings
from tune_fmnist.store.paths import SearchPaths, publish

if TYPE_CHECKING:
    import pandas as pd

    from tune_fmnist.reporting.figures import Drawing
    from tune_fmnist.reporting.results import Results

SIGNIFICANT: Final = 0.05
"""A difference with a smaller p-value is called more than chance."""

TOP_TRIALS: Final = 10
MARKS: Final = ("<!-- results -->", "<!-- /results -->")
"""Lines between which ``--into`` writes the table of results."""


@dataclass(frozen=True)
class Tested:
    """The retrained configurations.

    Attributes:
        summary: a row a configuration, by rank, an unranked baseline last: the columns of ``statistics.summarise`` and
            of ``retrains.parquet`` that are the same for all seeds, and ``name`` and ``settings`` in words.
        predictions: the test images under the best configuration, all seeds.
        retrains: the rows of ``retrains.parquet``.
        reads: how often the test images were read.
    """

    summary: pd.DataFrame
    predictions: pd.DataFrame
    retrains: pd.DataFrame
    reads: int


def report(folder: Path) -> Path:
    """Write ``report.html`` and ``figures/`` from a search's tables; return the page's path.

    A search that is running, or that has retrained nothing, gets the part that is there.

    Raises:
        InputError: the folder is no search, or a table is missing or damaged.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    results, model = _open(folder)
    if not os.access(folder, os.W_OK):
        raise InputError("cannot be written", file=folder, mend="make it writable or copy it elsewhere")
    tested = _tested(results)
    pictures = _pictures(results, tested, model)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "p": p_text}
    environment.globals["between"] = between
    page = environment.get_template("report.html.jinja").render(
        name=str(results.info.get("name") or results.paths.folder.resolve().name),
        model=model.upper(),
        answer=_answer(results, tested),
        published=REPORT_FIGURES[model],
        tested=None if tested is None else _records(tested.summary),
        reads=0 if tested is None else tested.reads,
        trials=_trial_table(results),
        pictures=pictures,
        classes=None if tested is None else _classes(results, tested),
        counts=ends(results.trials, results.epochs),
        lost=_records(results.trials[results.trials["status"].isin([DIVERGED, FAILED])]),
        provenance=provenance(results.info),
    )
    with publish(results.paths.report) as partial:
        partial.write_text(page, encoding="utf-8")
    return results.paths.report


def results_table(folders: Sequence[Path]) -> str:
    """Return a Markdown table of searches: the founding report, its configuration retrained, and the best one found.

    Raises:
        InputError: a folder is no search, or a table is missing or damaged.
    """
    lines = [
        "| model | configuration | validation | test mean | 95 % interval | difference | p |",
        "|---|---|---|---|---|---|---|",
    ]
    opened = [_open(folder) for folder in folders]
    for model in dict.fromkeys(model for _, model in opened):
        searches = [results for results, family in opened if family == model]
        figures = REPORT_FIGURES[model]
        lines.append(_line(model, "founding report, as reported", figures.validation, percent(figures.test)))
        for results in searches:
            name = f" ({results.paths.folder.resolve().name})" if len(searches) > 1 else ""
            tested = _tested(results)
            if tested is None:
                trial = _records(ranked(results.trials)[:1])
                lines += [_line(model, f"best found{name}, not tested", row["best_val_accuracy"]) for row in trial]
                continue
            summary = tested.summary
            chosen = summary[(summary["rank"] == 1) | summary["is_baseline"]]
            lines += [_tested_line(model, row, name) for row in reversed(_records(chosen))]
    return "\n".join(lines) + "\n"


def write_into(file: Path, table: str) -> None:
    """Replace what stands between the two marks of a text file by a table.

    Raises:
        InputError: the file is not there, or does not have each mark once, in order.
    """
    start, end = MARKS
    mend = f"put the lines {start} and {end} where the table belongs"
    if not file.is_file():
        raise InputError("there is no such file", file=file, key="--into", mend="name a text file with the marks")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", file=file, key="--into", mend="name a text file in UTF-8"
        ) from None
    for mark in MARKS:
        if text.count(mark) != 1:
            raise InputError(f"{mark!r} stands there {text.count(mark)} times", file=file, key="--into", mend=mend)
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{end!r} stands before {start!r}", file=file, key="--into", mend=mend)
    with publish(file) as partial:
        partial.write_text(f"{before}{start}\n{table}{end}{after}", encoding="utf-8")


def ranked(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that have a validation accuracy and neither diverged nor failed, best first."""
    usable = trials[trials["best_val_accuracy"].notna() & ~trials["status"].isin([DIVERGED, FAILED])]
    return usable.sort_values(["best_val_accuracy", "number"], ascending=[False, True])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain Python values."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _open(folder: Path) -> tuple[Results, str]:
    from tune_fmnist.reporting.results import Results

    results = Results(SearchPaths(folder))
    model = results.info.get("model")
    if model not in MODELS:
        mend = f"it must be one of {', '.join(MODELS)}"
        raise InputError(f"unknown model {model!r}", file=results.paths.search, key="model", mend=mend)
    return results, model


def _tested(results: Results) -> Tested | None:
    """Return what has been retrained, or None before the best configuration has been."""
    if not results.paths.retrains.exists():
        return None
    retrains = results.retrains
    if not (retrains["rank"] == 1).any():
        return None
    rows = retrains.drop_duplicates("config_id").drop(columns="seed")
    summary = results.comparison.merge(rows, on="config_id")
    summary = summary.sort_values("rank", na_position="last", ignore_index=True)
    summary["name"] = [_name(row) for row in _records(summary)]
    summary["settings"] = [settings(row) for row in _records(summary)]
    tested = results.tested_predictions
    best = tested[tested["config_id"] == summary["config_id"].iloc[0]]
    return Tested(summary, best, retrains, len(results.test_reads))


def _name(row: Mapping[str, Any]) -> str:
    rank = "" if math.isnan(row["rank"]) else f"Rank {row['rank']:.0f}"
    if row["is_baseline"]:
        return f"The founding report's configuration{rank and f' ({rank.lower()})'}"
    return rank


def _pictures(results: Results, tested: Tested | None, model: str) -> list[dict[str, Any]]:
    """Write the figures; return each drawing with its PNG in base64."""
    from matplotlib import rc_context

    from tune_fmnist.reporting import figures

    pictures = []
    with rc_context(figures.STYLE):
        for name, drawing in _drawings(results, tested, model).items():
            file = results.paths.figures / f"{name}.png"
            with publish(file) as partial:
                drawing.figure.savefig(partial, format="png")
            pictures.append({"drawing": drawing, "png": base64.b64encode(file.read_bytes()).decode()})
    return pictures


def _drawings(results: Results, tested: Tested | None, model: str) -> dict[str, Drawing]:
    from tune_fmnist.reporting import figures

    trials, epochs = results.trials, results.epochs
    order, published = ranked(trials), REPORT_FIGURES[model]
    drawings = {}
    if tested is not None:
        drawings["test_accuracy"] = figures.tested_accuracies(tested.summary, tested.retrains, published.test)
    if len(order):
        drawings["learning_curves"] = figures.learning_curves(trials, epochs, order)
        drawings["best_so_far"] = figures.best_so_far(trials, epochs, published.validation)
    if tested is not None:
        label, predicted = (tested.predictions[name].to_numpy() for name in ("label", "predicted"))
        drawings["training_curves"] = figures.training_curves(results.retrain_epochs, tested.summary)
        drawings["confusion"] = figures.confusion_matrix(label, predicted)
    return drawings


def _answer(results: Results, tested: Tested | None) -> str:
    """Return what the search found, in two sentences."""
    order = ranked(results.trials)
    if tested is None:
        if order.empty:
            return "No trial has reported a validation accuracy yet. There is nothing to compare."
        best = _records(order)[0]
        return (
            f"The best trial by validation is number {best['number']} ({settings(best)}): it classifies "
            f"{percent(best['best_val_accuracy'])} of the validation images rightly after epoch "
            f"{best['best_epoch']:.0f}. Its configuration has not been retrained, so nothing has been tested, and the "
            f"best of {len(order)} trials looks better in validation than it is."
        )
    best = _records(tested.summary)[0]
    images = len(tested.predictions) // best["seeds"]
    over = f"{best['seeds']} seeds and the images" if best["seeds"] > 1 else "the images, with one seed"
    first = (
        f"The best configuration by validation ({best['settings']}) classifies {percent(best['mean'])} of the "
        f"{images:,} test images rightly (95 % interval {between(best['low'], best['high'])} %, over {over}). "
    )
    if best["is_baseline"]:
        return first + "It is the founding report's own: the search found nothing better."
    if math.isnan(best["p_value"]):
        return first + "The founding report's configuration has not been retrained yet, so there is no comparison."
    return first + (
        f"That is {abs(best['difference']) * 100:.2f} percentage points "
        f"{'more' if best['difference'] >= 0 else 'less'} than the founding report's configuration reaches when it is "
        f"retrained in the same way (95 % interval of the difference "
        f"{between(best['difference_low'], best['difference_high'])}, p {_equal(best['p_value'])}): "
        f"{'more than chance' if best['p_value'] < SIGNIFICANT else 'no more than chance may give'}."
    )


def _equal(p_value: float) -> str:
    text = p_text(p_value)
    return text if text.startswith("<") else f"= {text}"


def _trial_table(results: Results) -> dict[str, Any]:
    """Return the best trials and trial 0: the settings that vary among all trials as columns, the others once."""
    trials = results.trials
    columns = [
        name for name in trials.columns if name.startswith("config_") and name not in ("config_id", "config_model")
    ]
    columns = [name for name in columns if trials[name].notna().any()]
    varying = [name for name in columns if trials[name].nunique(dropna=False) > 1]
    order = ranked(trials)
    shown = order[(order["number"] == 0) | order["number"].isin(order["number"][:TOP_TRIALS])]
    any_trial = _records(trials[:1])
    return {
        "rows": [row | {"cells": [plain(row[name]) for name in varying]} for row in _records(shown)],
        "top": min(TOP_TRIALS, len(order)),
        "columns": [name.removeprefix("config_") for name in varying],
        "same": ", ".join(
            f"{name.removeprefix('config_')} {plain(trial[name])}"
            for trial in any_trial
            for name in columns
            if name not in varying
        ),
    }


def _classes(results: Results, tested: Tested) -> dict[str, Any]:
    """Return the mix-ups in words, and the accuracy on each class, of the best configuration and the baseline."""
    from tune_fmnist.reporting.statistics import class_accuracy, confusion, mix_up_sentence

    label, predicted = (tested.predictions[name].to_numpy() for name in ("label", "predicted"))
    best = class_accuracy(label, predicted)
    rows: list[dict[str, Any]] = [{"name": name, "best": part} for name, part in zip(CLASSES, best, strict=True)]
    baseline = tested.retrains[tested.retrains["is_baseline"]]
    compared = len(baseline) > 0 and not tested.summary["is_baseline"].iloc[0]
    if compared:
        for row, parts in zip(rows, zip(*baseline["class_accuracy"], strict=True), strict=True):
            row["baseline"] = sum(parts) / len(parts)
    return {"sentence": mix_up_sentence(confusion(label, predicted)), "rows": rows, "compared": compared}


def _line(model: str, name: str, validation: float, *cells: str) -> str:
    filled = [model.upper(), html.escape(name, quote=False).replace("|", "\\|"), percent(validation), *cells]
    return f"| {' | '.join(filled + [''] * (7 - len(filled)))} |"


def _tested_line(model: str, row: Mapping[str, Any], name: str) -> str:
    what = f"its configuration here{name}" if row["is_baseline"] else f"best found{name}: {row['settings']}"
    if row["is_baseline"] and row["rank"] == 1:
        what += ", the best found"
    mean = percent(row["mean"]).removesuffix(" %")
    spread = f" ± {row['std'] * 100:.2f}" if row["seeds"] > 1 else ""
    difference = [] if math.isnan(row["difference"]) else [points(row["difference"]), p_text(row["p_value"])]
    seeds = f"{row['seeds']} seeds" if row["seeds"] > 1 else "1 seed"
    return _line(
        model,
        f"{what}, {seeds}",
        row["best_val_accuracy"],
        f"{mean}{spread} %",
        f"{between(row['low'], row['high'])} %",
        *difference,
    )


def main(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="the folder of a search, or several")],
    into: Annotated[
        Path | None, typer.Option(help=f"write no page, but one table of all between {MARKS[0]} and {MARKS[1]} there")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a page with pictures from a search's tables, or the table of several searches into a text file."""
    if into is not None:
        write_into(into, results_table(folders))
        print(into)
        return
    for folder in folders:
        _open(folder)
    for folder in folders:
        print(report(folder))


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("report")
