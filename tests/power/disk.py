"""A file system in a file, whose power can be cut: what was in memory only is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SIZES: Final = {"ext4": 300, "xfs": 600}
"""MB of the smallest file that a search and its log fit in, by file system."""

_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN, which has the same number."""

_NO_LOG_FLUSH: Final = 2


@dataclass
class Disk:
    """A file system that is mounted at a folder.

    Attributes:
        kind: of the file system.
        folder: where it is mounted.
        image: the file that it lies in.
    """

    kind: str
    folder: Path
    image: Path
    _cuts: int = 0

    def cut(self) -> None:
        """Cut its power: nothing reaches the image any more, and whoever writes gets an error."""
        opened = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(opened, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(opened)

    def give_back(self) -> None:
        """Mount what is in the image, as a machine would when its power came back."""
        # A copy: as long as any process, or another's mount namespace, holds the old one, it would be mounted again.
        self._cuts += 1
        after = self.image.with_name(f"{self.kind}-{self._cuts}.img")
        subprocess.run(["cp", "--sparse=always", self.image, after], check=True)
        self.unmount()
        self.image = after
        self.mount()

    def mount(self) -> None:
        options = "loop,nouuid" if self.kind == "xfs" else "loop"
        subprocess.run(["mount", "-o", options, self.image, self.folder], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self.image.unlink()


def missing(kind: str) -> str:
    """Return why this machine cannot make such a disk, nothing if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which(f"mkfs.{kind}") is None:
        return f"needs mkfs.{kind}: apt-get install {'xfsprogs' if kind == 'xfs' else 'e2fsprogs'}"
    return "" if Path("/dev/loop-control").exists() else "needs loop devices"


@contextmanager
def disk(kind: str, scratch: Path) -> Iterator[Disk]:
    """Make a disk with a file system, under ``scratch``; it is gone after the block."""
    made = Disk(kind, scratch / kind, scratch / f"{kind}.img")
    made.folder.mkdir()
    with made.image.open("wb") as image:
        image.truncate(SIZES[kind] * 10**6)
    subprocess.run([f"mkfs.{kind}", "-q", made.image], check=True)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()
