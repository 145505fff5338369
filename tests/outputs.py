"""What a command writes: progress told from trouble on the standard error, and all that a terminal gets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

PROGRESS: Final = re.compile(
    r"\d\d:\d\d:\d\d |search |resuming |Ray: |confirming |retraining |interrupted; |next: |writing the page|$"
    r"|[\d,]+ training and |(gp|tpe) draws |optuna.journal is rebuilt |Fashion-MNIST: "
)
"""How a line of a search's progress begins."""


def trouble(errors: str) -> list[str]:
    """Return the lines of a standard error that are no progress."""
    return [line for line in errors.splitlines() if not PROGRESS.match(line)]


def from_terminal(ours: int) -> Iterator[bytes]:
    """Yield what is written to a terminal, in pieces, until nobody has it open any more; ``ours`` is closed then."""
    while True:
        try:
            yield os.read(ours, 1 << 16)
        except OSError:
            break
    os.close(ours)
