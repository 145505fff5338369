"""Fashion-MNIST as arrays: found or fetched, checked, and split the same way on every machine.

The data set is Xiao, Rasul & Vollgraf (2017), https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import socket
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import CLASSES
from tune_fmnist.store.paths import cache_dir

_PACKAGE: Final = "dataset-fashion-mnist"
_PACKAGED: Final = Path("usr/share/datasets/fashion-mnist")
DEBIAN_FOLDER: Final = Path("/") / _PACKAGED
"""Where Debian's package puts the four files."""

_NETWORK_TIMEOUT: Final = 30
"""Seconds without an answer after which a server counts as out of reach; neither library has a limit of its own."""

_FEWEST: Final = 100
"""Images in the smallest subset: ten of each class, eight to train on and two to validate."""


class Images(NamedTuple):
    """``images`` (n, 28, 28) uint8, 0 black to 255 white; ``labels`` (n,) uint8, places in ``names.CLASSES``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Split(NamedTuple):
    """A training and a validation part, and the ``hash`` (16 hexadecimal digits) of which images are where.

    Equal hashes mean the same images in the same parts and order; another seed, subset or data set has another hash.
    """

    train: Images
    validation: Images
    hash: str


class Source(NamedTuple):
    """The ``folder`` that holds the four files, plain or gzipped, and in words how it was found."""

    folder: Path
    origin: str


_FILES: Final = {
    "train-images-idx3-ubyte": ("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", (60_000, 28, 28)),
    "train-labels-idx1-ubyte": ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", (60_000,)),
    "t10k-images-idx3-ubyte": ("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", (10_000, 28, 28)),
    "t10k-labels-idx1-ubyte": ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", (10_000,)),
}
_TRAINING: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST: Final = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def locate(data_root: Path | None, say: Callable[[str], None] = print) -> Source:
    """Find Fashion-MNIST's training files, or fetch all four files into the cache.

    The order: ``data_root``, ``$FMNIST_ROOT``, the cache, Debian's package, torchvision's download, Debian's package
    unpacked without root.  The first two are torchvision data roots or folders that hold the files themselves; where
    one of them is given, nothing else is tried.  The test files are not looked at.

    Args:
        data_root: the user's ``--data-root``.
        say: told in one line what was chosen, and each attempt that failed.

    Raises:
        InputError: a given folder lacks a training file, a folder cannot be read, or nothing could be fetched.
    """
    source = (
        _given(data_root, "--data-root") or _given(_environment_root(), "$FMNIST_ROOT") or _present(say) or _fetch(say)
    )
    say(f"Fashion-MNIST: {source.folder} ({source.origin})")
    return source


def read_training(source: Source) -> Images:
    """Return the 60,000 training images in file order, read-only and proven by their SHA-256.

    Raises:
        InputError: a file is missing, cannot be read, or is not Fashion-MNIST's.
    """
    return _read(source.folder, _TRAINING)


def read_test(source: Source) -> Images:
    """Return the 10,000 test images as ``read_training`` does; only ``retrain`` may call this."""
    return _read(source.folder, _TEST)


def verify(source: Source) -> None:
    """Prove all four files by their SHA-256, without reading an image or a label out of them.

    Raises:
        InputError: a file is missing, cannot be read, or is not Fashion-MNIST's.
    """
    for name, (sha256, shape) in _FILES.items():
        _content(_require(source.folder, name), sha256, shape)


def limited(images: Images, count: int | None, seed: int) -> Images:
    """Return a seeded subset of ``count`` images, in their order, in which each class keeps its share.

    Classes that cannot have their exact share are rounded by largest remainder, the first classes first.

    Args:
        images: what to draw from.
        count: how many; ``None`` returns all.
        seed: 0 or more.

    Raises:
        InputError: ``count`` is less than 100 or more than there are.
    """
    have = len(images.labels)
    if count is None or count == have:
        return images
    if not _FEWEST <= count < have:
        what, mend = f"{count} training images are not to be had", f"use {_FEWEST} to {have}"
        raise InputError(what, key="--limit-train", mend=mend)
    scaled = _class_counts(images.labels) * count
    shares, remainders = scaled // have, scaled % have
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    return _take(images, _drawn(images.labels, shares, np.random.SeedSequence(seed, spawn_key=(0,))))


def split(images: Images, seed: int) -> Split:
    """Split into 80 % to train on and 20 % to validate (to the nearest image of each class), both in their order.

    The hash is the SHA-256 of each part's number of images (8 bytes, little endian), pixels and labels, training
    first: it depends on nothing but which images are where.  ``seed`` is 0 or more.
    """
    validation_counts = (2 * _class_counts(images.labels) + 5) // 10
    held_out = _drawn(images.labels, validation_counts, np.random.SeedSequence(seed, spawn_key=(1,)))
    train, validation = _take(images, ~held_out), _take(images, held_out)
    digest = hashlib.sha256()
    for part in (train, validation):
        digest.update(struct.pack("<Q", len(part.labels)))
        digest.update(part.images.data)
        digest.update(part.labels.data)
    return Split(train, validation, digest.hexdigest()[:16])


def _class_counts(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.bincount(labels, minlength=len(CLASSES))


def _drawn(labels: NDArray[np.uint8], counts: NDArray[np.intp], seed: np.random.SeedSequence) -> NDArray[np.bool_]:
    """Return a mask (n,) over ``counts[c]`` images of each class ``c``, drawn without replacement."""
    # NumPy promises the same raw bits in every version, but not the same `permutation` (NEP 19).
    keys = np.random.PCG64(seed).random_raw(len(labels))
    mask = np.zeros(len(labels), np.bool_)
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    return mask


def _take(images: Images, mask: NDArray[np.bool_]) -> Images:
    return Images(images.images[mask], images.labels[mask])


def _environment_root() -> Path | None:
    value = os.environ.get("FMNIST_ROOT")
    return Path(value) if value else None


def _cached() -> Path:
    return cache_dir() / "FashionMNIST" / "raw"


def _given(root: Path | None, key: str) -> Source | None:
    if root is None:
        return None
    nested = root / "FashionMNIST" / "raw"
    for folder in (nested, root):
        if _missing(folder) is None:
            return Source(folder, key)
    folder = nested if nested.is_dir() else root
    what = f"{_missing(folder)} is not there, nor with .gz" if folder.is_dir() else "there is no such folder"
    raise InputError(what, file=folder, key=key, mend="name a torchvision data root or a folder with the four files")


def _present(say: Callable[[str], None]) -> Source | None:
    for folder, origin in ((_cached(), "cache"), (DEBIAN_FOLDER, f"Debian's {_PACKAGE}")):
        missing = _missing(folder)
        if missing is None:
            return Source(folder, origin)
        if folder.exists():
            say(f"Fashion-MNIST: {folder} is passed over, it lacks {missing}")
    return None


def _missing(folder: Path) -> str | None:
    """Return the first training file that ``folder`` lacks."""
    return next((name for name in _TRAINING if _find(folder, name) is None), None)


def _find(folder: Path, name: str) -> Path | None:
    try:
        present = {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        mend = "make it readable or name another folder with --data-root"
        raise InputError(f"cannot be listed ({error.strerror})", file=folder, mend=mend) from None
    return next((folder / candidate for candidate in (name, f"{name}.gz") if candidate in present), None)


def _read(folder: Path, names: tuple[str, str]) -> Images:
    images, labels = (_array(_require(folder, name), *_FILES[name]) for name in names)
    return Images(images, labels)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        mend = "put it there or name a folder that has it with --data-root"
        raise InputError("is not there, nor with .gz", file=folder / name, mend=mend)
    return path


def _array(path: Path, sha256: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.frombuffer(_content(path, sha256, shape), np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _content(path: Path, sha256: str, shape: tuple[int, ...]) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _unusable(path, f"cannot be read ({error})") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise _unusable(path, _difference(content, digest, shape))
    return content


def _unusable(path: Path, what: str) -> InputError:
    mend = "replace it (in the cache: delete it and run again) or name another folder with --data-root"
    return InputError(what, file=path, mend=mend)


def _difference(content: bytes, digest: str, shape: tuple[int, ...]) -> str:
    """Say how a file is not the expected one: IDX is a magic number, the sizes, each 4 bytes big endian, and bytes."""
    for name, (sha256, _) in _FILES.items():
        if digest == sha256:
            return f"holds what belongs in {name}"
    header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    if content[:4] != header[:4] or len(content) < len(header):
        start = content[:4].hex() or "nothing"
        return f"is not an IDX file of bytes in {len(shape)} dimensions (it begins with {start})"
    if content[: len(header)] != header:
        return f"holds an array of {struct.unpack_from(f'>{len(shape)}I', content, 4)}, not {shape}"
    size = len(header) + math.prod(shape)
    if len(content) != size:
        return f"is {len(content)} bytes long uncompressed, not {size}"
    return f"differs in content from Fashion-MNIST's (SHA-256 {digest})"


def _fetch(say: Callable[[str], None]) -> Source:
    tried = []
    for origin, attempt in (
        ("torchvision's download", _from_torchvision),
        ("Debian's package, unpacked", partial(_from_debian, say=say)),
    ):
        say(f"Fashion-MNIST: trying {origin}")
        try:
            cache_dir().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_dir()) as scratch:
                folder = attempt(Path(scratch).resolve())
                _read(folder, _TRAINING)
                _publish(folder)
        except (ImportError, RuntimeError, OSError, HTTPException, InputError) as error:
            reason = " ".join(str(error).split())
            say(f"Fashion-MNIST: {origin} failed: {reason}")
            tried.append(f"{origin} ({reason})")
        else:
            return Source(_cached(), origin)
    raise InputError(
        f"Fashion-MNIST is not on this machine and could not be fetched: {'; '.join(tried)}",
        mend=f"install Debian's {_PACKAGE}, or copy the four files here and name their folder with --data-root",
    )


def _publish(folder: Path) -> None:
    """Move the four files into the cache; the training files, which ``locate`` looks for, come last."""
    _cached().mkdir(parents=True, exist_ok=True)
    for name in (*_TEST, *_TRAINING):
        path = _require(folder, name)
        path.replace(_cached() / path.name)


def _from_torchvision(scratch: Path) -> Path:
    """Download with torchvision; raises its ``RuntimeError``, or what its import or the network raises."""
    from torchvision.datasets import FashionMNIST

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        FashionMNIST(str(scratch), download=True)
    finally:
        socket.setdefaulttimeout(before)
    return scratch / "FashionMNIST" / "raw"


def _from_debian(scratch: Path, say: Callable[[str], None]) -> Path:
    """Download and unpack Debian's package, with package lists of our own where the system's do not have it."""
    timeout = f"Acquire::http::Timeout={_NETWORK_TIMEOUT}"
    # Started by root, apt would become a user that cannot write here.
    apt = ["apt-get", "-q", "-o", timeout, "-o", "APT::Sandbox::User=root"]
    try:
        _run([*apt, "download", _PACKAGE], scratch)
    except RuntimeError as error:
        say(f"Fashion-MNIST: fetching package lists, because {error}")
        for name in ("lists", "archives"):
            (scratch / name / "partial").mkdir(parents=True)
        for option, value in (("State::Lists", "lists"), ("Cache", ""), ("Cache::Archives", "archives")):
            apt += ["-o", f"Dir::{option}={scratch / value}"]
        _run([*apt, "update"], scratch)
        _run([*apt, "download", _PACKAGE], scratch)
    (package,) = scratch.glob("*.deb")
    _run(["dpkg-deb", "-x", str(package), str(scratch)], scratch)
    return scratch / _PACKAGED


def _run(command: list[str], folder: Path) -> None:
    """Run a program in ``folder``; raises ``RuntimeError`` with its last words, ``OSError`` where there is none."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{command[0]}: {words[-1]}")
