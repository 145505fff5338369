"""What would go wrong in a search, found before it does, here and on every node."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tune_fmnist import data
from tune_fmnist.base import ray_environment
from tune_fmnist.base.datasets import FASHION_MNIST, title_of
from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.data.known import KnownFiles
from tune_fmnist.store.folder import Folder
from tune_fmnist.workflow.findings import GIB, HERE, Finding, State, judged, refused
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.scratch import scratch_folder

_REINSTALL: Final = "install it again with all it needs, in the versions of constraints.txt"


def examine(options: Options) -> Iterator[Finding]:
    """Check what a search with these options needs, and yield what is found as soon as it is.

    Nothing is left behind, except Fashion-MNIST in the cache where it had to be fetched.  Of the options ``dataset``,
    ``data_root``, ``results_dir``, ``address``, ``storage``, ``cpus_per_trial`` and ``gpus_per_trial`` are looked at.
    """
    yield _packages()
    try:
        # A package that cannot be imported is a finding.
        from tune_fmnist.workflow import cluster_checks
    except ImportError as error:
        yield Finding("packages", HERE, "failure", f"cannot be imported ({error})", _REINSTALL)
        return
    yield _data(options)
    yield _uv()
    with ExitStack() as stack:
        scratch = None
        try:
            scratch = stack.enter_context(scratch_folder(options.results_dir))
            yield _disk(options.results_dir, scratch)
        except OSError as error:
            what = f"{options.results_dir}: {error}"
            yield Finding("storage", HERE, "failure", what, "name another with --results-dir")
        try:
            yield Finding("Ray", HERE, "ok", cluster_checks.found(options.address))
            stack.enter_context(cluster_checks.running_ray(options.address))
        except InputError as error:
            yield refused("Ray", error)
            return
        except (ConnectionError, RuntimeError, ValueError) as error:
            logs = f"{ray_environment.temporary_folder()}/{ray_environment.FOLDER_PREFIX}*"
            hint = f"see the logs in the newest {logs}; free the ports, the memory or the disk that it lacks"
            yield Finding("Ray", HERE, "failure", f"cannot be started ({last_line(error)})", hint)
            return
        yield from cluster_checks.examine(options, scratch)


def _packages() -> Finding:
    """Compare what is installed with what this package's metadata asks for."""
    try:
        about = metadata("tune_fmnist")
    except PackageNotFoundError:
        return Finding("packages", HERE, "failure", "tune_fmnist is not installed", _REINSTALL)
    python, unfit = platform.python_version(), []
    if python not in SpecifierSet(about["Requires-Python"]):
        unfit.append(f"Python {python}, not {about['Requires-Python']}")
    for text in about.get_all("Requires-Dist", []):
        needs = Requirement(text)
        if needs.marker and not needs.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(needs.name)
        except PackageNotFoundError:
            found = ""
        if not found or not needs.specifier.contains(found, prereleases=True):
            unfit.append(f"{needs.name} {found or 'missing'}, not {needs.specifier}")
    found = "; ".join(unfit) or f"tune_fmnist {about['Version']} and all it needs, Python {python}"
    return judged("packages", HERE, found, bad=bool(unfit), state="failure", hint=_REINSTALL)


def _data(options: Options) -> Finding:
    try:
        dataset = options.dataset or FASHION_MNIST.name
        source = data.locate(dataset, options.data_root, partial(print, file=sys.stderr))
        if isinstance(source, KnownFiles):
            source.test_hash()
            return Finding("data", HERE, "ok", f"all four files of {title_of(dataset)} in {source.folder}")
        images = source.read_training()
        source.test_hash(images.shape)
    except InputError as error:
        return refused("data", error)
    channels, height, width = images.shape.input_shape
    found = f"{len(images.labels):,} images of {height} x {width} x {channels}, {images.classes} classes"
    return Finding("data", HERE, "ok", f"{found} in {source.place}")


def _uv() -> Finding:
    # It was set to 0 before Ray was imported, unless the user had set it.
    value = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"]
    hint = "set it to 0: under `uv run`, Ray builds an environment for each worker"
    found, bad = f"RAY_ENABLE_UV_RUN_RUNTIME_ENV={value}", value.lower() in {"1", "true"}
    return judged("uv run", HERE, found, bad=bad, state="warning", hint=hint)


def _disk(results_dir: Path, scratch: Path) -> Finding:
    """Check that a file can be written where results go, and judge the room that is left there."""
    if trouble := Folder(str(scratch)).trouble():
        raise OSError(trouble)
    return _room(results_dir, shutil.disk_usage(results_dir).free)


def _room(results_dir: Path, free: int) -> Finding:
    """Judge the ``free`` bytes where results go."""
    found, hint = (
        f"{results_dir} can be written, {free / GIB:.1f} GiB free",
        "free some, or name another disk with --results-dir",
    )
    state: State = "failure" if free < 200 * 2**20 else "warning"
    return judged("storage", HERE, found, bad=free < 2 * GIB, state=state, hint=hint)
