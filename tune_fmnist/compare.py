"""``python -m tune_fmnist.compare``: several searches beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug
from tune_fmnist.completion import folders
from tune_fmnist.reporting.screen import console

EXAMPLES: Final = """\
results/ann results/night"""
"""What may be typed after the command, one example per line."""


def main(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="the folders of two searches or more", autocompletion=folders),
    ],
    debug: Debug = False,
) -> None:
    """Compare searches: what each found, whether their best differ by more than chance, and how they were made."""
    # SciPy and pandas take a second to import, for which --help need not wait.
    from tune_fmnist.reporting import comparison

    comparison.print_comparison(comparison.compare_searches(folders), console())


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("compare")
