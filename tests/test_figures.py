"""The pictures show the tables' numbers, and their titles say what was found."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tests.fake_search import START, add_retrains, make_search, mean_of
from tune_fmnist.base.vocabulary import CLASSES
from tune_fmnist.report import ranked, report
from tune_fmnist.reporting import figures


def test_titles_of_the_figures_say_what_was_found(tmp_path: Path) -> None:
    searched = make_search(tmp_path, trials=8)
    add_retrains(searched, [0.9, 0.1], baseline=0.1)
    trials, epochs, retrains = searched.trials, searched.epochs, searched.retrains
    page = report(searched.paths.folder).read_text(encoding="utf-8")
    titles = [html.unescape(alt) for alt in re.findall(r"<img alt=\"([^\"]*)\"", page)]
    best = retrains[retrains["rank"] == 1]
    name, baseline = best["config_id"].iloc[0], retrains.loc[retrains["is_baseline"], "config_id"].iloc[0]
    gap = (mean_of(searched, name) - mean_of(searched, baseline)) * 100
    trial = trials.loc[trials["config_id"] == name].iloc[0]
    validation = f"{trial['best_val_accuracy'] * 100:.2f} %"
    stopped = (trials["status"] == "stopped").sum()
    curves = searched.retrain_epochs
    ends = [
        curves.loc[(curves["config_id"] == key) & (curves["epoch"] == rows["epochs"].iloc[0]), "train_accuracy"].mean()
        for key, rows in ((name, best), (baseline, retrains[retrains["is_baseline"]]))
    ]
    kept = epochs[epochs["trial_id"] != trials.loc[trials["status"] == "diverged", "trial_id"].iloc[0]]
    kept = kept.sort_values("reported_at")
    passed = kept.loc[kept["val_accuracy"] > trials.loc[trials["number"] == 0, "best_val_accuracy"].iloc[0]]
    reached = kept.loc[kept["val_accuracy"].idxmax(), "reported_at"] - START
    own = searched.predictions[searched.predictions["config_id"] == name]
    right = (own["label"] == own["predicted"]).groupby(own["label"]).mean() * 100
    assert titles == [
        f"Rank 1 classifies {mean_of(searched, name) * 100:.2f} % of the test images rightly, {gap:.2f} points above "
        "the founding report's configuration",
        f"Trial {trial['number']} reached {validation} in epoch {trial['best_epoch']:.0f}; {stopped} of 8 trials were "
        "stopped early",
        f"The best validation accuracy, {validation}, was reached after {reached.total_seconds():.0f} s; trial 0's was "
        f"passed after {(passed['reported_at'].iloc[0] - START).total_seconds():.0f} s",
        f"Training accuracy ends at {ends[0] * 100:.2f} % for rank 1, at {ends[1] * 100:.2f} % for the founding "
        "report's configuration",
        f"The hardest class is {CLASSES[right.idxmin()]}, {right.min():.1f} % of it classified rightly; the easiest "
        f"{CLASSES[right.idxmax()]}, {right.max():.1f} %",
    ]


def lines_of(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    """Return the labelled lines of a figure's first panel: x and y."""
    lines = figure.axes[0].get_lines()
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in lines
    }


def test_learning_curves_draw_each_trial_that_has_reported(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    trials, epochs = results.trials, results.epochs
    order = ranked(trials)
    figure = figures.learning_curves(trials, epochs, order).figure
    assert len(figure.axes[0].get_lines()) == epochs["trial_id"].nunique()
    drawn = lines_of(figure)
    for number in (0, *order.loc[order["number"] != 0, "number"][:3]):
        row = trials[trials["number"] == number].iloc[0]
        curve = epochs[epochs["trial_id"] == row["trial_id"]].sort_values("epoch")
        name = "trial 0, the founding report's" if number == 0 else f"trial {number}"
        label = f"{name}: {row['best_val_accuracy'] * 100:.2f} %"
        assert drawn[label] == (curve["epoch"].tolist(), curve["val_accuracy"].tolist())


def test_low_accuracies_are_cut_off_and_the_caption_says_so(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    trials, epochs = results.trials, results.epochs.copy()
    order = ranked(trials)
    assert "cut off" not in figures.learning_curves(trials, epochs, order).caption
    epochs.loc[0, "val_accuracy"] = 0.1
    drawing = figures.learning_curves(trials, epochs, order)
    floor = epochs["val_accuracy"].max() - 0.12
    assert f"what lies under {floor * 100:.0f} % is cut off." in drawing.caption
    assert drawing.figure.axes[0].get_ylim()[0] > 0.7


def test_best_so_far_never_falls_and_leaves_out_a_trial_that_diverged(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    epochs = results.epochs.copy()
    lost = results.trials.loc[results.trials["status"] == "diverged", "trial_id"].iloc[0]
    epochs.loc[epochs["trial_id"] == lost, "val_accuracy"] = 0.99
    drawn = lines_of(figures.best_so_far(results.trials, epochs, 0.8818).figure)
    seconds, best = drawn["best so far"]
    assert best == sorted(best)
    assert best[-1] == ranked(results.trials)["best_val_accuracy"].iloc[0]
    assert seconds[-1] == (results.epochs["reported_at"].max() - START).total_seconds()
    assert drawn["the founding report's figure: 88.18 %"][1] == [0.8818, 0.8818]


def test_confusion_matrix_has_each_share_in_its_cell() -> None:
    label = np.repeat(np.arange(10), 1000).astype(np.int8)
    predicted = label.copy()
    predicted[6000:6125] = 0
    predicted[2000] = 4
    axes = figures.confusion_matrix(label, predicted).figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    right = {(number, number): "100.0" for number in range(10)}
    # A position is column (taken for), then row (true class).
    assert cells == right | {(6, 6): "87.5", (0, 6): "12.5", (2, 2): "99.9", (4, 2): "0.1"}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(CLASSES)
