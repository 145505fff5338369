"""Images of the user's own: what a folder or a function may hold, and what is wrong with it in one line."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tune_fmnist import data
from tune_fmnist.base.datasets import DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.data.known import KnownFiles
from tune_fmnist.data.own import OwnFolder, OwnFunction, hash_of
from tune_fmnist.data.source import class_names, name_given

Arrays = dict[str, NDArray[Any]]


def arrays(classes: int = 3, *, size: tuple[int, ...] = (9, 8), each: int = 20) -> Arrays:
    """Return the four arrays of a small dataset, as an ``.npz`` names them."""
    draw = np.random.default_rng(0)
    labels = np.arange(classes * each) % classes
    images = draw.integers(0, 256, (len(labels), *size), np.uint8)
    return {"x_train": images, "y_train": labels, "x_test": images[:classes], "y_test": labels[:classes]}


def npz(folder: Path, found: Arrays | None = None, **changes: Any) -> Path:
    np.savez(folder / "images.npz", **{**(found or arrays()), **changes})
    return folder


def idx(file: Path, array: NDArray[np.uint8]) -> None:
    """Write an array as Yann LeCun's format has it."""
    content = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def idx_folder(folder: Path, end: str = "", found: Arrays | None = None) -> Path:
    for split, begin in (("train", "train"), ("test", "t10k")):
        images, labels = ((found or arrays())[f"{letter}_{split}"].astype(np.uint8) for letter in "xy")
        idx(folder / f"{begin}-images-idx{images.ndim}-ubyte{end}", images)
        idx(folder / f"{begin}-labels-idx1-ubyte{end}", labels)
    return folder


@pytest.mark.parametrize("write", [npz, idx_folder, lambda folder: idx_folder(folder, ".gz")])
def test_a_folder_gives_the_same_images_however_they_are_stored(write: Callable[[Path], Path], tmp_path: Path) -> None:
    source = data.locate(str(write(tmp_path)))
    images, test, wanted = source.read_training(), source.read_test(DataShape((1, 9, 8), 3)), arrays()
    assert np.array_equal(images.images, wanted["x_train"])
    assert np.array_equal(images.labels, wanted["y_train"])
    assert np.array_equal(test.images, wanted["x_test"])
    assert images.shape == test.shape == DataShape((1, 9, 8), 3)
    assert images.labels.dtype == np.uint8
    assert source.test_hash(images.shape) == hash_of(test)
    assert source.dataset == f"{tmp_path.name}/"
    assert class_names(source, images) == ("0", "1", "2")
    with pytest.raises(ValueError, match="read-only"):
        images.images[0] = 0


def test_colours_many_classes_and_their_names(tmp_path: Path) -> None:
    npz(tmp_path, arrays(300, size=(8, 8, 3)))
    (tmp_path / "classes.txt").write_text("\n".join(f"class {number}" for number in range(300)) + "\n")
    source = data.locate(str(tmp_path))
    images = source.read_training()
    assert images.shape == DataShape((3, 8, 8), 300)
    assert images.labels.max() == 299
    assert class_names(source, images)[299] == "class 299"
    assert data.split(images, seed=0).validation.classes == 300


def test_a_function_is_asked_for_one_split_at_a_time() -> None:
    asked: list[str] = []

    def load(split: str) -> tuple[NDArray[Any], NDArray[Any]]:
        asked.append(split)
        found = arrays()
        return found[f"x_{split}"], found[f"y_{split}"]

    name = name_given(load)
    assert name is not None
    source = data.locate(name)
    assert isinstance(source, OwnFunction)
    images = source.read_training()
    assert source.test_hash(images.shape) is None
    assert asked == ["train"]
    assert len(source.read_test(images.shape).labels) == 3
    assert asked == ["train", "test"]


def test_the_hash_is_of_what_the_images_show(tmp_path: Path) -> None:
    shape = DataShape((1, 9, 8), 3)
    first = OwnFolder(npz(tmp_path)).test_hash(shape)
    (tmp_path / "images.npz").unlink()
    assert OwnFolder(idx_folder(tmp_path)).test_hash(shape) == first
    found = arrays()
    found["x_test"] = found["x_test"].copy()
    found["x_test"][0, 0, 0] ^= 1
    assert OwnFolder(idx_folder(tmp_path, found=found)).test_hash(shape) != first


def _without(name: str) -> Callable[[Path], object]:
    found = arrays()
    del found[name]
    return lambda folder: np.savez(folder / "images.npz", **found)


def _with(**changes: Any) -> Callable[[Path], object]:
    return lambda folder: npz(folder, **changes)


def _text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (npz(folder), (folder / name).write_text(text))


def _cut(folder: Path) -> None:
    file = idx_folder(folder) / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1])


