"""What a search leaves that ended before its first trial, and folders that only look like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.records import make_job, make_record
from tune_fmnist.store.leftovers import only_leftovers, remove_leftovers
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables


def ended_before_its_first_trial(paths: SearchPaths) -> None:
    """Leave what a search does that Ray did not start for."""
    paths.folder.mkdir(parents=True)
    with only_writer(paths):
        make_record(state="failed").write(paths)


def no_rows(paths: SearchPaths) -> None:
    ended_before_its_first_trial(paths)
    TrialTables(paths, make_record()).publish(now=True)
    paths.journal.write_text('{"op_code": 0}\n')
    paths.journal.with_name("optuna.journal.lock").symlink_to("optuna.journal")
    paths.checkpoints.mkdir()
    (paths.folder / ".search.json.17.partial").write_text("{")


def only_the_lock(paths: SearchPaths) -> None:
    paths.folder.mkdir(parents=True)
    paths.lock.touch()


@pytest.mark.parametrize("leave", [ended_before_its_first_trial, no_rows, only_the_lock])
def test_a_search_without_a_trial_does_not_take_the_name(leave: Callable[[SearchPaths], None], tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "x")
    leave(paths)
    with only_writer(paths):
        assert only_leftovers(paths)
        assert remove_leftovers(paths)
        assert {file.name for file in paths.folder.iterdir()} <= {".lock", ".holder.json", "checkpoints"}


def a_row(paths: SearchPaths) -> None:
    ended_before_its_first_trial(paths)
    trials = TrialTables(paths, make_record())
    trials.start(make_job(0))
    trials.publish(now=True)


def a_note(paths: SearchPaths) -> None:
    no_rows(paths)
    (paths.folder / "notes.txt").write_text("mine\n")


def a_copy(paths: SearchPaths) -> None:
    no_rows(paths)
    (paths.folder / "search.json.bak").write_text("{}\n")


def a_checkpoint(paths: SearchPaths) -> None:
    no_rows(paths)
    (paths.checkpoints / "00000").mkdir()


def another_record(paths: SearchPaths) -> None:
    no_rows(paths)
    paths.search.write_text('{"name": "of something else"}\n')


def another_table(paths: SearchPaths) -> None:
    no_rows(paths)
    pq.write_table(pa.table({"mine": [1, 2, 3]}), paths.trials)


def lost_tables(paths: SearchPaths) -> None:
    ended_before_its_first_trial(paths)
    make_record(state="finished").write(paths)


def an_empty_folder(paths: SearchPaths) -> None:
    paths.folder.mkdir(parents=True)


@pytest.mark.parametrize(
    "leave",
    [a_row, a_note, a_copy, a_checkpoint, another_record, another_table, lost_tables, an_empty_folder],
)
def test_a_folder_that_holds_anything_else_is_not_touched(leave: Callable[[SearchPaths], None], tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "x")
    leave(paths)
    before = {file: file.read_bytes() for file in paths.folder.rglob("*") if file.is_file()}
    assert not only_leftovers(paths)
    assert not remove_leftovers(paths)
    assert {file: file.read_bytes() for file in paths.folder.rglob("*") if file.is_file()} == before


def test_a_link_to_a_folder_is_not_touched(tmp_path: Path) -> None:
    no_rows(SearchPaths(tmp_path / "elsewhere"))
    (tmp_path / "x").symlink_to("elsewhere")
    assert not remove_leftovers(SearchPaths(tmp_path / "x"))
