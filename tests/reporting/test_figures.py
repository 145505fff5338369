"""The figures hold the tables' numbers, their titles say what was found and no more, and the drawings show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.fake_search import START, add_retrains, edit_trials, make_search, mean_of
from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.reporting.figures.confusion import confusion_matrix, draw_confusion_matrix
from tune_fmnist.reporting.figures.retrains import (
    draw_retrained_accuracies,
    draw_training_curves,
    retrained_accuracies,
    training_curves,
)
from tune_fmnist.reporting.figures.trials import (
    best_so_far,
    draw_best_so_far,
    draw_learning_curves,
    learning_curves,
)
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.retrained import Retrained

CLASSES = FASHION_MNIST.classes


def searched(folder: Path, levels: list[float], **retrains: int) -> tuple[Results, Retrained]:
    """Return a search of 8 trials whose configurations are as good as ``levels`` say, the baseline 0.1."""
    results = make_search(folder, trials=8)
    add_retrains(results, levels, baseline=0.1, **retrains)
    retrained = Retrained.of(results)
    assert retrained is not None
    return results, retrained


def lines_of(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """Return the labelled lines of a figure's first panel: x and y."""
    lines = figure.axes[0].get_lines()
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in lines
    }


def trial(results: Results, number: int) -> pd.Series:
    return results.trials[results.trials["number"] == number].iloc[0]


