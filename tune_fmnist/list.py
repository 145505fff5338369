"""``python -m tune_fmnist.list``: the searches of a results folder, a line each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug
from tune_fmnist.reporting.screen import console
from tune_fmnist.store.paths import RESULTS_DIR

EXAMPLES: Final = """\

--results-dir /mnt/shared/results"""
"""What may be typed after the command, one example per line."""


def main(
    results_dir: Annotated[Path, typer.Option(help="where the searches are")] = RESULTS_DIR,
    debug: Debug = False,
) -> None:
    """List the searches of a folder: model, dataset, state, best validation and test accuracy, and when they began."""
    # pandas takes half a second to import, for which --help need not wait.
    from tune_fmnist.reporting import overview

    found = overview.lines(results_dir)
    console().print(overview.table(found))
    for line in found:
        if isinstance(line, InputError):
            print(f"cannot be read: {line}", file=sys.stderr)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("list")
