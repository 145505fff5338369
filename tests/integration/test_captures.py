"""Terminal and pipe show what was looked at: ``python -m tests.captures`` makes the fixtures anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import captures


@pytest.mark.parametrize(
    "made",
    [
        captures.summaries,
        pytest.param(captures.piped, marks=pytest.mark.long),
        pytest.param(captures.dumb, marks=pytest.mark.faults),
    ],
)
def test_the_captures_are_those_that_were_looked_at(made: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    for name, said in made(tmp_path).items():
        assert said == (captures.FIXTURES / f"{name}.txt").read_text(), name
