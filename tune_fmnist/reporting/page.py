"""The page of a search, ``report.html``, and its figures, from the tables alone."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish
from tune_fmnist.base.metrics import confusion
from tune_fmnist.base.vocabulary import DIVERGED, FAILED
from tune_fmnist.reporting import edges, importances, stops, verdicts, wording
from tune_fmnist.reporting.calibration import surest_mistakes
from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.figures.style import Figure
from tune_fmnist.reporting.html import rendered
from tune_fmnist.reporting.pictures import class_accuracies, figures
from tune_fmnist.reporting.provenance import moment, provenance
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.rungs import rung_counts
from tune_fmnist.reporting.statistics import SIGNIFICANT, confusion_sentence
from tune_fmnist.reporting.trial_list import trial_list
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

SURE: Final = 20
"""The most confidently wrong test images that are listed."""


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
    if not os.access(folder, os.W_OK):
        raise InputError("cannot be written", file=folder, hint="make it writable or copy it elsewhere")
    drawn, page = page_of(results)
    for figure in drawn:
        figure.write(results.paths.figures)
    with publish(results.paths.page) as partial:
        partial.write_text(page, encoding="utf-8")
    return results.paths.page


def page_of(results: Results) -> tuple[list[Figure], str]:
    """Return the figures of a search and its page in HTML; errors as of ``write_page``."""
    retrained, confirmed = Retrained.of(results), Confirmed.of(results)
    drawn = figures(results, retrained)
    told = _of_search(results, retrained) | _of_test(results, retrained, confirmed)
    return drawn, rendered("page.html.jinja", told, drawn)


def _of_search(results: Results, retrained: Retrained | None) -> dict[str, Any]:
    """Return what the page says of the trials, and of how they were computed."""
    record, trials = results.record, results.trials
    return {
        "record": record,
        "title": f"{record.name}: {record.model if record.is_own else record.model.upper()} search on "
        f"{results.dataset_title}",
        "began": moment(record.started_at),
        "state": _state(results),
        "baseline": wording.baseline_definition(record),
        "score": wording.score_definition(record),
        "smaller": wording.smaller_than_published(record),
        "trials": trial_list(results),
        "counts": wording.ends(trials, results.epochs, record.search_seconds),
        "proposed": wording.proposers(trials),
        "fewest_agreeing": stops.FEWEST,
        "rungs": list(zip(rung_counts(results), stops.rungs(results), strict=True)),
        "waits": record.scheduler.name == "promotion",
        "audit": stops.told_by_audit(results),
        "edge": edges.told(edges.of_best(results, retrained)),
        "few": importances.FEWEST,
        "lost": rows_of(trials[trials["status"].isin([DIVERGED, FAILED])]),
        "provenance": provenance(record),
        "key_figures": _key_figures(results, retrained),
    }


def _of_test(results: Results, retrained: Retrained | None, confirmed: Confirmed | None) -> dict[str, Any]:
    """Return what the page says of confirmations, retrains and the test."""
    told: dict[str, Any] = {
        "confirmed": [] if confirmed is None else rows_of(confirmed.summary),
        "confirmation": verdicts.confirmation(confirmed),
        "published": wording.published(results.record),
        "published_images": wording.PUBLISHED_IMAGES,
        "best_folder": str(results.paths.best),
        "input_shape": ", ".join(map(str, results.record.input_shape)),
        "network": results.record.model.split(":") if results.record.is_own else None,
    }
    if retrained is None:
        nothing = dict.fromkeys(("details", "against_start", "tested_ranks", "filled_up", "diverged", "classes"))
        reads = len(results.test_reads) if results.retrained else 0
        return told | nothing | {"answer": _answer_of_trials(results), "retrained": [], "reads": reads, "surest": []}
    return told | {
        "answer": verdicts.answer(retrained, results.dataset_title),
        "details": verdicts.details(retrained),
        "against_start": verdicts.against_start(retrained),
        "tested_ranks": verdicts.tested_ranks(retrained),
        "retrained": rows_of(retrained.summary),
        "filled_up": wording.filled_up(retrained.unfinished),
        "diverged": verdicts.diverged(retrained),
        "reads": retrained.reads,
        "classes": _classes(retrained, results.classes),
        "surest": [
            wrong._asdict()
            | {"label": results.classes[wrong.label], "predicted": results.classes[wrong.predicted]}
            | {"picture": wrong.picture and base64.b64encode(wrong.picture).decode()}
            for wrong in surest_mistakes(retrained.predictions, SURE)
        ],
    }


def _state(results: Results) -> str | None:
    """Return in a sentence that a search is not finished; None if it is."""
    state = results.record.state
    if state == "finished":
        return None
    words = {"running": "is running", "interrupted": "was interrupted", "failed": "has failed"}[state]
    text = f"This search {words}: what follows is of the {wording.counted(len(results.trials), 'trial')} so far"
    if len(results.epochs):
        text += f", the last of which reported at {results.epochs['reported_at'].max():%H:%M:%S} UTC"
    return f"{text}."


def _answer_of_trials(results: Results) -> str:
    """Return what a search found of which nothing has been retrained."""
    if results.ranked.empty:
        return "No trial has a score that counts yet. There is nothing to compare."
    best = rows_of(results.ranked)[0]
    return (
        f"The trial that ranks first is number {best['number']} ({wording.settings(best, results.record)}), "
        f"with a score of {wording.percent(best['score'])} after {wording.counted(best['epochs'], 'epoch')}. "
        "Its configuration has not been retrained, so nothing has been tested, and the "
        f"best of {wording.counted(len(results.ranked), 'trial')} looks better in validation than it is."
    )


def _key_figures(results: Results, retrained: Retrained | None) -> list[tuple[str, str, str]]:
    """Return the page's figures in large type: what, how much, and what is to be known of it."""
    record, told = results.record, []
    if retrained is not None:
        best = retrained.best
        note = f"95 % interval {wording.between(best['low'], best['high'])}"
        told.append(("test accuracy", wording.percent(best["mean"]), note))
        if not math.isnan(best["difference"]):
            chance = "may be chance" if best["p_value"] >= SIGNIFICANT else "more than chance"
            note = f"{wording.between(best['difference_low'], best['difference_high'])}, {chance}"
            told.append(("points above the baseline", wording.points(best["difference"]), note))
    elif len(results.ranked):
        first = rows_of(results.ranked)[0]
        note = f"validation, {wording.counted(first['epochs'], 'epoch')}; not tested"
        told.append(("best score", wording.percent(first["score"]), note))
    told.append(("trials", f"{len(results.trials):,}", wording.states(results.trials) or "none yet"))
    if record.search_seconds:
        note = f"{wording.duration(record.wall_seconds)} with all that followed" if record.wall_seconds else ""
        told.append(("for the trials", wording.duration(record.search_seconds), note))
    return told


def _classes(retrained: Retrained, names: Sequence[str]) -> dict[str, Any]:
    """Return the confused classes in words, and the best configuration's and the baseline's accuracy on each class."""
    label, predicted = (retrained.predictions[name].to_numpy() for name in ("label", "predicted"))
    rows = class_accuracies(retrained, names)
    sentence = confusion_sentence(confusion(label, predicted, len(names)), names)
    return {"sentence": sentence, "rows": rows, "compared": not all(math.isnan(row.baseline) for row in rows)}
