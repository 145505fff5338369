"""Searches that are hurt by real faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Hurt
from tune_fmnist.store.paths import SearchPaths


@pytest.fixture
def hurt(tmp_path: Path) -> Iterator[Hurt]:
    """A search that has not begun."""
    search = Hurt(SearchPaths(tmp_path / "x"), tmp_path)
    yield search
    search.clean()
