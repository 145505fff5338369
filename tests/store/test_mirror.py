"""A search's files on a storage: what is there at any moment can be resumed, by one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.conftest import tune
from tests.outputs import trouble
from tests.records import STARTED, make_record
from tests.reliability import Note
from tests.s3 import S3
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import lease
from tune_fmnist.store import mirror as module
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.mirror import Mirror
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.workflow.retrain import retrain


def claims(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.startswith("holder")]


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
        assert claims(there)
    assert there.read("trials.parquet") == b"22"
    assert (there / "figures").read("a.png") == b"png"
    assert there.names() == [".holder.lock", "search.json", "trials.parquet"]


def test_nothing_is_copied_before_it_is_begun(paths: SearchPaths, storage: Folder) -> None:
    record(paths)
    with Mirror(paths, storage).held():
        pass
    assert (storage / "x").names() == [".holder.lock"]


class KilledError(Exception):
    """Stands for the end of the process."""


def test_whenever_a_copy_ends_no_table_is_ahead_of_what_it_needs(
    paths: SearchPaths, storage: Folder, count: Note
) -> None:
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
            mirror = Mirror(paths, storage)
            mirror.folder = Interrupted((storage / "x").path)
            Interrupted.left = ends_after
            with mirror.held(), suppress(KilledError):
                mirror.copy()
            there = [int((storage / "x").read(name)) if name in (storage / "x").names() else 0 for name in order]
            assert there == sorted(there, reverse=True)
    assert there[-1] > 0
    count("copy to the storage cut off after any file", 12)


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
    with mirror.held():
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
    with mirror.held():
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
    paths.confirmations.write_bytes(b"confirmed")
    paths.best.mkdir()
    (paths.best / "model.safetensors").write_bytes(b"best")
    with there.held():
        there.copy()
    other = SearchPaths(tmp_path / "elsewhere" / "x")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"1"
    assert other.confirmations.read_bytes() == b"confirmed"
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
    # As often resumed, but on another machine.
    make_record(resumed_at=[STARTED + timedelta(seconds=1)]).write(other)
    other.trials.write_bytes(b"of another run")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"1"
    # What goes on from the storage's is kept.
    record(other, resumed=2)
    other.trials.write_bytes(b"3")
    Mirror(other, storage).fetch()
    assert other.trials.read_bytes() == b"3"
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
    paths: SearchPaths, storage: Folder, monkeypatch: pytest.MonkeyPatch, count: Note
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
    make_record(storage=str(storage)).write(paths)
    (storage / "x").write("search.json", paths.search.read_bytes())
    with pytest.raises(InputError, match=rf"is in use by process {holder.pid} on ") as caught:
        retrain(paths.folder)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert len(claims(storage / "x")) == 1
    monkeypatch.setattr(lease, "_SILENCE_SECONDS", 2.0)
    with Mirror(paths, storage).held():
        (claim,) = claims(storage / "x")
        assert json.loads((storage / "x").read(claim))["pid"] == os.getpid()
    assert claims(storage / "x") == []
    count("storage's writer killed", 1)


STOPPED = """
import os, pathlib, signal, sys
from tune_fmnist.base.errors import InputError
from tune_fmnist.store import lease, mirror
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.paths import SearchPaths
lease._SILENCE_SECONDS, mirror.RENEW_SECONDS, mirror.PERIOD_SECONDS = 1.5, 0.1, 0.05
folder, uri, moment = sys.argv[1:]
paths = SearchPaths(pathlib.Path(folder))

def stop(here):
    if here == moment:
        os.kill(os.getpid(), signal.SIGSTOP)

class Slow(Folder):
    def write(self, name, content):
        if content == b"late" and name == "trials.parquet":
            stop("write")
        super().write(name, content)

storage = Folder.at(uri)
try:
    writer = mirror.Mirror(paths, Slow(storage.path, storage.root))
    with writer.held():
        paths.trials.write_bytes(b"early")
        writer.begin()
        stop("mid")
        paths.trials.write_bytes(b"late")
        stop("finish")
        writer.finish()
        stop("release")
