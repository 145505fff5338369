from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import MODELS
from tune_fmnist.store.paths import SearchPaths, cache_dir, default_space, publish

RESULTS = Path("/somewhere/results")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a/",
        "/a",
        "/",
        "../a",
        "a/..",
        "a\\b",
        "..\\a",
        "a\nb",
        "a\tb",
        "a\0b",
        "\x1b[2J",
        "\ud800",
    ],
)
def test_name_cannot_leave_the_results(name: str) -> None:
    with pytest.raises(InputError, match="is not a folder's name") as caught:
        SearchPaths.named(RESULTS, name)
    assert caught.value.key == "--name"
    assert repr(name) in caught.value.what
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["cnn-20260102-030405", "a b", "..a", "a..b", "ünïcode", "-x", "a.b", "[red]"])
def test_plain_name_is_taken(name: str) -> None:
    assert SearchPaths.named(RESULTS, name).folder == RESULTS / name


@given(st.text(st.characters(codec=None)) | st.text("./\\a~", max_size=5))
@example("~")
@settings(deadline=None)
def test_any_name_is_refused_or_a_folder_in_the_results(name: str) -> None:
    try:
        folder = SearchPaths.named(RESULTS, name).folder
    except InputError:
        return
    assert folder.parent == RESULTS
    assert folder.name == name
    assert str(folder.resolve()) == f"{RESULTS}/{name}"


def test_every_file_has_a_place_of_its_own_in_the_folder() -> None:
    paths = SearchPaths.named(RESULTS, "one")
    places = [getattr(paths, name) for name, value in vars(SearchPaths).items() if isinstance(value, property)]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(paths.folder) for place in places)
    assert {place.name for place in places} >= {"search.json", "trials.parquet", "epochs.parquet", "retrains.parquet"}


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


@pytest.mark.parametrize("model", MODELS)
def test_default_space_is_there(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_space(model).is_file()
    assert default_space(model).is_absolute()
    assert default_space(model).name == f"{model}.toml"


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_dir() == Path("/caches/tune_fmnist")
    monkeypatch.setenv("HOME", "/home/someone")
    for unset in ("", None):
        monkeypatch.delenv("XDG_CACHE_HOME") if unset is None else monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_dir() == Path("/home/someone/.cache/tune_fmnist")
