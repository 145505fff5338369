"""What a result was computed with: versions, hardware, the commit and the command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "numpy", "pandas", "pyarrow")


def record() -> dict[str, Any]:
    """Return what stands beside a result: ``versions``, ``hardware`` and ``git_commit``."""
    return {"versions": versions(), "hardware": hardware(), "git_commit": git_commit()}


def versions() -> dict[str, str]:
    """Return the versions of this program, Python and the packages that decide a result."""
    return {"tune_fmnist": version("tune_fmnist"), "python": platform.python_version()} | {
        name: version(name) for name in _PACKAGES
    }


def hardware() -> dict[str, Any]:
    """Return the processor, cores, memory (bytes) and GPUs of this machine.

    PyTorch would know them too, but to import it takes a command two seconds.
    """
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": pages * size,
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _gpus() -> list[str]:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        # Without NVIDIA's driver there is no such program.
        return []
    return asked.stdout.splitlines()


def git_commit() -> str | None:
    """Return the commit of the checkout this package lies in, with ``-dirty`` behind it if files differ from it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def command() -> str:
    """Return the command line of this process, as one would type it."""
    program = Path(sys.argv[0])
    if program.parent.name == "tune_fmnist" and program.suffix == ".py":
        return shlex.join(["python", "-m", f"tune_fmnist.{program.stem}", *sys.argv[1:]])
    return shlex.join([program.name, *sys.argv[1:]])


def call(function: str, arguments: Mapping[str, Any]) -> str:
    """Return a call from Python as one would write it."""
    return f"tune_fmnist.{function}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
