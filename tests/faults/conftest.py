"""Searches that are hurt by real faults, and a cluster for them to join."""

from __future__ import annotations

import subprocess
import sys
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


class Cluster:
    """A cluster in a process of its own, ``tests.faults.cluster``, which is asked over its standard input."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def head(self) -> int:
        """Return the pid of the head's server."""
        return int(self._answer("head"))

    def lose_node(self) -> None:
        """End one of the two nodes that compute, all at once."""
        assert self._answer("lose") == "lost"

    def _answer(self, question: str | None = None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if question is not None:
            print(question, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster to join: a head that computes nothing, and two nodes of one CPU."""
    command = [sys.executable, "-m", "tests.faults.cluster"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        # The end of its input is the end of the cluster.
        yield Cluster(process)
