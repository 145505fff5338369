"""What ``tune-fmnist doctor NAME`` says of a search's files: each alone, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_search import add_confirmations, add_retrains, edit_trials, make_search
from tests.test_doctor import run_doctor
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.errors import InputError
from tune_fmnist.models import saved
from tune_fmnist.models.config import to_config
from tune_fmnist.models.networks import build
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.workflow.folder_checks import examine

JOURNAL = '{"op_code":0,"worker_id":"a","study_name":"fake","directions":[2]}\n'


@pytest.fixture
def found(tmp_path: Path) -> Results:
    """A search that has ended, with retrains, a model, a study and a page."""
    results = make_search(tmp_path / "fake", trials=5)
    add_retrains(results, [0.3], baseline=0.1, seeds=2, images=50)
    add_confirmations(results, [0.3], baseline=0.1, seeds=2)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    config = to_config(tables.config_values(next(row for row in rows if row["rank"] == 1)))
    weights = {name: one.numpy() for name, one in build(config, KNOWN_SHAPE).state_dict().items()}
    saved.save(weights, config, KNOWN_SHAPE, results.paths.best)
    results.paths.journal.write_text(JOURNAL)
    results.paths.page.write_text("<html>")
    return results


def said(results: Results) -> dict[str, tuple[str, str]]:
    """Return what is not as it should be, by check."""
    return {one.check: (one.state, one.found) for one in examine(results.paths) if one.state != "ok"}


def without(name: str, count: int) -> Callable[[Results], object]:
    """Remove the last rows of a table."""

    def change(results: Results) -> None:
        file, schema = results.paths.folder / f"{name}.parquet", getattr(tables, name.upper())
        tables.write(tables.read(file, schema)[:-count], file)

    return change


def confirmed(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Results], object]:
    """Change the rows of the confirmations."""

    def damage(results: Results) -> None:
        rows = [change(row) for row in tables.read(results.paths.confirmations, tables.CONFIRMATIONS).to_pylist()]
        tables.write(tables.to_table(rows, tables.CONFIRMATIONS), results.paths.confirmations)

    return damage


def changed_byte(name: str) -> Callable[[Results], object]:
    def change(results: Results) -> None:
        file = results.paths.folder / name
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)

    return change


def test_a_whole_search_is_ok(found: Results) -> None:
    assert said(found) == {}
    assert len(list(examine(found.paths))) == 14


@pytest.mark.parametrize(
    ("damage", "check", "says"),
    [
        (lambda results: results.paths.search.write_text("{"), "search.json", "cannot be read"),
        (lambda results: results.paths.epochs.unlink(), "epochs.parquet", "table not found"),
        (changed_byte("trials.parquet"), "trials.parquet", "is not a readable table"),
        (changed_byte("predictions.parquet"), "predictions.parquet", "is not a readable table"),
        (changed_byte("best/model.safetensors"), "best", "content does not match its checksum"),
        (lambda results: (results.paths.best / "model.safetensors").unlink(), "best", "file not found"),
        (without("epochs", 1), "trials and epochs", "epochs of trial f0f0f0f0-0000"),
        (lambda results: edit_trials(results, {0: {"epochs": 1}}), "trials and epochs", "has more epochs than its row"),
        (lambda results: edit_trials(results, {1: {"search_id": "other"}}), "trials.parquet", "rows of another search"),
        (lambda results: edit_trials(results, {1: {"number": 0}}), "trials and epochs", "a row stands there twice"),
        (confirmed(lambda row: row | {"score": 0.5}), "confirmations", "but 0."),
        (confirmed(lambda row: row | {"number": 77}), "confirmations", "is of trial 77, which has no row"),
        (confirmed(lambda row: row | {"seed": 0}), "confirmations", "stands there twice"),
        (without("predictions", 1), "retrains", "by its predictions"),
        (without("predictions", 50), "retrains", "has not one prediction per test image"),
        (without("retrain_epochs", 1), "retrains", " epochs"),
        (without("test_reads", 1), "retrains", "is in no row of test_reads.parquet"),
        (without("retrains", 1), "retrains", "was cut off as its rows were written"),
        (lambda results: results.paths.journal.write_text("[]\n"), "optuna.journal", "line 1 is no record"),
        (lambda results: results.paths.journal.unlink(), "optuna.journal", "cannot be read"),
        (lambda results: results.paths.page.unlink(), "report.html", "is missing"),
        (lambda results: results.paths.page.write_text(""), "report.html", "report.html is empty"),
    ],
)
def test_what_is_wrong_is_said(damage: Callable[[Results], object], check: str, says: str, found: Results) -> None:
    damage(found)
    assert says in said(found)[check][1], said(found)


def test_a_search_is_known_by_name_or_folder(found: Results, tmp_path: Path) -> None:
    assert SearchPaths.of("fake", tmp_path) == SearchPaths.of(str(tmp_path / "fake")) == found.paths
    with pytest.raises(InputError, match="none: folder not found; name a search"):
        SearchPaths.of("none", tmp_path)


def test_command(found: Results, tmp_path: Path) -> None:
    whole = run_doctor("fake", "--results-dir", tmp_path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert {line[:8] for line in whole.stdout.splitlines()} == {"ok      "}
    without("test_reads", 1)(found)
    damaged = run_doctor(tmp_path / "fake")
    assert damaged.returncode == 1
    assert "failure retrains: " in damaged.stdout
    missing = run_doctor("none", "--results-dir", tmp_path)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
