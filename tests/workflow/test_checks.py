"""The checks of this machine: where results go."""

from __future__ import annotations

from pathlib import Path

from tests.installed import write
from tune_fmnist.runtime.nodes import facts
from tune_fmnist.workflow.checks import _room
from tune_fmnist.workflow.scratch import left_as_found, scratch_folder

GIB = 2**30


def test_scratch_folder_leaves_nothing_but_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with scratch_folder(tmp_path / "a" / "b" / "c") as scratch:
        assert scratch.parent == (tmp_path / "a" / "b" / "c").resolve()
        assert facts(scratch)["storage"] == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
    with scratch_folder(tmp_path / "a" / "b" / "c"):
        write(tmp_path / "a" / "b" / "search", "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "search"]


def test_folder_that_was_there_stays(tmp_path: Path) -> None:
    with left_as_found(tmp_path / "a"):
        (tmp_path / "a").mkdir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with left_as_found(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_dir()


def test_disk_space() -> None:
    said = [_room(Path("results"), free) for free in (2 * GIB, 2 * GIB - 1, 200 << 20, (200 << 20) - 1)]
    assert [one.state for one in said] == ["ok", "warning", "warning", "failure"]
    assert said[0].found == "results can be written, 2.0 GiB free"
