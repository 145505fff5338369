"""The datasets whose files are known: found or fetched, and proven.

Fashion-MNIST is Xiao, Rasul & Vollgraf (2017), https://arxiv.org/abs/1708.07747; MNIST is LeCun et al. (1998),
https://doi.org/10.1109/5.726791; Kuzushiji-MNIST is Clanuwat et al. (2018), https://arxiv.org/abs/1812.01718.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tune_fmnist.base.datasets import FASHION_MNIST, KMNIST, KNOWN, KNOWN_SHAPE, MNIST, DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import cache_dir
from tune_fmnist.data.fetch import DEBIAN_FOLDER, PACKAGE, fetch
from tune_fmnist.data.idx import Expected, proven_content, read_array
from tune_fmnist.data.images import Images

_NAMES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_TRAINING: Final = _NAMES[:2]
_TEST: Final = _NAMES[2:]
_SHAPES: Final = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))


def _expected(digests: tuple[str, str, str, str]) -> Mapping[str, Expected]:
    return {name: Expected(digest, shape) for name, digest, shape in zip(_NAMES, digests, _SHAPES, strict=True)}


_FILES: Final = {
    FASHION_MNIST.name: _expected(
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        )
    ),
    MNIST.name: _expected(
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        )
    ),
    # The MD5 of the archives, as torchvision pins them: nothing else about these files is published.
    KMNIST.name: _expected(
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        )
    ),
}
"""What each dataset's files must be."""

FOLDER_NAMES: Final = {FASHION_MNIST.name: "FashionMNIST", MNIST.name: "MNIST", KMNIST.name: "KMNIST"}
"""Each dataset's folder in a torchvision data root, which is also its class in ``torchvision.datasets``."""


@dataclass(frozen=True)
class KnownFiles:
    """The four files of a known dataset.

    Attributes:
        dataset: its name.
        folder: that of the files, plain or gzipped.
        origin: in words, how it was found.
    """

    dataset: str
    folder: Path
    origin: str

    @property
    def place(self) -> str:
        """Where the images are, for a message."""
        return str(self.folder)

    def read_training(self) -> Images:
        """Return the 60,000 training images in file order, read-only and proven.

        Raises:
            InputError: a file is missing, cannot be read, or is not the dataset's.
        """
        return self._read(_TRAINING)

    def read_test(self, shape: DataShape = KNOWN_SHAPE) -> Images:
        """Return the 10,000 test images as ``read_training`` does; only ``retrain`` may call this.

        Args:
            shape: that of the training images.
        """
        return self._read(_TEST)

    def test_hash(self, shape: DataShape = KNOWN_SHAPE) -> None:
        """Prove all four files, without reading an image or a label out of them; errors as of ``read_training``."""
        files = _FILES[self.dataset]
        for name in files:
            proven_content(self._require(name), name, files)

    def _read(self, names: tuple[str, ...]) -> Images:
        images, labels = (read_array(self._require(name), name, _FILES[self.dataset]) for name in names)
        return Images(images, labels, len(KNOWN[self.dataset].classes))

    def _require(self, name: str) -> Path:
        path = _find(self.dataset, self.folder, name)
        if path is None:
            hint = "put it there or name a folder that has it with --data-root"
            raise InputError(_not_found(self.dataset), file=self.folder / name, hint=hint)
        return path


def locate_known(dataset: str, data_root: Path | None, say: Callable[[str], None]) -> KnownFiles:
    """Find the training files of a known dataset, or fetch all four files into the cache.

    The order: ``data_root``, ``$FMNIST_ROOT``, the cache, Debian's package of Fashion-MNIST, torchvision's download,
    that package unpacked without root.  The first two are torchvision data roots or folders that hold the files
    themselves; where one of them is given, nothing else is tried.  The test files are not looked at.

    Args:
        dataset: its name.
        data_root: the user's ``--data-root``.
        say: told in one line what was chosen, and each attempt that failed.

    Raises:
        InputError: a given folder lacks a training file, a folder cannot be read, or nothing could be fetched.
    """
    source = (
        _given(dataset, data_root, "--data-root")
        or _given(dataset, _environment_root(), "$FMNIST_ROOT")
        or _present(dataset, say)
        or _fetched(dataset, say)
    )
    say(f"{KNOWN[dataset].title}: {source.folder} ({source.origin})")
    return source


def _environment_root() -> Path | None:
    value = os.environ.get("FMNIST_ROOT")
    return Path(value) if value else None


def _cached(dataset: str) -> Path:
    return cache_dir() / FOLDER_NAMES[dataset] / "raw"


def _given(dataset: str, root: Path | None, key: str) -> KnownFiles | None:
    if root is None:
        return None
    nested = root / FOLDER_NAMES[dataset] / "raw"
    for folder in (nested, root):
        if _missing(dataset, folder) is None:
            return KnownFiles(dataset, folder, key)
    folder = nested if nested.is_dir() else root
    what = f"{_missing(dataset, folder)} {_not_found(dataset)}" if folder.is_dir() else "folder not found"
    raise InputError(what, file=folder, key=key, hint="name a torchvision data root or a folder with the four files")


def _present(dataset: str, say: Callable[[str], None]) -> KnownFiles | None:
    folders = [(_cached(dataset), "cache")]
    if dataset == FASHION_MNIST.name:
        folders.append((DEBIAN_FOLDER, f"Debian's {PACKAGE}"))
    for folder, origin in folders:
        missing = _missing(dataset, folder)
        if missing is None:
            return KnownFiles(dataset, folder, origin)
        if folder.exists():
            say(f"{KNOWN[dataset].title}: {folder} is skipped: {missing} not found")
    return None


def _fetched(dataset: str, say: Callable[[str], None]) -> KnownFiles:
    """Fetch the files; what was fetched is proven before it is moved into the cache."""

    def publish(folder: Path) -> None:
        found = KnownFiles(dataset, folder, "")
        found.read_training()
        found.test_hash()
        _cached(dataset).mkdir(parents=True, exist_ok=True)
        # The training files, which are looked for, come last.
        for name in (*_TEST, *_TRAINING):
            path = found._require(name)
            path.replace(_cached(dataset) / path.name)

    origin = fetch(KNOWN[dataset], FOLDER_NAMES[dataset], publish, say)
    return KnownFiles(dataset, _cached(dataset), origin)


def _missing(dataset: str, folder: Path) -> str | None:
    """Return the first training file that ``folder`` lacks."""
    return next((name for name in _TRAINING if _find(dataset, folder, name) is None), None)


def _find(dataset: str, folder: Path, name: str) -> Path | None:
    try:
        present = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        hint = "make it readable or name another folder with --data-root"
        raise InputError(f"cannot be listed ({error.strerror})", file=folder, hint=hint) from None
    plain = [] if _FILES[dataset][name].is_of_archive else [name]
    return next((folder / candidate for candidate in (*plain, f"{name}.gz") if candidate in present), None)


def _not_found(dataset: str) -> str:
    archives = any(file.is_of_archive for file in _FILES[dataset].values())
    return "not found as .gz, by which it is proven" if archives else "not found, with or without .gz"
