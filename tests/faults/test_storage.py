"""The disk is full, the folder is away for a while, a checkpoint is damaged."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import disk_of
from tests.faults.harness import Hurt, Run
from tests.reliability import Note
from tune_fmnist.store import tables
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.paths import SearchPaths

ALL_EPOCHS = ("--trials", "6", "--scheduler", "fifo", "--no-retrain")
_libc = ctypes.CDLL(None, use_errno=True)
_HERE, _EXCHANGE = -100, 2


def exchange(one: Path, other: Path) -> None:
    """Swap two paths in one step: none of them is missing at any time."""
    if _libc.renameat2(_HERE, bytes(one), _HERE, bytes(other), _EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def kill_with_checkpoints(hurt: Hurt) -> int:
    """Kill the driver when trial 1 has at least two checkpoints; return after which epoch the newest is."""
    run = hurt.start()
    run.worker_of(1)
    folder = hurt.paths.checkpoints / "00001"
    assert run.await_event(folder, lambda event: "epoch-00003" <= event.name < "epoch-00009")
    run.kill()
    run.clean()
    newest = Checkpoints(hurt.paths.checkpoints, 1).newest()
    assert newest is not None
    return len(newest.history)


@pytest.mark.long
@pytest.mark.parametrize("damaged", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_damaged_checkpoints_cost_the_epochs_they_held(hurt: Hurt, count: Note, damaged: int) -> None:
    hurt.arguments += ALL_EPOCHS
    epoch = kill_with_checkpoints(hurt)
    files = sorted((hurt.paths.checkpoints / "00001").glob("epoch-*.safetensors"), reverse=True)
    assert len(files) >= 2
    for older in files[2:]:
        # Killed before it removed the one before the last two.
        older.unlink()
    first, *second = files[:damaged]
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    for file in second:
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    left = Checkpoints(hurt.paths.checkpoints, 1).newest()
    assert (len(left.history) if left else 0) == (epoch - 1 if damaged == 1 else 0)
    hurt.finish()
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["epochs"] for row in rows] == [9] * 6
    count(f"damaged checkpoints: {damaged}", 1, hurt.check(trials=6))


@pytest.mark.faults
def test_a_storage_that_is_away_for_a_while_costs_nothing(hurt: Hurt, count: Note) -> None:
    hurt.arguments += ALL_EPOCHS
    run = hurt.start()
    assert run.await_line(start="trial ")
    hurt.observe()
    instead = hurt.paths.folder.with_name("instead")
    instead.write_text("no folder")
    # Put back when the search has noticed, and said so.
    assert run.await_event(
        run.errors.parent,
        lambda event: event.name == run.errors.name and "trying" in run.said,
        after=lambda: exchange(hurt.paths.folder, instead),
    )
    exchange(hurt.paths.folder, instead)
    assert run.ended() == 0, run.said
    rows = tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    assert [row["status"] for row in rows] == ["completed"] * 6
    count("storage away", 1, hurt.check(trials=6))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 MB."""
    with disk_of("200m", tmp_path / "disk") as folder:
        yield folder


def fill(disk: Path, run: Run) -> None:
    """Write until there is no room, and again where some appears, until the search ends."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        while run.process.poll() is None:
            try:
                ballast.write(bytes(4096))
            except OSError:
                os.sched_yield()


@pytest.mark.faults
def test_a_full_disk_ends_the_search_and_it_goes_on_when_there_is_room(
    small_disk: Path, tmp_path: Path, count: Note
) -> None:
    hurt = Hurt(SearchPaths(small_disk / "x"), tmp_path)
    hurt.arguments += ("--trials", "10", "--top-k", "1", "--retrain-seeds", "1")
    try:
        run = hurt.start()
        assert run.await_line(start="trial ", count=2)
        hurt.observe()
        fill(small_disk, run)
        assert run.ended() == 1, (run.said, run.lines)
        last = run.said.splitlines()[-1]
        assert last.startswith("error: ")
        assert "disk is full" in last
        assert str(small_disk) in last
        tables.read(hurt.paths.trials, tables.TRIALS)
        subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
        hurt.finish()
        count("full disk", 1, hurt.check(trials=10, retrains=True))
    finally:
        hurt.clean()
