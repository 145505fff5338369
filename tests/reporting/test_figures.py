"""The figures hold the tables' numbers, their titles say what was found and no more, and the charts hold the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.fake_search import START, add_retrains, edit_trials, make_search, mean_of
from tune_fmnist.reporting.figures import course, curves, model, searched, tested
from tune_fmnist.reporting.figures.rows import trial_rows
from tune_fmnist.reporting.figures.style import COLOURS, Figure
from tune_fmnist.reporting.pictures import figures
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.retrained import Retrained


def retrained_of(folder: Path, levels: list[float], **retrains: int) -> tuple[Results, Retrained]:
    """Return a search of 8 trials whose configurations are as good as ``levels`` say, the baseline 0.1."""
    results = make_search(folder, trials=8)
    add_retrains(results, levels, baseline=0.1, **retrains)
    retrained = Retrained.of(results)
    assert retrained is not None
    return results, retrained


def rows_in(figure: Figure, *columns: str) -> list[dict[str, Any]]:
    """Return the rows of a figure that have these columns."""
    _, datasets = figure.specifications()
    return [row for rows in datasets.values() for row in rows if set(columns) <= row.keys()]


def trial(results: Results, number: int) -> pd.Series:
    return results.trials[results.trials["number"] == number].iloc[0]


def test_learning_curves_hold_each_trial_that_has_reported(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    data = curves.learning_curves(results.trials, results.epochs, results.ranked, [1, 3])
    best = results.ranked.iloc[0]
    stopped = (results.trials["status"] == "stopped").sum()
    assert data.title == (
        f"Trial {best['number']} ranks first with a score of {best['score'] * 100:.2f} %; "
        f"{stopped} of 8 trials were stopped early"
    )
    kinds = {curve.number: curve.kind for curve in data.curves}
    assert kinds[0] == "baseline"
    assert kinds[best["number"]] == "first in rank"
    # The baseline keeps its own colour, whatever its rank.
    next_best = set(results.ranked["number"].iloc[1:3]) - {0}
    assert {number for number, kind in kinds.items() if kind == "ranks 2 and 3"} == next_best
    drawn = {row["n"]: row for row in rows_in(curves.draw_learning_curves(data), "n", "accuracy")}
    assert len(drawn) == len(data.curves) == results.epochs["trial_id"].nunique()
    for number, row in drawn.items():
        own = results.epochs[results.epochs["trial_id"] == trial(results, number)["trial_id"]].sort_values("epoch")
        assert row["epoch"] == own["epoch"].tolist()
        assert row["accuracy"] == pytest.approx((own["val_accuracy"] * 100).tolist(), abs=1e-3)
    assert {row["epoch"] for row in rows_in(curves.draw_learning_curves(data), "epoch") if "n" not in row} == {1, 3}


def test_low_accuracies_are_cut_off_and_the_caption_says_so(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    trials, epochs = results.trials, results.epochs.copy()
    assert "cut off" not in curves.learning_curves(trials, epochs, results.ranked).caption
    epochs.loc[0, "val_accuracy"] = 0.1
    data = curves.learning_curves(trials, epochs, results.ranked)
    assert f"what lies under {(epochs['val_accuracy'].max() - 0.12) * 100:.0f} % is cut off." in data.caption
    (panel,), _ = curves.draw_learning_curves(data).specifications()
    (domain,) = {tuple(layer["encoding"]["y"]["scale"]["domain"]) for layer in panel["layer"]}
    assert domain[0] > 70


def test_best_so_far_never_falls_and_leaves_out_what_did_not_reach_the_last_epoch(tmp_path: Path) -> None:
    results = edit_trials(
        make_search(tmp_path, trials=8), {number: {"score": 0.99, "status": "stopped"} for number in (1, 3)}
    )
    data = course.best_so_far(results, 0.8818)
    finished = results.trials[results.trials["status"] == "completed"].copy()
    finished["ended"] = [
        results.epochs.loc[results.epochs["trial_id"] == name, "reported_at"].max() for name in finished["trial_id"]
    ]
    finished = finished.sort_values("ended")
    best = [point.best for point in data.points]
    assert best == sorted(best)
    assert [point.number for point in data.points] == finished["number"].tolist()
    assert best[-1] == results.ranked["score"].iloc[0] < 0.99
    assert data.points[-1].seconds == (finished["ended"].max() - START).total_seconds()
    for point, ended in zip(data.points, finished["ended"], strict=True):
        assert point.epochs == (results.epochs["reported_at"] <= ended).sum()
    reached, passed = (
        (finished.loc[finished["score"] >= score, "ended"].iloc[0] - START).total_seconds()
        for score in (best[-1], trial(results, 0)["score"] + 1e-9)
    )
    assert data.title == (
        f"The best score, {best[-1] * 100:.2f} %, was reached after {reached:.0f} s; "
        f"the baseline's was passed after {passed:.0f} s"
    )
    drawn = course.draw_best_so_far(data)
    assert [row["score"] for row in rows_in(drawn, "n")] == pytest.approx([point * 100 for point in best], abs=1e-3)
    assert "baseline, as published: 88.18 %" in {row["text"] for row in rows_in(drawn, "text")}


def test_the_time_of_an_interruption_does_not_count(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    before = course.best_so_far(results, None)
    reports = results.epochs["reported_at"].sort_values().tolist()
    last = reports[len(reports) // 2]
    for table, column in ((results.trials, "started_at"), (results.epochs, "reported_at")):
        table[column] += pd.to_timedelta((table[column] > last) * 3600.0, unit="s")
    resumed = last + pd.Timedelta(hours=1)
    results.record.resumed_at = [resumed]
    after = course.best_so_far(results, None)
    expected = [point.seconds for point in before.points]
    assert [point.seconds for point in after.points] == pytest.approx(expected, abs=1.0)
    assert "interruption" in after.caption


def test_best_so_far_without_what_is_not_known(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    results.trials.loc[results.trials["number"] == 0, "score"] = np.nan
    data = course.best_so_far(results, None)
    assert (data.baseline, data.published) == (None, None)
    assert "baseline" not in data.title
    assert not rows_in(course.draw_best_so_far(data), "text")


@pytest.mark.parametrize(
    ("level", "images", "words"),
    [
        (0.9, 2000, "{gap} points above the baseline (p < 0.001)"),
        (-0.7, 2000, "{gap} points below the baseline (p < 0.001)"),
        (0.1, 200, "which cannot be told from the baseline (p = 0."),
    ],
)
def test_the_title_says_no_more_than_the_test(tmp_path: Path, level: float, images: int, words: str) -> None:
    results, retrained = retrained_of(tmp_path, [level], images=images)
    title = tested.accuracies(retrained, 0.8698).title
    best, baseline = (
        results.retrains.loc[mask, "config_id"].iloc[0]
        for mask in (results.retrains["rank"] == 1, results.retrains["is_baseline"])
    )
    gap = abs(mean_of(results, best) - mean_of(results, baseline)) * 100
    said = f"Rank 1 classifies {mean_of(results, best) * 100:.2f} % of the test images correctly, "
    assert title.startswith(said + words.format(gap=f"{gap:.2f}"))
    assert ("points" in title) == (retrained.best["p_value"] < 0.05)


def test_tested_accuracies_and_differences_are_those_of_the_tables(tmp_path: Path) -> None:
    results, retrained = retrained_of(tmp_path, [0.9, 0.1])
    data = tested.accuracies(retrained, 0.8698)
    assert [shown.name for shown in data.configurations] == ["Rank 1", "Rank 2", "Baseline"]
    for shown, (_, row) in zip(data.configurations, retrained.summary.iterrows(), strict=True):
        own = results.retrains[results.retrains["config_id"] == row["config_id"]]
        assert shown.seeds == own["test_accuracy"].tolist()
        assert (shown.mean, shown.low, shown.high) == (row["mean"], row["low"], row["high"])
    figure = tested.draw(data)
    differences = rows_in(figure, "difference", "low", "high")
    assert [row["name"] for row in differences] == ["Rank 1", "Rank 2"]
    for shown, row in zip(data.configurations, differences, strict=False):
        wanted = [100 * value for value in (shown.difference, shown.difference_low, shown.difference_high)]
        assert [row["difference"], row["low"], row["high"]] == pytest.approx(wanted, abs=1e-3)
    assert rows_in(figure, "at", "text") == [{"at": 86.98, "text": "published: 86.98 %"}]
    assert not rows_in(tested.draw(tested.accuracies(retrained, None)), "at", "text")


def test_training_curves_are_those_of_the_best_trial_and_the_baseline(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    best, baseline = results.ranked.iloc[0].to_dict(), trial(results, 0).to_dict()
    data = curves.training_curves(results.epochs, best, baseline)
    assert [(curve.trial, curve.on) for curve in data.curves] == [
        (name, on) for name in (f"trial {best['number']}", "baseline") for on in ("training", "validation")
    ]
    own = results.epochs[results.epochs["trial_id"] == best["trial_id"]].sort_values("epoch")
    assert data.curves[0].losses == own["train_loss"].tolist()
    assert data.curves[1].accuracies == own["val_accuracy"].tolist()
    gap = (own["train_accuracy"] - own["val_accuracy"]).iloc[-1] * 100
    assert data.title.startswith(f"Training accuracy ends {gap:.1f} points above validation for trial {best['number']}")


def test_confusion_matrix_has_each_share_in_its_cell() -> None:
    names = [f"class {number}" for number in range(10)]
    label = np.repeat(np.arange(10), 1000).astype(np.int8)
    predicted = label.copy()
    predicted[6000:6125] = 0
    predicted[2000] = 4
    data = model.confusion_matrix(label, predicted, names)
    assert data.title == (
        "Of the 10 classes, class 6 has the lowest accuracy, 87.5 %, and class 0 the highest, 100.0 %"
    )
    rows = rows_in(model.draw_confusion_matrix(data), "true", "predicted")
    cells = {(row["true"], row["predicted"]): (row["share"], row["right"]) for row in rows}
    right = {(name, name): (100.0, "right") for name in names}
    others = {("class 6", "class 0"): (12.5, "mistake"), ("class 2", "class 4"): (0.1, "mistake")}
    assert cells == right | {("class 6",) * 2: (87.5, "right"), ("class 2",) * 2: (99.9, "right")} | others


def test_a_hundred_classes_have_no_text_in_their_cells_and_the_lowest_are_listed() -> None:
    names = [f"class {number}" for number in range(100)]
    label = np.arange(1000) % 100
    predicted = np.where(label < 3, 99, label)
    figure = model.draw_confusion_matrix(model.confusion_matrix(label, predicted, names))
    (panel,), _ = figure.specifications()
    assert [layer["mark"]["type"] for layer in panel["layer"]] == ["rect"]
    accuracies = [model.ClassAccuracy(name, float(number >= 3), 0.5) for number, name in enumerate(names)]
    listed = model.draw_classes(accuracies)
    assert "Shown are the 30 lowest of 100 classes." in listed.caption
    assert listed.title == "On 97 of 100 classes the best configuration has more right than the baseline"
    assert {"class 0", "class 1", "class 2"} <= {row["class"] for row in rows_in(listed, "class")}


def test_every_trial_is_a_row_with_its_values_on_their_scales(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    data = trial_rows(results, None)
    assert [row["n"] for row in data.rows] == list(range(16))
    by_number = {row["n"]: row for row in data.rows}
    assert by_number[0]["role"] == "baseline"
    assert by_number[results.ranked["number"].iloc[0]]["role"] == "best"
    assert (by_number[3]["reached"], by_number[4]["reached"], by_number[4]["score"]) == ("diverged", "failed", None)
    # dropout from 0 to 0.5; hidden1 from 128 to 512 on a logarithmic scale, each integer with half to either side.
    assert by_number[0]["c_dropout"] == pytest.approx(0.6)
    assert by_number[0]["c_hidden1"] == pytest.approx(np.log(256 / 127.5) / np.log(512.5 / 127.5))
    assert by_number[0]["v_schedule"] == "constant"
    stopped = results.trials.loc[results.trials["status"] == "stopped", "number"]
    assert {by_number[number]["reached"] for number in stopped} == {"up to 1 epoch"}


def test_slices_and_lines_show_every_trial_with_a_score(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    data = trial_rows(results, None)
    words = {row["text"] for row in rows_in(searched.draw_ranges(data, []), "parameter", "text")}
    counts = results.trials["config_schedule"].value_counts()
    assert {f"{name} ({counts[name]})" for name in ("constant", "cosine")} < words
    for figure in (searched.draw_slices(data), searched.draw_parallel(data), searched.draw_ranges(data, [])):
        panels, datasets = figure.specifications()
        assert datasets["trials"] == json.loads(json.dumps(datasets["trials"]))
        assert len(datasets["trials"]) == 16
        assert all("chosen" in {param["name"] for param in panel["params"]} for panel in panels)
    assert len(searched.draw_slices(data).panels) == len(data.space.parameters)


def test_figures_are_written_in_the_colours_of_the_day(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=14)
    figure = searched.draw_slices(trial_rows(results, None))
    figure.write(tmp_path / "figures")
    svg = (tmp_path / "figures" / "slices.svg").read_text()
    assert "var(--" not in svg
    assert COLOURS["ramp4"][0] in svg
    assert (tmp_path / "figures" / "slices.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_has_the_figures_that_its_tables_can_fill(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=14)
    of_trials = ["ranges", "slices", "importances", "parallel", "learning_curves", "origins", "best_so_far"]
    of_trials += ["expected_best", "timeline", "cost", "training_curves"]
    assert [figure.name for figure in figures(results, None)] == of_trials
    add_retrains(results, [0.9], baseline=0.1)
    results = Results(results.paths)
    of_model = ["confusion", "classes", "reliability"]
    assert [figure.name for figure in figures(results, Retrained.of(results))] == [
        "test_accuracy",
        *of_trials,
        *of_model,
    ]
