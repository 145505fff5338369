"""The page of a search, ``report.html``, and its figures, from the tables alone."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from tune_fmnist.base.datasets import title_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish
from tune_fmnist.base.metrics import class_accuracy, confusion
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED
from tune_fmnist.models.config import later_settings
from tune_fmnist.reporting import edges, stops, verdicts, wording
from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.figures import confusion as confusion_figure
from tune_fmnist.reporting.figures import retrains as retrain_figures
from tune_fmnist.reporting.figures import trials as trial_figures
from tune_fmnist.reporting.figures.style import SETTINGS
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import confusion_sentence
from tune_fmnist.reporting.wording import between, percent, plain
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

TOP_TRIALS: Final = 10


class _Drawn(NamedTuple):
    name: str
    title: str
    caption: str
    figure: Figure


def write_pages(folders: Sequence[Path]) -> list[Path]:
    """Write the page of each search; errors as of ``write_page``, those of ``search.json`` before any is written."""
    for folder in folders:
        SearchRecord.read(SearchPaths(folder))
    return [write_page(folder) for folder in folders]


def write_page(folder: Path) -> Path:
    """Write ``report.html`` and ``figures/`` from a search's tables; return the page's path.

    A search that is running, or that has retrained nothing, gets the part that is there.

    Raises:
        InputError: the folder is no search, or a table is missing or damaged.
    """
    results = Results(SearchPaths(folder))
    record, retrained, confirmed = results.record, Retrained.of(results), Confirmed.of(results)
    if not os.access(folder, os.W_OK):
        raise InputError("cannot be written", file=folder, hint="make it writable or copy it elsewhere")
    page = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            record=record,
            dataset=title_of(record.dataset),
            answer=_answer_of_trials(results) if retrained is None else verdicts.answer(retrained),
            against_start=None if retrained is None else verdicts.against_start(retrained),
            tested_ranks=None if retrained is None else verdicts.tested_ranks(retrained),
            confirmed=[] if confirmed is None else rows_of(confirmed.summary),
            confirmation=verdicts.confirmation(confirmed),
            baseline=wording.baseline_definition(record),
            score=wording.score_definition(record),
            published=wording.published(record),
            published_images=wording.PUBLISHED_IMAGES,
            smaller=wording.smaller_than_published(record),
            retrained=[] if retrained is None else rows_of(retrained.summary),
            filled_up=None if retrained is None else wording.filled_up(retrained.unfinished),
            reads=0 if retrained is None else retrained.reads,
            trials=_trial_table(results),
            pictures=_pictures(results, retrained),
            classes=None if retrained is None else _classes(retrained, record.classes),
            counts=wording.ends(results.trials, results.epochs),
            proposed=wording.proposers(results.trials),
            stops=" ".join(filter(None, (stops.told_by_rungs(results), stops.told_by_audit(results)))),
            edge=edges.of_best(results, retrained),
            lost=rows_of(results.trials[results.trials["status"].isin([DIVERGED, FAILED])]),
            provenance=wording.provenance(record),
        )
    )
    with publish(results.paths.page) as partial:
        partial.write_text(page, encoding="utf-8")
    return results.paths.page


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": wording.points, "p": wording.p_text}
    environment.globals |= {"between": between, "counted": wording.counted, "isnan": math.isnan}
    return environment


def _pictures(results: Results, retrained: Retrained | None) -> list[dict[str, str]]:
    """Write the figures; return each one's title, caption and PNG in base64."""
    pictures = []
    with rc_context(SETTINGS):
        for drawn in _drawn(results, retrained):
            file = results.paths.figures / f"{drawn.name}.png"
            with publish(file) as partial:
                drawn.figure.savefig(partial, format="png")
            png = base64.b64encode(file.read_bytes()).decode()
            pictures.append({"title": drawn.title, "caption": drawn.caption, "png": png})
    return pictures