except InputError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize(
    ("where", "moment"),
    [
        *(pytest.param("disk", moment, marks=pytest.mark.faults) for moment in ("mid", "release")),
        *(("disk", "finish"), ("s3", "finish"), ("s3", "write")),
    ],
)
def test_a_writer_that_was_stopped_never_overwrites_its_successor(
    where: str,
    moment: str,
    paths: SearchPaths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    count: Note,
) -> None:
    uri = str(tmp_path / "storage")
    if where == "s3":
        server: S3 = request.getfixturevalue("s3")
        uri = server.uri(f"stopped/{tmp_path.name}")
    storage = Folder.at(uri)
    monkeypatch.setattr(lease, "_SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.05)
    record(paths)
    there = storage / "x"
    command = [sys.executable, "-c", STOPPED, str(paths.folder), uri, moment]
    stopped = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert stopped.poll() is None
        after = SearchPaths(tmp_path / "elsewhere" / "x")
        successor = Mirror(after, storage)
        with successor.held():
            successor.fetch()
            make_record(resumed_at=[STARTED]).write(after)
            after.trials.write_bytes(b"successor's")
            successor.begin()
            (successor.checkpoints / "00000").write("epoch-00001.safetensors", b"successor's")
            os.kill(stopped.pid, signal.SIGCONT)
            _, said = stopped.communicate()
            assert stopped.returncode != 0
            assert f": --storage: is in use by process {os.getpid()} on " in said
            assert said.count("\n") == 1
            assert len(claims(there)) == 1
            if moment != "write":
                assert there.read("trials.parquet") == b"successor's"
            assert (successor.checkpoints / "00000").read("epoch-00001.safetensors") == b"successor's"
        assert there.read("trials.parquet") == b"successor's"
        assert len(json.loads(there.read("search.json"))["resumed_at"]) == 1
        assert claims(there) == []
        count(f"storage's writer stopped and replaced, on {where}", 1)
    finally:
        stopped.kill()
        stopped.wait()


def test_whatever_ends_the_copying_ends_the_search(
    paths: SearchPaths, storage: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERIOD_SECONDS", 0.01)
    record(paths)

    def unexpected(file: Path) -> tuple[int, int, int]:
        raise TypeError("unexpected")

    mirror = Mirror(paths, storage)
    with pytest.raises(TypeError, match="unexpected"), mirror.held():  # noqa: PT012 -- its end raises as well
        mirror.begin()
        with monkeypatch.context() as once:
            once.setattr(module, "_state", unexpected)
            (thread,) = (thread for thread in threading.enumerate() if thread.name == "mirror")
            thread.join()
        with pytest.raises(TypeError, match="unexpected"):
            mirror.check()


SMALL = ("--model", "ann", "--trials", 4, "--max-epochs", 3, "--limit-train", 2000)


@pytest.mark.long
def test_a_search_on_s3_goes_on_on_a_machine_that_has_nothing(s3: S3, tmp_path: Path) -> None:
    uri = s3.uri(f"searches/{tmp_path.name}")
    common = ("--storage", uri, "--confirm", 1, "--top-k", 1, "--retrain-seeds", 1, "--name", "x")
    # There is none yet: it is begun.
    first = tune("search", "--resume", *SMALL, "--no-retrain", *common, "--results-dir", tmp_path / "first")
    assert first.returncode == 0, first.stderr
    assert "search x: 4 trials" in first.stderr
    there = Folder.at(uri) / "x"
    for file in (tmp_path / "first" / "x").glob("*.*"):
        if not file.name.startswith("."):
            assert there.read(file.name) == file.read_bytes(), file.name
    assert (there / "checkpoints" / "00000").names() == []
    assert claims(there) == []
    requeued = ("--resume", "--model", "ann", "--retrain", "--trials", 6)
    second = tune("search", *requeued, *common, "--results-dir", tmp_path / "second")
    assert second.returncode == 0, second.stderr
    found = SearchPaths(tmp_path / "second" / "x")
    assert "resuming x: 6 trials" in second.stderr
    for file in (found.trials, found.confirmations, found.retrains, found.search, found.page):
        assert there.read(file.name) == file.read_bytes()
    assert (there / "best").read("model.safetensors") == (found.best / "model.safetensors").read_bytes()
    assert json.loads(found.search.read_text())["storage"].startswith("s3://bucket/searches/")
    # The first machine has an older state, and fetches what the second one has computed.
    more = tune("retrain", tmp_path / "first" / "x", "--confirm", 1, "--top-k", 1, "--retrain-seeds", 2)
    assert more.returncode == 0, more.stderr
    retrains = (tmp_path / "first" / "x" / "retrains.parquet").read_bytes()
    assert there.read("retrains.parquet") == retrains != found.retrains.read_bytes()
    assert claims(there) == []
    third = tune("search", "--resume", *common, "--results-dir", tmp_path / "second")
    assert third.returncode == 0, third.stderr
    assert found.retrains.read_bytes() == there.read("retrains.parquet") == retrains
    after = Results(found)
    assert len(after.retrains) == len(after.test_reads) == 2 * after.retrains["config_id"].nunique()
    again = tune("search", *SMALL, *common, "--results-dir", tmp_path / "third")
    (line,) = trouble(again.stderr)
    assert again.returncode == 2
    assert "exists already" in line


def test_a_storage_that_cannot_be_used_is_one_line_before_the_first_trial(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = tune("search", *SMALL, "--storage", tmp_path / "file", "--results-dir", tmp_path, "--name", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "--storage" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
