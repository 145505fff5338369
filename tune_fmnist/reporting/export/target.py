"""What a tool that runs are exported to must do, and the one line of one that is not installed."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.export.runs import Runs


class Target(Protocol):
    """Where runs go.

    Attributes:
        view: a command that shows them, or where they are.
    """

    view: str

    def export(self, runs: Runs) -> int:
        """Bring the tool up to what the tables have, whatever was exported before; return how many runs got more.

        Raises:
            InputError: the tool cannot be reached or written to as it is named.
            FailedError: it refuses what it is given.
        """


def library(to: str, name: str) -> Any:
    """Import a module of a tool that is an extra of this package.

    Args:
        to: the tool, as ``--to`` names it, which is the extra's and the library's name as well.
        name: of the module.

    Raises:
        InputError: the library is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != to:
            raise
        hint = f"in the checkout, pip install --constraint constraints.txt --editable '.[{to}]'"
        raise InputError(f"{to} is not installed", key=f"--to {to}", hint=hint) from None
