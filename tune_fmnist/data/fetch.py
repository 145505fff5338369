"""The files of a known dataset, fetched: with torchvision, or from Debian's package of Fashion-MNIST."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final

from tune_fmnist.base.datasets import FASHION_MNIST, Dataset
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import cache_dir

PACKAGE: Final = "dataset-fashion-mnist"
_PACKAGED: Final = Path("usr/share/datasets/fashion-mnist")
DEBIAN_FOLDER: Final = Path("/") / _PACKAGED
"""Where Debian's package puts the four files."""

_NETWORK_TIMEOUT: Final = 30
"""Seconds without an answer after which a server counts as out of reach; neither library has a limit of its own."""


def fetch(dataset: Dataset, name: str, publish: Callable[[Path], None], say: Callable[[str], None]) -> str:
    """Fetch a dataset's files and hand their folder to ``publish``; return in words where they came from.

    Args:
        dataset: what to fetch.
        name: of its class in ``torchvision.datasets``.
        publish: proves the files and moves them; an ``InputError`` of it counts as an attempt that failed.
        say: told of each attempt, and why it failed.

    Raises:
        InputError: no attempt succeeded.
    """
    attempts: list[tuple[str, Callable[[Path], Path]]] = [
        ("torchvision's download", partial(_from_torchvision, name=name))
    ]
    if dataset is FASHION_MNIST:
        attempts.append(("Debian's package, unpacked", partial(_from_debian, say=say)))
    tried = []
    for origin, attempt in attempts:
        say(f"{dataset.title}: trying {origin}")
        try:
            cache_dir().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_dir()) as scratch:
                publish(attempt(Path(scratch).resolve()))
        except (ImportError, RuntimeError, OSError, HTTPException, InputError) as error:
            reason = " ".join(str(error).split())
            say(f"{dataset.title}: {origin} failed: {reason}")
            tried.append(f"{origin} ({reason})")
        else:
            return origin
    package = f"install Debian's {PACKAGE}, or " if dataset is FASHION_MNIST else ""
    raise InputError(
        f"{dataset.title} is not on this machine and could not be fetched: {'; '.join(tried)}",
        hint=f"{package}copy the four files here and name their folder with --data-root",
    )


def _from_torchvision(scratch: Path, name: str) -> Path:
    """Download with torchvision; raises its ``RuntimeError``, or what its import or the network raises."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT)
    try:
        getattr(datasets, name)(str(scratch), download=True)
    finally:
        socket.setdefaulttimeout(before)
    return scratch / name / "raw"


def _from_debian(scratch: Path, say: Callable[[str], None]) -> Path:
    """Download and unpack Debian's package, with package lists of our own where the system's do not have it."""
    timeout = f"Acquire::http::Timeout={_NETWORK_TIMEOUT}"
    # Started by root, apt would become a user that cannot write here.
    apt = ["apt-get", "-q", "-o", timeout, "-o", "APT::Sandbox::User=root"]
    try:
        _run([*apt, "download", PACKAGE], scratch)
    except RuntimeError as error:
        say(f"Fashion-MNIST: fetching package lists, because {error}")
        for name in ("lists", "archives"):
            (scratch / name / "partial").mkdir(parents=True)
        for option, value in (("State::Lists", "lists"), ("Cache", ""), ("Cache::Archives", "archives")):
            apt += ["-o", f"Dir::{option}={scratch / value}"]
        _run([*apt, "update"], scratch)
        _run([*apt, "download", PACKAGE], scratch)
    (package,) = scratch.glob("*.deb")
    _run(["dpkg-deb", "-x", str(package), str(scratch)], scratch)
    return scratch / _PACKAGED


def _run(command: list[str], folder: Path) -> None:
    """Run a program in ``folder``; raises ``RuntimeError`` with its last words, ``OSError`` where there is none."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(f"{command[0]}: {words[-1]}")
