"""Fashion-MNIST as arrays: found or fetched, and checked.

The data set is Xiao, Rasul & Vollgraf (2017), https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final, NamedTuple

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import cache_dir
from tune_fmnist.data.idx import Expected, proven_content, read_array
from tune_fmnist.data.images import Images

_PACKAGE: Final = "dataset-fashion-mnist"
_PACKAGED: Final = Path("usr/share/datasets/fashion-mnist")
DEBIAN_FOLDER: Final = Path("/") / _PACKAGED
"""Where Debian's package puts the four files."""

_NETWORK_TIMEOUT: Final = 30
"""Seconds without an answer after which a server counts as out of reach; neither library has a limit of its own."""


class Source(NamedTuple):
    """The ``folder`` that holds the four files, plain or gzipped, and in words how it was found."""

    folder: Path
    origin: str


_FILES: Final[dict[str, Expected]] = {
    "train-images-idx3-ubyte": Expected(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", (60_000, 28, 28)
    ),
    "train-labels-idx1-ubyte": Expected("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", (60_000,)),
    "t10k-images-idx3-ubyte": Expected(
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", (10_000, 28, 28)
    ),
    "t10k-labels-idx1-ubyte": Expected("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", (10_000,)),
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
    for name in _FILES:
        proven_content(_require(source.folder, name), name, _FILES)


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
    what = f"{_missing(folder)} not found, with or without .gz" if folder.is_dir() else "folder not found"
    raise InputError(what, file=folder, key=key, hint="name a torchvision data root or a folder with the four files")


def _present(say: Callable[[str], None]) -> Source | None:
    for folder, origin in ((_cached(), "cache"), (DEBIAN_FOLDER, f"Debian's {_PACKAGE}")):
        missing = _missing(folder)
        if missing is None:
            return Source(folder, origin)
        if folder.exists():
            say(f"Fashion-MNIST: {folder} is skipped: {missing} not found")
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
        hint = "make it readable or name another folder with --data-root"
        raise InputError(f"cannot be listed ({error.strerror})", file=folder, hint=hint) from None
    return next((folder / candidate for candidate in (name, f"{name}.gz") if candidate in present), None)


def _read(folder: Path, names: tuple[str, str]) -> Images:
    images, labels = (read_array(_require(folder, name), name, _FILES) for name in names)
    return Images(images, labels)


def _require(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        hint = "put it there or name a folder that has it with --data-root"
        raise InputError("not found, with or without .gz", file=folder / name, hint=hint)
    return path


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
        hint=f"install Debian's {_PACKAGE}, or copy the four files here and name their folder with --data-root",
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
