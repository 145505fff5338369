"""Images of the user's own: a folder of IDX files or an ``.npz``, or a function that gives one split at a time."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import blame, name_of
from tune_fmnist.data.idx import read_any
from tune_fmnist.data.images import Images, Labels

OPTION: Final = "--dataset"

_SplitName = Literal["train", "test"]
_IDX: Final[Mapping[_SplitName, str]] = {"train": "train", "test": "t10k"}
"""How each split's files begin."""

_SIDES: Final = (8, 224)
_CLASSES: Final = (2, 1_000)
_CHANNELS: Final = 4


@dataclass(frozen=True)
class OwnFolder:
    """Four IDX files, plain or gzipped, or one ``.npz`` with ``x_train, y_train, x_test, y_test``, without pickles.

    Attributes:
        folder: that of the files; ``classes.txt`` in it names the classes, one on a line.
    """

    folder: Path

    @property
    def dataset(self) -> str:
        """The folder's name, with a slash behind it."""
        return f"{self.folder.resolve().name}/"

    @property
    def place(self) -> str:
        """Where the images are, for a message."""
        return str(self.folder.resolve())

    @property
    def origin(self) -> str:
        """As ``place``."""
        return self.place

    @property
    def names(self) -> tuple[str, ...] | None:
        """The classes' names, None without ``classes.txt``."""
        file = self.folder / "classes.txt"
        if not file.exists():
            return None
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", file=file, hint="write one class's name on a line") from None
        if len(set(lines)) < len(lines):
            twice = next(line for line in lines if lines.count(line) > 1)
            raise InputError(f"names {twice!r} twice", file=file, hint="write one class's name on a line")
        return tuple(lines)

    def read_training(self) -> Images:
        """Return the training images, read-only.

        Raises:
            InputError: a file is missing, cannot be read, or holds something else.
        """
        images, labels, file = self._read("train")
        return _checked(images, labels, file, named=self.names)

    def read_test(self, shape: DataShape) -> Images:
        """Return the test images as ``read_training`` does; only ``retrain`` may call this.

        Args:
            shape: that of the training images.
        """
        return _checked_test(*self._read("test"), shape)

    def test_hash(self, shape: DataShape) -> str:
        """Return the SHA-256 of the test part; nothing else of it leaves this function; errors as of ``read_test``."""
        return hash_of(self.read_test(shape))

    def _read(self, split: _SplitName) -> tuple[Any, Any, Path]:
        """Return a split's images and labels as they are, and a file to name when they are wrong."""
        if not self.folder.is_dir():
            hint = "use fashion-mnist, mnist, kmnist, a folder, or MODULE:FUNCTION of your own"
            raise InputError("no such dataset or folder", file=self.folder, key=OPTION, hint=hint)
        archives = sorted(self.folder.glob("*.npz"))
        if len(archives) > 1:
            what = f"holds {len(archives)} .npz files"
            raise InputError(what, file=self.folder, key=OPTION, hint="leave one, or name another folder")
        if archives:
            images, labels = (_from_npz(archives[0], f"{letter}_{split}") for letter in "xy")
            return images, labels, archives[0]
        paths = [self._idx(f"{_IDX[split]}-images-idx"), self._idx(f"{_IDX[split]}-labels-idx")]
        return read_any(paths[0], (3, 4)), read_any(paths[1], (1,)), paths[0]

    def _idx(self, start: str) -> Path:
        found = sorted(self.folder.glob(f"{start}*-ubyte")) or sorted(self.folder.glob(f"{start}*-ubyte.gz"))
        if not found:
            what = f"has no {start}?-ubyte, with or without .gz, and no .npz"
            hint = "see docs/own-data.md for what such a folder holds"
            raise InputError(what, file=self.folder, key=OPTION, hint=hint)
        return found[0]


@dataclass(frozen=True)
class OwnFunction:
    """A function that gives ``(images, labels)`` of the split it is asked for, ``"train"`` or ``"test"``.

    Attributes:
        load: the function.
    """

    load: Callable[[str], Any]

    @property
    def dataset(self) -> str:
        """``MODULE:FUNCTION``."""
        return name_of(self.load)

    @property
    def place(self) -> str:
        """As ``dataset``."""
        return self.dataset

    @property
    def origin(self) -> str:
        """Where the images come from, in words."""
        return f"the function {self.dataset}"

    @property
    def names(self) -> None:
        """A function does not name its classes."""

    def read_training(self) -> Images:
        """Return the training images.

        Raises:
            InputError: the function raised an error, or gave something else.
        """
        return _checked(*self._read("train"), named=None)

    def read_test(self, shape: DataShape) -> Images:
        """Return the test images as ``read_training`` does; only ``retrain`` may call this."""
        return _checked_test(*self._read("test"), shape)

    def test_hash(self, shape: DataShape) -> None:
        """Nothing: the function is not asked for the test part before a model is to be tested."""

    def _read(self, split: _SplitName) -> tuple[Any, Any, str]:
        try:
            given = self.load(split)
        except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
            raise blame(error, self.load, OPTION, f"for {split!r}") from None
        if not isinstance(given, tuple) or len(given) != 2:
            what = f"{self.dataset} gives a {type(given).__name__} for {split!r}, not (images, labels)"
            raise InputError(what, key=OPTION, hint="return two NumPy arrays")
        return *given, f"{self.dataset}({split!r})"


