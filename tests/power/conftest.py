"""Disks whose power can be cut."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.power.disk import SIZES, Disk, disk, missing


@pytest.fixture(params=SIZES)
def power(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A disk of each file system."""
    if why := missing(request.param):
        pytest.skip(why)
    with ExitStack() as stack:
        try:
            made = stack.enter_context(disk(request.param, tmp_path))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"may not mount: {error.stderr}")
        yield made
