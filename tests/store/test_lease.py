"""One writer per search on a storage: who renews stays, who is silent is replaced and writes no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.s3 import S3
from tune_fmnist.base.errors import InputError
from tune_fmnist.store import lease as module
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lease import Lease


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "disk":
        return Folder.at(str(tmp_path / "storage" / "x"))
    server: S3 = request.getfixturevalue("s3")
    return Folder.at(server.uri(f"leases/{tmp_path.name}"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 1.5)


def claims(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.startswith("holder")]


def test_a_free_search_is_taken_at_once_and_released(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_is_waited_for(seconds: float) -> None:
        raise AssertionError(f"waits {seconds:g} s")

    monkeypatch.setattr(module.time, "sleep", nobody_is_waited_for)
    lease = Lease(folder)
    lease.take()
    assert len(claims(folder)) == 1
    assert not lease.took_over
    lease.release()
    assert claims(folder) == []


def test_each_renewal_is_a_sign_of_life(folder: Folder) -> None:
    lease = Lease(folder)
    lease.take()
    (name,) = claims(folder)
    before = json.loads(folder.read(name))
    lease.renew()
    assert claims(folder) == [name]
    after = json.loads(folder.read(name))
    assert after != before
    assert {**after, "beat": 0} == {**before, "beat": 0}


@pytest.mark.usefixtures("impatient")
def test_a_silent_holder_is_replaced_and_neither_renews_nor_writes(folder: Folder) -> None:
    silent, other = Lease(folder), Lease(folder)
    silent.take()
    other.take()
    assert other.took_over
    (name,) = claims(folder)
    with pytest.raises(InputError, match="is in use by process") as caught, silent.writing():
        folder.write("rows", b"late")
    assert caught.value.key == "--storage"
    for act in (silent.renew, silent.confirm):
        with pytest.raises(InputError, match="is in use by process"):
            act()
    silent.release()
    assert claims(folder) == [name], "the successor's claim is its own"
    assert "rows" not in folder.names()
    other.renew()
    with other.writing():
        folder.write("rows", b"")


@pytest.mark.usefixtures("impatient")
def test_a_silent_holder_is_told_also_when_its_successor_has_ended(folder: Folder) -> None:
    silent, other = Lease(folder), Lease(folder)
    silent.take()
    other.take()
    other.release()
    with pytest.raises(InputError, match="was written by another process meanwhile; go on with --resume"):
        silent.confirm()
    assert claims(folder) == []


def test_of_those_that_come_at_once_one_holds_it_and_stays(folder: Folder) -> None:
    together, held, told = threading.Barrier(4), [], []
    stop = threading.Event()

    def come() -> None:
        lease = Lease(folder)
        together.wait()
        try:
            lease.take()
        except InputError as error:
            told.append(error)
        else:
            held.append(lease)
            while not stop.wait(0.1):
                lease.renew()
        if len(told) == 3:
            stop.set()

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert ["is in use by process" in str(error) for error in told] == [True] * 3, list(map(str, told))
    held[0].renew()


DAMAGED = (b"", b"x", b"[]", b'"x"', b"7", b'{"pid": 7, "no', b"\xff\xfe", b"[" * 100_000)


@pytest.mark.usefixtures("impatient")
def test_a_damaged_claim_is_one_as_well(folder: Folder) -> None:
    names = ["holder.json", *(f"holder-{number:08d}-{'a' * 32}.json" for number in range(1, len(DAMAGED)))]
    for name, content in zip(names, DAMAGED, strict=True):
        folder.write(name, content)
    lease = Lease(folder)
    lease.take()
    (name,) = claims(folder)
    assert name.startswith(f"holder-{len(DAMAGED):08d}-")
    for content in DAMAGED:
        folder.write(name, content)
        lease.renew()
    for number, content in enumerate(DAMAGED):
        folder.write(f"holder-{100 + number:08d}-{'b' * 32}.json", content)
        other = Lease(folder)
        other._name = name
        with pytest.raises(InputError, match=r"is in use by process \? on \? since \?; wait") as caught:
            other.renew()
        assert len(str(caught.value).splitlines()) == 1
        folder.write(name, b"")


STOP = """
import os, signal, sys
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lease import Lease
folder = Folder.at(sys.argv[1])
lease = Lease(folder)
lease.take()
with lease.writing():
    os.kill(os.getpid(), signal.SIGSTOP)
    folder.write("rows", b"")
"""


@pytest.mark.usefixtures("impatient")
def test_nobody_takes_a_folder_over_while_its_holder_writes(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    holder = subprocess.Popen([sys.executable, "-c", STOP, str(folder)])
    try:
        assert os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT) is not None
        with pytest.raises(InputError, match=rf"is in use by process {holder.pid} on "):
            Lease(folder).take()
        os.kill(holder.pid, signal.SIGCONT)
        assert holder.wait() == 0
        assert "rows" in folder.names()
    finally:
        holder.kill()
        holder.wait()
    Lease(folder).take()


def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be used") as caught:
        Lease(Folder.at(str(tmp_path / "file")) / "x").take()
    assert caught.value.key == "--storage"
    assert len(str(caught.value).splitlines()) == 1
