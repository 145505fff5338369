"""A search's files on a storage: what is there at any moment can be resumed, by one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.conftest import tune
from tests.records import STARTED, make_record
from tests.s3 import S3
from tune_fmnist.base.errors import InputError
from tune_fmnist.store import lease
from tune_fmnist.store import mirror as module
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.mirror import Mirror
from tune_fmnist.store.paths import SearchPaths


def record(paths: SearchPaths, resumed: int = 0, search_id: str = "abc") -> None:
    make_record(search_id=search_id, resumed_at=[STARTED] * resumed).write(paths)


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    return SearchPaths(tmp_path / "here" / "x")


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder.at(str(tmp_path / "storage"))


def test_what_changes_is_copied_and_the_end_too(paths: SearchPaths, storage: Folder) -> None:
    there = storage / "x"
    with Mirror(paths, storage).held() as mirror:
        record(paths)
        paths.trials.write_bytes(b"1")
        mirror.copy()
        assert there.read("trials.parquet") == b"1"
        mirror.begin()
        paths.trials.write_bytes(b"22")
        paths.figures.mkdir()
        (paths.figures / "a.png").write_bytes(b"png")
        (paths.folder / "notes").write_text("mine")
        assert "holder.json" in there.names()
    assert there.read("trials.parquet") == b"22"
    assert (there / "figures").read("a.png") == b"png"
    assert there.names() == ["search.json", "trials.parquet"]


def test_nothing_is_copied_before_it_is_begun(paths: SearchPaths, storage: Folder) -> None:
    record(paths)
    with Mirror(paths, storage).held():
        pass
    assert (storage / "x").names() == []


class KilledError(Exception):
    """Stands for the end of the process."""


def test_whenever_a_copy_ends_no_table_is_ahead_of_what_it_needs(paths: SearchPaths, storage: Folder) -> None:
    """The copy ends after any number of files, while the search goes on writing between any two looks at files."""
    order = ("optuna.journal", "epochs.parquet", "trials.parquet")

    class Interrupted(Folder):
        left = 0

        def write(self, name: str, content: bytes) -> None:
            if Interrupted.left == 0:
                raise KilledError
            Interrupted.left -= 1
            super().write(name, content)

    record(paths)
    step = 0
    looked = module._state

    def look(file: Path) -> tuple[int, int, int]:
        # A search writes its journal, then its epochs, then its trials.
        nonlocal step
        step += 1
        for name in order:
            (paths.folder / name).write_text(f"{step:05d}")
        return looked(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_state", look)
        for ends_after in range(12):
            mirror = Mirror(paths, Interrupted(storage.path))
            mirror.folder = Interrupted((storage / "x").path)
            Interrupted.left = ends_after
            with suppress(KilledError):
                mirror.copy()
            there = [int((storage / "x").read(name)) if name in (storage / "x").names() else 0 for name in order]
            assert there == sorted(there, reverse=True)
    assert there[-1] > 0


def test_a_read_of_the_test_set_is_on_the_storage_although_that_fails_for_a_while(
    paths: SearchPaths, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Folder):
        left = 2

        def write(self, name: str, content: bytes) -> None:
            if Failing.left:
                Failing.left -= 1
                raise OSError("away")
            super().write(name, content)

    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.01)
    record(paths)
    paths.test_reads.write_bytes(b"row")
    paths.best.mkdir()
    (paths.best / "config.json").write_text("{}")
    mirror = Mirror(paths, storage)
    mirror.folder = Failing((storage / "x").path)
    mirror.settle()
    assert (storage / "x").read("test_reads.parquet") == b"row"
    # A copy that ends early has no model without its read.
    assert module._ORDER[0] == "test_reads.parquet"


def test_checkpoints_go_only_after_the_rows_have_been_copied(paths: SearchPaths, storage: Folder) -> None:
    record(paths)
    mirror = Mirror(paths, storage)
    checkpoints = mirror.checkpoints / "00003"
    checkpoints.write("epoch-00001.safetensors", b"")
    mirror.discard(3)
    trials = storage / "x" / "trials.parquet"
    paths.trials.write_bytes(b"rows")
    # A folder stands where the table should go.
    trials.write("in the way", b"")
    with pytest.raises(OSError, match=r"trials\.parquet"):
        mirror.copy()
    assert checkpoints.names()
    trials.clear()
    mirror.copy()
    assert not checkpoints.names()


def test_a_search_is_fetched_where_it_is_not_or_older(paths: SearchPaths, storage: Folder, tmp_path: Path) -> None:
    there = Mirror(paths, storage)
    record(paths, resumed=1)
    paths.trials.write_bytes(b"1")
    paths.best.mkdir()
    (paths.best / "model.safetensors").write_bytes(b"best")
    there.copy()
    other = SearchPaths(tmp_path / "elsewhere" / "x")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"1"
    assert (other.best / "model.safetensors").read_bytes() == b"best"
    # As new, and older.
    other.trials.write_bytes(b"2")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"2"
    record(other, resumed=0)
    other.retrains.write_bytes(b"of an older run")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"1"
    assert not other.retrains.exists()
    record(other, search_id="another")
    with pytest.raises(InputError, match="is another search"):
        Mirror(other, storage).fetch()


def test_what_is_not_there_is_told(paths: SearchPaths, storage: Folder) -> None:
    with pytest.raises(InputError, match="x: --storage: search not found; "):
        Mirror(paths, storage).fetch()
    (storage / "x").write("search.json", b"[]")
    with pytest.raises(InputError, match=r"x/search\.json: holds a list, not an object"):
        Mirror(paths, storage).fetch()
    assert not paths.folder.exists()


HOLD = """
import sys, pathlib
from tune_fmnist.store import mirror
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.folder import Folder
mirror.RENEW_SECONDS = 0.1
mirror.PERIOD_SECONDS = 0.1
with mirror.Mirror(SearchPaths(pathlib.Path(sys.argv[1])), Folder.at(sys.argv[2])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_living_writer_is_told_and_a_dead_one_is_replaced(
    paths: SearchPaths, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(paths.folder), str(storage)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(InputError, match=rf"is in use by process {holder.pid} on ") as caught,
        Mirror(paths, storage).held(),
    ):
        pass
    assert caught.value.key == "--storage"
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert (storage / "x").names() == ["holder.json"]
    monkeypatch.setattr(lease, "_SILENCE_SECONDS", 2.0)
    with Mirror(paths, storage).held():
        assert json.loads((storage / "x").read("holder.json"))["pid"] == os.getpid()
    assert (storage / "x").names() == []


def test_who_was_replaced_stops_and_leaves_the_other_ones_files(
    paths: SearchPaths, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.0)
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.01)
    record(paths)
    other = json.dumps({"token": "other", "pid": 7, "node": "elsewhere", "since": "now"}).encode()
    replaced = Mirror(paths, storage)
    with pytest.raises(InputError, match="in use by process 7 on elsewhere"), replaced.held():  # noqa: PT012 -- its end raises
        replaced.begin()
        (storage / "x").write("holder.json", other)
        while replaced._error is None:
            # One that had begun its sign of life writes it once more.
            (storage / "x").write("holder.json", other)
        (storage / "x").write("holder.json", other)
        record(paths, resumed=5)
    assert (storage / "x").read("holder.json") == other
    assert json.loads((storage / "x").read("search.json"))["resumed_at"] == []