def hash_of(images: Images) -> str:
    """Return the SHA-256 of images and labels, in hexadecimal digits; of their values, however they are stored."""
    digest = hashlib.sha256(repr(images.images.shape).encode())
    digest.update(np.ascontiguousarray(images.images).data)
    digest.update(images.labels.astype("<u2").tobytes())
    return digest.hexdigest()


def _from_npz(file: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            if name not in archive.files:
                hint = "it needs x_train, y_train, x_test and y_test"
                raise InputError("not found in the file", file=file, key=name, hint=hint)
            return np.asarray(archive[name])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        hint = "write it with numpy.savez, without objects"
        raise InputError(f"cannot be read ({error})", file=file, key=name, hint=hint) from None


def _checked_test(images: Any, labels: Any, file: Path | str, shape: DataShape) -> Images:
    """Return test images that fit the training images, whose shape is given."""
    test = _arrays(images, labels, file)
    if test.shape.input_shape != shape.input_shape:
        what = f"test images of {test.shape.input_shape}, training images of {shape.input_shape}"
        raise InputError(what, file=file, key=OPTION, hint="give both the same channels, height and width")
    if test.classes > shape.classes:
        what = f"a test label is {test.classes - 1}, and there are {shape.classes} classes"
        raise InputError(what, file=file, key=OPTION, hint="each class needs training images")
    return Images(test.images, _small(test.labels, shape.classes), shape.classes)


def _checked(images: Any, labels: Any, file: Path | str, *, named: tuple[str, ...] | None) -> Images:
    """Return training images, or raise ``InputError`` if they cannot be searched."""
    found = _arrays(images, labels, file)
    classes = found.classes if named is None else len(named)
    if not _CLASSES[0] <= found.classes <= _CLASSES[1]:
        what = f"{found.classes} classes, by the largest label"
        raise InputError(what, file=file, key=OPTION, hint=f"use {_CLASSES[0]} to {_CLASSES[1]:,}, from 0 on")
    if named is not None and classes != found.classes:
        what = f"classes.txt names {classes} classes, and the labels go from 0 to {found.classes - 1}"
        raise InputError(what, file=file, key=OPTION, hint="write one class's name on a line, in the labels' order")
    counts = np.bincount(found.labels, minlength=classes)
    if (counts == 0).any():
        what = f"no training image has the label {int(np.argmin(counts))}"
        raise InputError(what, file=file, key=OPTION, hint="number the classes from 0 without a gap")
    if (counts < _FEWEST).any():
        which = int(np.argmin(counts))
        what = f"class {which} has {counts[which]} training images"
        raise InputError(what, file=file, key=OPTION, hint=f"give each at least {_FEWEST}, for a fifth validates")
    return found


_FEWEST: Final = 5
"""Training images of each class: four to train on, one to validate."""


def _arrays(images: Any, labels: Any, file: Path | str) -> Images:
    """Return arrays as images with as many classes as the largest label says; labels as small as they can be."""
    for name, array in (("images", images), ("labels", labels)):
        if not isinstance(array, np.ndarray):
            what = f"the {name} are a {type(array).__name__}, not a NumPy array"
            raise InputError(what, file=file, key=OPTION, hint="convert them with numpy.asarray")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] > _CHANNELS):
        what = f"the images are {images.dtype} of shape {images.shape}"
        hint = "give uint8 (n, height, width) or (n, height, width, channels), up to 4 channels last"
        raise InputError(what, file=file, key=OPTION, hint=hint)
    if not all(_SIDES[0] <= side <= _SIDES[1] for side in images.shape[1:3]):
        what = f"the images are {images.shape[1]} x {images.shape[2]} pixels"
        raise InputError(what, file=file, key=OPTION, hint=f"use {_SIDES[0]} to {_SIDES[1]} each way")
    if labels.ndim != 1 or labels.dtype.kind not in "ui":
        what = f"the labels are {labels.dtype} of shape {labels.shape}"
        raise InputError(what, file=file, key=OPTION, hint="give whole numbers of shape (n,)")
    if len(labels) != len(images) or len(labels) == 0:
        what = f"{len(images)} images and {len(labels)} labels"
        raise InputError(what, file=file, key=OPTION, hint="give as many of both, and some")
    if (least := int(labels.min())) < 0:
        raise InputError(f"a label is {least}", file=file, key=OPTION, hint="number the classes from 0")
    classes = int(labels.max()) + 1
    if classes > _CLASSES[1]:
        what = f"{classes} classes, by the largest label"
        raise InputError(what, file=file, key=OPTION, hint=f"use {_CLASSES[0]} to {_CLASSES[1]:,}, from 0 on")
    pixels, numbers = np.ascontiguousarray(images), _small(labels, classes)
    pixels.flags.writeable = numbers.flags.writeable = False
    return Images(pixels, numbers, classes)


def _small(labels: NDArray[Any], classes: int) -> Labels:
    return labels.astype(np.uint8) if classes <= 256 else labels.astype(np.uint16)
