"""One published file, and the power cut right afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.power.disk import Disk
from tests.reliability import Note
from tune_fmnist.base.files import publish


def put(file: Path, content: bytes) -> None:
    with publish(file) as partial:
        partial.write_bytes(content)


@pytest.mark.parametrize("size", [1, 14_000, 3_000_000])
def test_what_is_published_is_there_after_a_power_cut(power: Disk, size: int, count: Note) -> None:
    # In folders that are new as well, and in place of another file.
    first, second = bytes([1]) * size, bytes([2]) * size
    put(power.folder / "old" / "file", first)
    put(power.folder / "old" / "file", second)
    put(power.folder / "a" / "new" / "folder" / "file", first)
    power.cut()
    power.give_back()
    assert (power.folder / "old" / "file").read_bytes() == second
    assert (power.folder / "a" / "new" / "folder" / "file").read_bytes() == first
    count(f"power cut after a publication on {power.folder.name}", 1)


def write_and_cut(file: Path, content: bytes, power: Disk) -> None:
    with publish(file) as partial:
        partial.write_bytes(content)
        power.cut()


def test_what_is_not_published_yet_leaves_what_was_there(power: Disk, count: Note) -> None:
    file = power.folder / "file"
    put(file, b"old")
    with pytest.raises(OSError, match="Input/output error"):
        write_and_cut(file, b"new", power)
    power.give_back()
    assert file.read_bytes() == b"old"
    count(f"power cut before a publication on {power.folder.name}", 1)