SMALL = ("--model", "ann", "--trials", 4, "--max-epochs", 3, "--limit-train", 2000)


def test_a_search_on_s3_goes_on_on_a_machine_that_has_nothing(s3: S3, tmp_path: Path) -> None:
    uri = s3.uri(f"searches/{tmp_path.name}")
    common = ("--storage", uri, "--top-k", 1, "--retrain-seeds", 1, "--name", "x")
    first = tune("search", *SMALL, "--no-retrain", *common, "--results-dir", tmp_path / "first")
    assert first.returncode == 0, first.stderr
    there = Folder.at(uri) / "x"
    for file in (tmp_path / "first" / "x").glob("*.*"):
        if not file.name.startswith("."):
            assert there.read(file.name) == file.read_bytes(), file.name
    assert (there / "checkpoints" / "00000").names() == []
    assert "holder.json" not in there.names()
    second = tune("search", "--resume", "--retrain", "--trials", 6, *common, "--results-dir", tmp_path / "second")
    assert second.returncode == 0, second.stderr
    found = SearchPaths(tmp_path / "second" / "x")
    assert "6 trials" in second.stdout
    for file in (found.trials, found.retrains, found.search, found.page):
        assert there.read(file.name) == file.read_bytes()
    assert (there / "best").read("model.safetensors") == (found.best / "model.safetensors").read_bytes()
    assert json.loads(found.search.read_text())["storage"].startswith("s3://bucket/searches/")
    again = tune("search", *SMALL, *common, "--results-dir", tmp_path / "third")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "exists already" in again.stderr


def test_a_storage_that_cannot_be_used_is_one_line_before_the_first_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = tune("search", *SMALL, "--storage", tmp_path / "file", "--results-dir", tmp_path, "--name", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "--storage" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
