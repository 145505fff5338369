"""How a search is opened and ends: which folders it may take, what a full disk and failed trials say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from tests.disks import disk_of
from tests.fake_search import make_search
from tests.records import make_job, make_record
from tests.store.test_leftovers import a_row, ended_before_its_first_trial
from tune_fmnist import search
from tune_fmnist.base.errors import FailedError, InputError
from tune_fmnist.base.vocabulary import FAILED
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store import tables
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.session import Session, check_outcome, open_new


def opened(results: Path, **options: object) -> Session:
    """Open a search of the name x, and leave it before it has written anything."""
    given = Options.of(model="ann", name="x", results_dir=results, limit_train=100, **options)
    with open_new(given, "a command", Screen.of(Console(file=io.StringIO()))) as session:
        return session


def test_a_search_without_a_trial_does_not_take_the_name(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "x")
    ended_before_its_first_trial(paths)
    session = opened(tmp_path)
    assert session.paths == paths
    assert {file.name for file in paths.folder.iterdir()} <= {".lock"}, "nothing of the other search"


def test_a_search_with_a_trial_keeps_the_name(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "x")
    a_row(paths)
    before = paths.search.read_bytes()
    with pytest.raises(InputError, match=r"x: --name: 'x' exists already; use another, or --resume$"):
        opened(tmp_path)
    assert paths.search.read_bytes() == before


def test_a_search_that_begins_elsewhere_is_not_taken_over(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "x")
    ended_before_its_first_trial(paths)
    with only_writer(paths), pytest.raises(InputError, match="x: --name: is in use by process"):
        opened(tmp_path)
    assert paths.search.exists()


def failed(paths: SearchPaths, reasons: list[str]) -> TrialTables:
    """Return the tables of a search whose trials failed for these reasons; an empty one is still running."""
    paths.folder.mkdir(exist_ok=True)
    trials = TrialTables(paths, make_record())
    for number, reason in enumerate(reasons):
        trials.start(make_job(number))
        if reason:
            trials.fail(number, reason)
    return trials


def test_all_trials_failed_is_a_failure_with_its_most_frequent_reason(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path)
    with pytest.raises(FailedError, match=r"^all 3 trials failed, 2 of them with: no memory; .*trials\.parquet has"):
        check_outcome(failed(paths, ["no disk", "no memory", "no memory"]), paths)
    with pytest.raises(FailedError, match=r"^all 2 trials failed with: no memory; "):
        check_outcome(failed(paths, ["no memory", "no memory"]), paths)
    with pytest.raises(FailedError) as caught:
        check_outcome(failed(paths, ["a worker died " * 99]), paths)
    assert len(str(caught.value)) < 500
    check_outcome(failed(paths, ["no memory", ""]), paths)
    check_outcome(failed(paths, []), paths)


def test_a_search_whose_trials_all_failed_fails_again_without_new_ones(tmp_path: Path) -> None:
    results = make_search(tmp_path / "x")
    rows = results.trials.assign(status=FAILED, reason="no memory", score=None)
    tables.write(pa.Table.from_pandas(rows, tables.TRIALS, preserve_index=False), results.paths.trials)
    session = opened(tmp_path / "new")
    record = results.record.model_copy(update={"images": 100, "limit_train": 100, "split_hash": session.split.hash})
    record.space = session.record.space
    record.write(results.paths)
    with pytest.raises(FailedError, match=r"^all 6 trials failed with: no memory"):
        search(name="x", results_dir=tmp_path, resume=True, out=Console(file=io.StringIO()))
    assert results.paths.search.read_text().count('"state": "failed"') == 1


@pytest.mark.faults
def test_a_search_all_of_whose_trials_fail_ends_with_that(tmp_path: Path) -> None:
    small = {"trials": 1, "max_epochs": 1, "limit_train": 1000, "results_dir": tmp_path, "name": "x"}
    with pytest.raises(FailedError, match=r"^all 1 trials failed with: no epoch within 0\.01 s, --trial-timeout"):
        search("ann", trial_timeout=0.01, out=Console(file=io.StringIO()), **small)  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 1 MB."""
    with disk_of("1m", tmp_path / "disk") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Leave no room on the disk of a folder."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return ballast


def test_a_disk_that_is_full_at_the_start_is_one_line(small_disk: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(OSError, match=r"the disk is full; what was written is whole: make room, then") as caught:
        search("ann", name="x", results_dir=small_disk, limit_train=100, out=Console(file=io.StringIO()))
    assert str(small_disk) in str(caught.value)
    # With room, the same command works.
    ballast.unlink()
    opened(small_disk)


def test_a_disk_that_is_still_full_is_one_line(small_disk: Path) -> None:
    paths = SearchPaths(small_disk / "x")
    session = opened(small_disk)
    record = session.record.model_copy(update={"state": "interrupted"})
    record.write(paths)
    fill(small_disk)
    before = paths.search.read_bytes()
    with pytest.raises(OSError, match=r"the disk is full; .*make room, then go on with --resume: "):
        search(name="x", results_dir=small_disk, resume=True, out=Console(file=io.StringIO()))
    assert paths.search.read_bytes() == before
