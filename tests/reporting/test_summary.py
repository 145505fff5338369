"""The closing summary says what was found, of whatever there is, on one screen."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from tests.fake_search import add_retrains, edit_trials, make_search, mean_of
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.summary import print_summary
from tune_fmnist.store import tables
from tune_fmnist.store.record import SearchRecord


def summary_of(results: Results) -> str:
    """Return what is printed on a terminal of 80 columns, without its colours."""
    out = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    print_summary(Results(results.paths), out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def row_of(summary: str, name: str) -> list[str]:
    """Return the cells of the table's row that begins with a name."""
    (line,) = [line for line in summary.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).split()


def test_a_diverged_trial_is_never_named_the_best(tmp_path: Path) -> None:
    results = edit_trials(make_search(tmp_path), {3: {"score": 0.999}})
    best = results.ranked.iloc[0]
    summary = summary_of(results)
    assert "trial 3" not in summary
    assert "99.9" not in summary
    assert row_of(summary, f"trial {best['number']}") == [f"{best['score'] * 100:.2f}"]
    assert f"best score, not tested: trial {best['number']} (" in summary


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_where_no_trial_counts_none_is_named(tmp_path: Path, status: str) -> None:
    lost = {"status": status, "reason": "training loss nan in epoch 2"}
    summary = summary_of(edit_trials(make_search(tmp_path), dict.fromkeys(range(6), lost)))
    assert "no trial has a score that counts: nothing ranks" in summary
    assert "trial " not in summary.replace("no trial has", "")
    assert f"6 trials (6 {status})" in summary


def test_the_baseline_as_the_best_trial_is_one_row(tmp_path: Path) -> None:
    summary = summary_of(edit_trials(make_search(tmp_path), {0: {"score": 0.95}}))
    assert row_of(summary, "baseline, trial 0") == ["95.00"]
    assert "best score, not tested: trial 0 (the baseline's settings)" in summary
    assert summary.count("95.00") == 1


def test_retrained_configurations_stand_beside_the_baseline(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    add_retrains(results, [0.9, 0.1], baseline=0.1)
    summary = summary_of(results)
    # The answer comes first.
    assert summary.strip().startswith("The best model found gets ")
    assert row_of(summary, "published baseline") == ["88.18", "86.98"]
    assert 'baseline: the ANN of the report "Fashion-MNIST Classification using ANN and CNN"' in summary
    for row in results.retrains.drop_duplicates("config_id").to_dict("records"):
        name = "baseline" if row["is_baseline"] else f"rank {row['rank']:.0f}"
        validation, test, low, to, high, *compared = row_of(summary, name)
        assert validation == f"{row['score'] * 100:.2f}"
        assert test == f"{mean_of(results, row['config_id']) * 100:.2f}"
        assert to == "to"
        assert float(low) < float(test) < float(high)
        assert bool(compared) == (not row["is_baseline"])
    assert summary.count("\n") <= 24


def test_a_configuration_that_is_no_longer_among_the_top_says_so(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=8)
    add_retrains(results, [0.9, 0.1], baseline=0.1)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    rows = [row | {"rank": None if row["rank"] == 2 else row["rank"]} for row in rows]
    tables.write(tables.to_table(rows, tables.RETRAINS), results.paths.retrains)
    summary = summary_of(results)
    names = ["rank 1", "not among the top", "baseline"]
    assert all(len(row_of(summary, name)) >= 5 for name in names)


def test_published_figures_are_left_out_where_they_cannot_be_compared(tmp_path: Path) -> None:
    summary = summary_of(make_search(tmp_path, images=12_000))
    assert "published baseline" not in summary
    assert "88.18" not in summary
    assert "this search used 12,000" in summary


def test_how_the_trials_ended_and_how_busy_the_slots_were(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    states = "6 trials (1 running, 3 completed, 1 diverged, 1 failed)"
    line = f"{states}, {len(results.epochs)} epochs in 5:00 min; slots 97 % busy"
    assert line in " ".join(summary_of(results).split())
    values = results.record.model_dump() | {"utilisation": None, "utilisation_while_trials_wait": None}
    SearchRecord.model_validate(values).write(results.paths)
    assert "busy" not in summary_of(results)


def test_the_next_command_can_be_copied(tmp_path: Path) -> None:
    results = make_search(tmp_path / ("a long name " * 10).strip())
    (line,) = [line for line in summary_of(results).splitlines() if line.startswith("next: ")]
    assert shlex.split(line) == ["next:", "python", "-m", "tune_fmnist.retrain", str(results.paths.folder)]
    add_retrains(results, [0.5], baseline=0.1)
    (line,) = [line for line in summary_of(results).splitlines() if line.startswith("next: ")]
    resumed = ["--resume", "--results-dir", str(tmp_path), "--name", results.paths.folder.name, "--trials", "12"]
    assert shlex.split(line) == ["next:", "python", "-m", "tune_fmnist.search", *resumed]
    assert f"open {results.paths.page}" in summary_of(results)
