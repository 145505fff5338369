"""What a node says of itself before a search: ``look`` runs there as a Ray task, and returns plain values."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypedDict

from tune_fmnist.base import provenance
from tune_fmnist.base.errors import last_line
from tune_fmnist.store.paths import publish

SHM: Final = Path("/dev/shm")  # noqa: S108 -- looked at only
"""Where Ray keeps its object store on Linux, if that is large enough."""


class Facts(TypedDict):
    """A node's facts, in plain values: it may run other versions than the machine that reads them.

    ``torch`` and ``storage`` are errors, empty where there is none.  ``gpus`` are those that Torch sees: name and share
    of the memory in use.  ``shared`` is whether the probe was there, None without one.  ``memory`` (available) and
    ``shm`` (all of it) are bytes, None where the system does not tell.  ``clock`` is in seconds since 1970.
    """

    versions: dict[str, str]
    torch: str
    gpus: list[tuple[str, float]]
    shared: bool | None
    storage: str
    memory: int | None
    shm: int | None
    clock: float


def look(probe: Path | None) -> Facts:
    """Look around on the node that this runs on.

    Args:
        probe: a new folder where results go, which another machine may not see; None if it could not be made.
    """
    torch_error, gpus = _torch()
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    return Facts(
        versions=provenance.versions(),
        torch=torch_error,
        gpus=gpus,
        shared=probe.exists() if probe is not None else None,
        storage=_storage(probe) if probe is not None else "",
        memory=next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None),
        shm=shutil.disk_usage(SHM).total if SHM.exists() else None,
        # Last, so that only the way back lies between this and its arrival.
        clock=time.time(),
    )


def _torch() -> tuple[str, list[tuple[str, float]]]:
    """Return why Torch cannot be used, and its GPUs."""
    gpus = []
    try:
        import torch
        import torchvision  # noqa: F401 -- made for another Torch, it fails here

        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            gpus.append((torch.cuda.get_device_name(index), 1 - free / total))
    except (ImportError, OSError, RuntimeError) as error:
        return last_line(error), gpus
    return "", gpus


def _storage(probe: Path) -> str:
    """Return why results cannot be written here; a folder that is not there is only asked for, not made."""
    if not probe.exists():
        present = next(folder for folder in probe.parents if folder.exists())
        return "" if present.is_dir() and os.access(present, os.W_OK) else f"{present} cannot be written"
    try:
        write(probe)
    except OSError as error:
        return str(error)
    return ""


@contextmanager
def probe_folder(results_dir: Path) -> Iterator[Path]:
    """Make a folder where results go; remove it and all that had to be made for it."""
    made = [folder for folder in (results_dir, *results_dir.parents) if not folder.exists()]
    try:
        results_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=results_dir) as name:
            yield Path(name).resolve()
    finally:
        # They are not empty where a search has begun meanwhile.
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def write(probe: Path) -> None:
    """Write, rename and read back a file, as a search does; raises ``OSError``."""
    name = uuid.uuid4().hex
    with publish(probe / name) as unnamed:
        unnamed.write_text(name)
    if (probe / name).read_text() != name:
        raise OSError("what was written reads back differently")