def _drawn(results: Results, retrained: Retrained | None) -> Iterator[_Drawn]:
    """Yield the figures in the order of the page."""
    trials, epochs, ranked = results.trials, results.epochs, results.ranked
    published = wording.published(results.record)
    if wording.smaller_than_published(results.record) is not None:
        published = None
    if retrained is not None:
        tested = retrain_figures.retrained_accuracies(retrained, published and published.test)
        figure = retrain_figures.draw_retrained_accuracies(tested)
        yield _Drawn("test_accuracy", tested.title, tested.caption, figure)
    if len(ranked):
        curves = trial_figures.learning_curves(trials, epochs, ranked)
        yield _Drawn("learning_curves", curves.title, curves.caption, trial_figures.draw_learning_curves(curves))
    if (trials["status"] == COMPLETED).any():
        best = trial_figures.best_so_far(trials, epochs, published and published.validation)
        yield _Drawn("best_so_far", best.title, best.caption, trial_figures.draw_best_so_far(best))
    if retrained is not None:
        training = retrain_figures.training_curves(results.retrain_epochs, retrained)
        figure = retrain_figures.draw_training_curves(training)
        yield _Drawn("training_curves", training.title, training.caption, figure)
        label, predicted = (retrained.predictions[name].to_numpy() for name in ("label", "predicted"))
        matrix = confusion_figure.confusion_matrix(label, predicted, results.record.classes)
        yield _Drawn("confusion", matrix.title, matrix.caption, confusion_figure.draw_confusion_matrix(matrix))


def _answer_of_trials(results: Results) -> str:
    """Return what a search found of which nothing has been retrained."""
    if results.ranked.empty:
        return "No trial has a score that counts yet. There is nothing to compare."
    best = rows_of(results.ranked)[0]
    return (
        f"The trial that ranks first is number {best['number']} ({wording.settings(best, results.record)}), "
        f"with a score of {percent(best['score'])} after {wording.counted(best['epochs'], 'epoch')}. "
        "Its configuration has not been retrained, so nothing has been tested, and the "
        f"best of {wording.counted(len(results.ranked), 'trial')} looks better in validation than it is."
    )


def _trial_table(results: Results) -> dict[str, Any]:
    """Return the best trials and trial 0: the settings that vary among all trials as columns, the others once."""
    trials, ranked = results.trials, results.ranked
    columns = [
        name
        for name in trials.columns
        if name.startswith("config_") and name not in ("config_id", "config_model") and trials[name].notna().any()
    ]
    varying = [name for name in columns if trials[name].nunique(dropna=False) > 1]
    shown = ranked[(ranked["number"] == 0) | ranked["number"].isin(ranked["number"][:TOP_TRIALS])]
    off = {f"config_{name}": value for name, value in later_settings(results.record.model).items()}
    alike = {name: row[name] for row in rows_of(trials[:1]) for name in columns if name not in varying}
    same = [
        f"{_setting(name)} {plain(value)}" for name, value in alike.items() if name not in off or value != off[name]
    ]
    return {
        "rows": [row | {"cells": [plain(row[name]) for name in varying]} for row in rows_of(shown)],
        "top": min(TOP_TRIALS, len(ranked)),
        "columns": [_setting(name) for name in varying],
        "same": ", ".join(same),
    }


def _setting(column: str) -> str:
    return column.removeprefix("config_")


def _classes(retrained: Retrained, names: Sequence[str]) -> dict[str, Any]:
    """Return the confused classes in words, and the best configuration's and the baseline's accuracy on each class."""
    label, predicted = (retrained.predictions[name].to_numpy() for name in ("label", "predicted"))
    best = class_accuracy(label, predicted, len(names))
    baseline = retrained.retrains[retrained.retrains["is_baseline"]]
    compared = len(baseline) > 0 and not retrained.best["is_baseline"]
    theirs = np.mean(baseline["class_accuracy"].tolist(), axis=0) if compared else np.full(len(names), math.nan)
    rows = [
        {"name": name, "best": own, "baseline": other} for name, own, other in zip(names, best, theirs, strict=True)
    ]
    sentence = confusion_sentence(confusion(label, predicted, len(names)), names)
    return {"sentence": sentence, "rows": rows, "compared": compared}
