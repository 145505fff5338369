"""A folder on a storage, on this machine's disk and on a real S3 server where one is installed."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import Timeout

from tests.disk import full_disk
from tests.s3 import S3
from tune_fmnist.base.errors import InputError
from tune_fmnist.store.folder import Folder


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that is not there yet."""
    if request.param == "disk":
        return Folder.at(str(tmp_path / "not" / "yet"))
    server: S3 = request.getfixturevalue("s3")
    return Folder.at(server.uri(f"not/yet/{tmp_path.name}"))


def test_files_come_back_and_go(folder: Folder) -> None:
    assert folder.names() == []
    folder.clear()
    folder.remove("nothing")
    content = bytes(range(256)) * 1000
    folder.write("a", content)
    folder.write("b", b"")
    (folder / "deeper").write("c", b"c")
    assert folder.names() == ["a", "b"]
    assert folder.read("a") == content
    folder.write("a", b"new")
    assert folder.read("a") == b"new"
    folder.remove("b")
    assert folder.names() == ["a"]
    (folder / "deeper").clear()
    assert (folder / "deeper").names() == []
    assert folder.names() == ["a"]
    folder.clear()
    assert folder.names() == []
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_what_it_prints_names_it_and_it_goes_to_other_processes(folder: Folder) -> None:
    folder.write("a", b"a")
    for same in (Folder.at(str(folder)), pickle.loads(pickle.dumps(folder))):  # noqa: S301 -- made here
        assert same == folder
        assert same.names() == ["a"]


def test_a_check_leaves_nothing(folder: Folder) -> None:
    folder.write("seen", b"")
    assert folder.trouble("seen") == ""
    assert folder.names() == ["seen"]
    assert "is not the folder of that name" in folder.trouble("not seen")


def test_a_check_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in its place")
    assert "file" in Folder.at(str(tmp_path / "file")).trouble()
    with full_disk():
        # A name alone is shorter than what still fits.
        assert Folder.at(str(tmp_path)).trouble() == ""


def test_keys_that_are_wrong_are_told(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    # Keys are read once for each bucket: this one has not been asked for.
    wrong = Folder.at(s3.uri("x") + "&region=us-west-2")
    said = wrong.trouble()
    assert said
    assert "\n" not in said


def test_endpoint_of_the_environment_goes_with_it(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.address}")
    folder = Folder.at("s3://bucket/of the environment")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    folder.write("a", b"a")
    assert Folder.at(s3.uri("of the environment")).names() == ["a"]
    assert s3.address in str(folder)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gs://bucket", "--storage: invalid value 'gs://bucket'; give a folder"),
        ("s3://", "--storage: invalid value 's3://'; give a folder"),
        ("s3://key:secret@bucket/x", "holds a password"),
        ("s3://bucket/x?colour=red", "colour"),
    ],
)
def test_what_is_no_storage_is_refused(uri: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Folder.at(uri)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.key == "--storage"


def test_on_a_disk_one_process_is_alone(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path / "not" / "yet"))
    with folder.alone(0), ThreadPoolExecutor() as other, pytest.raises(Timeout):
        other.submit(folder.alone(0).__enter__).result()
    with folder.alone(0):
        pass


def test_a_folder_is_known_by_every_path(tmp_path: Path, s3: S3) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    for path in ("here", "link", "link/../here"):
        assert Folder.at(str(tmp_path / path)).same(tmp_path / "here")
        assert (Folder.at(str(tmp_path / path)) / "not yet").same(tmp_path / "link" / "not yet")
    assert not Folder.at(str(tmp_path / "here")).same(tmp_path)
    assert not Folder.at(s3.uri("here")).same(tmp_path / "here")
