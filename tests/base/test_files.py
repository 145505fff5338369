"""Files: published whole or not at all, and their versions."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import cache_dir, check_version, is_full, publish


def test_published_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    with publish(target) as partial:
        partial.write_text("first")
        assert not target.exists()
        assert partial.parent == target.parent, "a rename is only whole within one file system"
    assert target.read_text() == "first"
    with target.open() as reader, publish(target) as partial:
        partial.write_text("second")
        assert target.read_text() == "first"
        assert reader.read() == "first"
    assert target.read_text() == "second"
    assert list(target.parent.iterdir()) == [target]


def test_failed_publication_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(TypeError), publish(target) as partial, partial.open("w") as stream:
        stream.writelines(["half", 2])  # type: ignore[list-item]
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_who_publish_the_same_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with publish(target) as partial:
        partial.write_text("first")
        with publish(target) as other:
            other.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), publish(tmp_path / "file.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_partial_file_is_none_that_a_reader_looks_for(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with publish(tmp_path / "one" / "trials.parquet") as partial:
        partial.write_text("half")
        assert list(tmp_path.glob("*/trials.parquet")) == []
        assert list(tmp_path.glob("*/*.parquet")) == []


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/tune_fmnist")
    monkeypatch.setenv("HOME", "/home/someone")
    for unset in ("", None):
        monkeypatch.delenv("XDG_CACHE_HOME") if unset is None else monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_dir() == Path("/home/someone/.cache/tune_fmnist")


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_can_be_read_comes_back(version: int) -> None:
    assert check_version(version, oldest=1, newest=2, file="a", key="b") == version


@pytest.mark.parametrize("version", [0, 3, -1, 1.0, "1", None, [1], True])
def test_any_other_version_is_one_line(version: object) -> None:
    with pytest.raises(InputError) as caught:
        check_version(version, oldest=1, newest=2, file="a.json", key="schema_version")
    says = f"a.json: schema_version: unsupported version {version!r}; this release reads versions 1 to 2: "
    assert str(caught.value).startswith(says)
    with pytest.raises(InputError, match="this release reads version 2: "):
        check_version(1, oldest=2, newest=2, file="a.json", key="schema_version")


def test_a_full_storage_is_told_from_one_that_fails() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(full)
    assert is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not is_full(OSError(errno.EIO, "Input/output error"))
    assert not is_full(None)
    wrapped = RuntimeError("lost")
    wrapped.__cause__ = full
    assert is_full(wrapped)
