"""One writer per search on a storage: who renews stays, who is silent is replaced."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.store import lease as module
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lease import Lease


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.at(str(tmp_path / "storage" / "x"))


def test_a_free_search_is_taken_at_once_and_released(folder: Folder) -> None:
    lease = Lease(folder)
    started = time.monotonic()
    lease.take()
    assert time.monotonic() - started < 1, "nobody is waited for"
    assert folder.names() == ["holder.json"]
    lease.release()
    assert folder.names() == []


def test_each_renewal_is_a_sign_of_life(folder: Folder) -> None:
    lease = Lease(folder)
    lease.take()
    before = json.loads(folder.read("holder.json"))
    lease.renew()
    after = json.loads(folder.read("holder.json"))
    assert after != before
    assert after["token"] == before["token"]


def test_a_silent_holder_is_replaced_and_told_when_it_renews(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 1.5)
    silent, other = Lease(folder), Lease(folder)
    silent.take()
    other.take()
    with pytest.raises(InputError, match="is in use by process") as caught:
        silent.renew()
    assert caught.value.key == "--storage"
    other.renew()


def test_a_holder_that_renews_stays(folder: Folder) -> None:
    holder, stop = Lease(folder), threading.Event()
    holder.take()

    def live() -> None:
        while not stop.wait(0.1):
            holder.renew()

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(InputError, match="is in use by process"):
            Lease(folder).take()
    finally:
        stop.set()
        thread.join()


def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be used") as caught:
        Lease(Folder.at(str(tmp_path / "file")) / "x").take()
    assert caught.value.key == "--storage"
    assert len(str(caught.value).splitlines()) == 1
