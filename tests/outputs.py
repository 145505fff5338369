"""What a search says on its way, told from what it says of trouble: both go to the standard error."""

from __future__ import annotations

import re
from typing import Final

PROGRESS: Final = re.compile(
    r"\d\d:\d\d:\d\d |search |resuming |Ray: |confirming |retraining |interrupted; |next: |writing the page|$"
    r"|[\d,]+ training and |(gp|tpe) draws |optuna.journal is rebuilt |Fashion-MNIST: "
)
"""How a line of a search's progress begins."""


def trouble(errors: str) -> list[str]:
    """Return the lines of a standard error that are no progress."""
    return [line for line in errors.splitlines() if not PROGRESS.match(line)]
