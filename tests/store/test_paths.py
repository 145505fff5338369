from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tune_fmnist.base.errors import InputError
from tune_fmnist.store.paths import SearchPaths, checked_name

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
        "..a",
        ".hidden",
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


@pytest.mark.parametrize("name", ["cnn-20260102-030405", "a b", "a..b", "ünïcode", "-x", "a.b", "[red]"])
def test_plain_name_is_taken(name: str) -> None:
    assert SearchPaths.named(RESULTS, name).folder == RESULTS / name


@pytest.mark.parametrize(("name", "key"), [("n" * 101, "--name"), ("\N{SNOWMAN}" * 81, "NAME")])
def test_name_has_an_end(name: str, key: str) -> None:
    with pytest.raises(InputError, match=f"^{key}: a name of {len(name)} characters, '{name[:20]}'") as caught:
        checked_name(name, key)
    assert caught.value.hint == "use at most 100 plain ones"
    assert checked_name(name[:80], key) == name[:80]
    assert checked_name("n" * 100) == "n" * 100


@given(st.text(st.characters(codec=None)) | st.text("./\\a~", max_size=5))
@example("~")
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
    places = [place for name, place in vars(paths).items() if name != "folder"]
    assert len(set(places)) == len(places)
    assert all(place.is_relative_to(paths.folder) for place in places)
    assert {place.name for place in places} >= {"search.json", "trials.parquet", "epochs.parquet", "retrains.parquet"}
