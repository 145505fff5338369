"""Which figures a search has, in the order of its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tune_fmnist.base.metrics import class_accuracy
from tune_fmnist.base.vocabulary import COMPLETED, Published
from tune_fmnist.reporting import anytime, edges, wording
from tune_fmnist.reporting.figures import course, curves, model, searched, tested
from tune_fmnist.reporting.figures.rows import TrialRows, trial_rows
from tune_fmnist.reporting.figures.style import Figure
from tune_fmnist.reporting.importances import importances
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.slots import timeline


def figures(results: Results, retrained: Retrained | None) -> list[Figure]:
    """Return the figures of a search, those for which it has the data.

    Raises:
        InputError: a table or the recorded space cannot be read.
    """
    data = trial_rows(results, retrained)
    drawn = list(_of_trials(results, retrained, data)) if data.scores else []
    return [*_tested(results, retrained), *drawn, *_of_model(results, retrained)]


def comparable(results: Results) -> Published | None:
    """Return the published accuracies, if they are of as many images as the search's."""
    smaller = wording.smaller_than_published(results.record)
    return wording.published(results.record) if smaller is None else None


def _tested(results: Results, retrained: Retrained | None) -> Iterator[Figure]:
    if retrained is not None:
        published = comparable(results)
        yield tested.draw(tested.accuracies(retrained, published and published.test))


def _of_trials(results: Results, retrained: Retrained | None, data: TrialRows) -> Iterator[Figure]:
    trials, epochs, record = results.trials, results.epochs, results.record
    yield searched.draw_ranges(data, edges.of_best(results, retrained))
    yield searched.draw_slices(data)
    found = importances(results)
    if found.parameters:
        yield searched.draw_importances(found)
    yield searched.draw_parallel(data)
    if len(results.ranked) and len(epochs):
        rungs = record.scheduler.rungs(record.max_epochs)
        yield curves.draw_learning_curves(curves.learning_curves(trials, epochs, results.ranked, rungs))
    if trials["origin"].notna().any():
        yield course.draw_origins(data)
    if (trials["status"] == COMPLETED).any():
        published = comparable(results)
        yield course.draw_best_so_far(course.best_so_far(results, published and published.validation))
    if len(anytime.drawn_scores(results)) > 1:
        yield course.draw_expected_best(results)
    if bars := timeline(trials, epochs):
        yield course.draw_timeline(bars, record.utilisation)
    yield course.draw_cost(data)


def _of_model(results: Results, retrained: Retrained | None) -> Iterator[Figure]:
    if best := best_trial(results, retrained):
        of_baseline = results.trials[(results.trials["number"] == 0) & (results.trials["epochs"] > 0)]
        baseline = next(iter(rows_of(of_baseline)), None) if best["number"] else None
        yield curves.draw_training_curves(curves.training_curves(results.epochs, best, baseline))
    if retrained is None:
        return
    label, predicted = (retrained.predictions[name].to_numpy() for name in ("label", "predicted"))
    yield model.draw_confusion_matrix(model.confusion_matrix(label, predicted, results.classes))
    yield model.draw_classes(class_accuracies(retrained, results.classes))
    if retrained.predictions["confidence"].notna().any():
        yield model.draw_reliability(model.reliability_of(retrained.predictions))


def best_trial(results: Results, retrained: Retrained | None) -> dict[str, Any] | None:
    """Return the row of the trial of the best configuration: of the retrained ones, or else of the trials."""
    ranked = results.ranked
    if retrained is not None:
        ranked = ranked[ranked["config_id"] == retrained.best["config_id"]]
    return next((row for row in rows_of(ranked) if row["epochs"]), None)


def class_accuracies(retrained: Retrained, names: Sequence[str]) -> list[model.ClassAccuracy]:
    """Return the best configuration's and the baseline's accuracy on each class; NaN where there is no baseline."""
    label, predicted = (retrained.predictions[name].to_numpy() for name in ("label", "predicted"))
    best = class_accuracy(label, predicted, len(names))
    baseline = retrained.retrains[retrained.retrains["is_baseline"]]
    compared = len(baseline) > 0 and not retrained.best["is_baseline"]
    theirs = np.mean(baseline["class_accuracy"].tolist(), axis=0) if compared else np.full(len(names), np.nan)
    return [
        model.ClassAccuracy(name, float(own), float(other))
        for name, own, other in zip(names, best, theirs, strict=True)
    ]