def _other_type(folder: Path) -> None:
    (idx_folder(folder) / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x0d\x01" + bytes(8))


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (lambda folder: folder.rmdir(), "--dataset: no such dataset or folder; use fashion-mnist, mnist, kmnist, a"),
        (lambda folder: None, "has no train-images-idx?-ubyte, with or without .gz, and no .npz; see docs/own-data"),
        (lambda folder: (npz(folder), np.savez(folder / "b.npz")), "holds 2 .npz files; leave one"),
        (_text("images.npz", "no archive"), "images.npz: x_train: cannot be read"),
        (_without("y_train"), "y_train: not found in the file; it needs x_train, y_train, x_test and y_test"),
        (_with(y_train=np.array([{}] * 60)), "y_train: cannot be read (Object arrays cannot be loaded"),
        (_with(x_train=np.zeros((60, 9, 8))), "the images are float64 of shape (60, 9, 8); give uint8"),
        (_with(x_train=np.zeros((60, 3, 9, 8), np.uint8)), "of shape (60, 3, 9, 8); give uint8 (n, height, width)"),
        (_with(x_train=np.zeros((60, 7, 8), np.uint8)), "the images are 7 x 8 pixels; use 8 to 224 each way"),
        (_with(x_train=np.zeros((59, 9, 8), np.uint8)), "59 images and 60 labels; give as many of both"),
        (_with(y_train=np.zeros(60)), "the labels are float64 of shape (60,); give whole numbers"),
        (_with(y_train=np.arange(60) % 3 - 1), "a label is -1; number the classes from 0"),
        (_with(y_train=np.arange(60) % 3 + 1), "no training image has the label 0; number the classes from 0"),
        (_with(y_train=np.zeros(60, int)), "1 classes, by the largest label; use 2 to 1,000"),
        (_with(y_train=np.arange(60) % 3 * 1000), "2001 classes, by the largest label; use 2 to 1,000"),
        (_with(y_train=np.array([2] * 4 + [0] * 28 + [1] * 28)), "class 2 has 4 training images; give each at least 5"),
        (_text("classes.txt", "one\ntwo\n"), "classes.txt names 2 classes, and the labels go from 0 to 2"),
        (_text("classes.txt", "one\ntwo\none\n"), "classes.txt: names 'one' twice"),
        (_cut, "train-images-idx3-ubyte: is 4335 bytes long uncompressed, not 4336; it is cut or damaged"),
        (_other_type, "train-labels-idx1-ubyte: is not an IDX file of bytes in 1 dimensions (it begins with 00000d01)"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(write: Callable[[Path], object], line: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    write(folder)
    with pytest.raises(InputError) as caught:
        data.locate(str(folder)).read_training()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"x_test": np.zeros((3, 9, 9), np.uint8)}, "test images of (1, 9, 9), training images of (1, 9, 8)"),
        ({"y_test": np.array([0, 1, 3])}, "a test label is 3, and there are 3 classes"),
    ],
)
def test_a_test_part_that_does_not_fit_is_one_line(changes: Any, line: str, tmp_path: Path) -> None:
    source = OwnFolder(npz(tmp_path, **changes))
    with pytest.raises(InputError) as caught:
        source.test_hash(source.read_training().shape)
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def load(split): 1 / 0\n", "--dataset: load raised ZeroDivisionError for 'train': division by zero"),
        ("def load(split): return [1]\n", "wrong_data:load gives a list for 'train', not (images, labels)"),
        ("def load(split): return [1], [0]\n", "the images are a list, not a NumPy array"),
        ("def load(): pass\n", "load raised TypeError for 'train': load() takes 0 positional arguments"),
        ("load = 3\n", "'wrong_data:load' is not a function; name one that takes 'train' or 'test'"),
        ("other = 3\n", "wrong_data has no 'load'; name one that wrong_data has"),
        ("1 / 0\n", "--dataset: wrong_data raised ZeroDivisionError when it was imported"),
        ("import nothing_here\n", "--dataset: no module named 'nothing_here'"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(
    source: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_data.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "wrong_data", raising=False)
    with pytest.raises(InputError) as caught:
        data.locate("wrong_data:load").read_training()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_root_is_for_known_datasets(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data-root: .* is a dataset of your own; leave it out"):
        data.locate(str(tmp_path), tmp_path)


def test_mnist_and_kuzushiji_are_proven_by_their_published_hashes(source: data.Source, tmp_path: Path) -> None:
    assert isinstance(source, KnownFiles)
    for path in source.folder.iterdir():
        if "ubyte" in path.name:
            (tmp_path / path.name).symlink_to(path)
    for name, line in (("mnist", "differs in content from the published file"), ("kmnist", "is not the archive that")):
        with pytest.raises(InputError, match=line):
            data.locate(name, tmp_path, lambda line: None).read_training()
