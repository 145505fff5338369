"""The published searches, in ``results/``: this release reads them, reports on them and resumes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import tune
from tune_fmnist import Results, open_search
from tune_fmnist.reporting.wording import percent
from tune_fmnist.store.record import SearchRecord

PUBLISHED = Path(__file__).parents[2] / "results"


@pytest.fixture(params=["ann", "ann-wide", "cnn"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a published search, without its page."""
    copy = tmp_path / request.param
    shutil.copytree(PUBLISHED / request.param, copy, ignore=shutil.ignore_patterns("report.html", "figures"))
    return copy


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in [*folder.glob("*.parquet"), folder / "optuna.journal"]}


def test_it_can_be_read(folder: Path) -> None:
    results = open_search(folder)
    record, trials = results.record, results.trials
    assert record.model == folder.name.split("-")[0]
    assert list(trials["number"]) == list(range(record.trials))
    assert trials["epochs"].sum() == len(results.epochs)
    assert (trials["max_epochs"] == record.max_epochs).all()
    assert (trials["split_hash"] == record.split_hash).all()
    for table in (trials, results.epochs, results.retrains, results.predictions, results.test_reads):
        assert set(table["search_id"]) == {record.search_id}
    assert len(results.predictions) == 10_000 * len(results.retrains)
    assert set(results.comparison["config_id"]) == set(results.retrains["config_id"])


def test_it_resumes_has_nothing_to_do_and_writes_its_page(folder: Path) -> None:
    before, known = contents(folder), SearchRecord.read(open_search(folder).paths)
    done = tune("search", "--resume", "--results-dir", folder.parent, "--name", folder.name, "--no-retrain")
    assert done.returncode == 0, done.stderr
    assert f"\nresuming {known.name}: {known.trials} trials " in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith(("Ray:", "trial ", "retrain"))]
    assert contents(folder) == before
    results: Results = open_search(folder)
    assert results.record.state == "finished"
    assert len(results.record.resumed_at) == len(known.resumed_at) + 1
    page = results.paths.page.read_text(encoding="utf-8")
    assert all(percent(mean) in page for mean in results.comparison["mean"])
    assert {"best_so_far.png", "confusion.png"} <= {file.name for file in (folder / "figures").iterdir()}