def test_learning_curves_hold_each_trial_that_has_reported(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    data = learning_curves(results.trials, results.epochs, results.ranked)
    assert len(data.curves) == results.epochs["trial_id"].nunique()
    best = results.ranked.iloc[0]
    stopped = (results.trials["status"] == "stopped").sum()
    assert data.title == (
        f"Trial {best['number']} ranks first with a score of {best['score'] * 100:.2f} %; "
        f"{stopped} of 8 trials were stopped early"
    )
    drawn = lines_of(draw_learning_curves(data))
    for number in (0, *results.ranked.loc[results.ranked["number"] != 0, "number"][:3]):
        row = trial(results, number)
        curve = results.epochs[results.epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        name = "trial 0, the baseline" if number == 0 else f"trial {number}"
        label = f"{name}: {row['score'] * 100:.2f} %"
        assert drawn[label] == (curve["epoch"].tolist(), curve["val_accuracy"].tolist())


def test_a_kind_of_trial_stands_once_in_the_legend(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    data = learning_curves(results.trials, results.epochs, results.ranked)
    assert sum(curve.label == "stopped early" for curve in data.curves) > 1
    legend = draw_learning_curves(data).axes[0].get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert sorted(set(labels)) == sorted(labels)


def test_low_accuracies_are_cut_off_and_the_caption_says_so(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    trials, epochs = results.trials, results.epochs.copy()
    assert "cut off" not in learning_curves(trials, epochs, results.ranked).caption
    epochs.loc[0, "val_accuracy"] = 0.1
    data = learning_curves(trials, epochs, results.ranked)
    floor = epochs["val_accuracy"].max() - 0.12
    assert f"what lies under {floor * 100:.0f} % is cut off." in data.caption
    assert draw_learning_curves(data).axes[0].get_ylim()[0] > 0.7


def test_best_so_far_never_falls_and_leaves_out_what_did_not_reach_the_last_epoch(tmp_path: Path) -> None:
    results = edit_trials(
        make_search(tmp_path, trials=8), {number: {"score": 0.99, "status": "stopped"} for number in (1, 3)}
    )
    data = best_so_far(results.trials, results.epochs, 0.8818)
    finished = results.trials[results.trials["status"] == "completed"].copy()
    finished["ended"] = [
        results.epochs.loc[results.epochs["trial_id"] == name, "reported_at"].max() for name in finished["trial_id"]
    ]
    finished = finished.sort_values("ended")
    assert data.best == sorted(data.best)
    assert len(data.best) == len(finished)
    best = results.ranked["score"].iloc[0]
    assert data.best[-1] == best < 0.99
    assert data.seconds[-1] == (finished["ended"].max() - START).total_seconds()
    reached, passed = (
        (finished.loc[finished["score"] >= score, "ended"].iloc[0] - START).total_seconds()
        for score in (best, trial(results, 0)["score"] + 1e-9)
    )
    assert data.title == (
        f"The best score, {best * 100:.2f} %, was reached after {reached:.0f} s; "
        f"the baseline's was passed after {passed:.0f} s"
    )
    drawn = lines_of(draw_best_so_far(data))
    assert drawn["best so far"] == (data.seconds, data.best)
    assert drawn["baseline, as published: 88.18 %"][1] == [0.8818, 0.8818]


def test_best_so_far_without_what_is_not_known(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    trials = results.trials.copy()
    trials.loc[trials["number"] == 0, "score"] = np.nan
    data = best_so_far(trials, results.epochs, None)
    assert (data.baseline, data.published) == (None, None)
    assert "baseline" not in data.title
    assert lines_of(draw_best_so_far(data)).keys() == {"best so far"}


@pytest.mark.parametrize(
    ("level", "images", "end"),
    [
        (0.9, 2000, " points above the baseline (p < 0.001)"),
        (-0.7, 2000, " points below the baseline (p < 0.001)"),
        (0.1, 200, "the baseline, which may be chance (p = 0."),
    ],
)
def test_the_title_of_the_test_says_no_more_than_the_test(tmp_path: Path, level: float, images: int, end: str) -> None:
    results, retrained = searched(tmp_path, [level], images=images)
    title = retrained_accuracies(retrained, 0.8698).title
    best, baseline = (
        results.retrains.loc[mask, "config_id"].iloc[0]
        for mask in (results.retrains["rank"] == 1, results.retrains["is_baseline"])
    )
    gap = abs(mean_of(results, best) - mean_of(results, baseline)) * 100
    first = f"Rank 1 classifies {mean_of(results, best) * 100:.2f} % of the test images correctly, {gap:.2f} points "
    assert title.startswith(first)
    assert end in title
    assert ("may be chance" in title) == (retrained.best["p_value"] >= 0.05)


def test_tested_accuracies_are_those_of_the_tables(tmp_path: Path) -> None:
    results, retrained = searched(tmp_path, [0.9, 0.1])
    data = retrained_accuracies(retrained, 0.8698)
    assert [shown.name for shown in data.configurations] == ["Rank 1", "Rank 2", "Baseline"]
    for shown, (_, row) in zip(data.configurations, retrained.summary.iterrows(), strict=True):
        own = results.retrains[results.retrains["config_id"] == row["config_id"]]
        assert shown.seeds == own["test_accuracy"].tolist()
        assert (shown.mean, shown.low, shown.high) == (row["mean"], row["low"], row["high"])
    figure = draw_retrained_accuracies(data)
    assert lines_of(figure)["baseline, as published: 86.98 %"][0] == [0.8698, 0.8698]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["Rank 1", "Rank 2", "Baseline"]
    assert not any(
        "published" in label for label in lines_of(draw_retrained_accuracies(retrained_accuracies(retrained, None)))
    )


def test_training_curves_are_those_of_the_best_and_the_baseline(tmp_path: Path) -> None:
    results, retrained = searched(tmp_path, [0.9, 0.1])
    data = training_curves(results.retrain_epochs, retrained)
    assert [curve.name for curve in data.curves] == ["Rank 1"] * 3 + ["Baseline"] * 3
    ends = [np.mean([curve.accuracies[-1] for curve in data.curves[start : start + 3]]) for start in (0, 3)]
    assert (
        data.title
        == f"Training accuracy ends at {ends[0] * 100:.2f} % for rank 1, at {ends[1] * 100:.2f} % for the baseline"
    )
    figure = draw_training_curves(data)
    assert [len(axes.get_lines()) for axes in figure.axes] == [6, 6]
    assert lines_of(figure)["Baseline"] == (data.curves[3].epochs, data.curves[3].losses)


def test_confusion_matrix_has_each_share_in_its_cell() -> None:
    label = np.repeat(np.arange(10), 1000).astype(np.int8)
    predicted = label.copy()
    predicted[6000:6125] = 0
    predicted[2000] = 4
    data = confusion_matrix(label, predicted, CLASSES)
    assert data.title == (
        "Of the 10 classes, shirt has the lowest accuracy, 87.5 %, and T-shirt/top the highest, 100.0 %"
    )
    axes = draw_confusion_matrix(data).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    right = {(number, number): "100.0" for number in range(10)}
    # A position is column (predicted), then row (true class).
    assert cells == right | {(6, 6): "87.5", (0, 6): "12.5", (2, 2): "99.9", (4, 2): "0.1"}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(CLASSES)
