"""``python -m tune_fmnist.show``: what a search found, as it is said at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug
from tune_fmnist.completion import searches
from tune_fmnist.reporting.screen import console
from tune_fmnist.store.paths import RESULTS_DIR, SearchPaths

EXAMPLES: Final = """\
night"""
"""What may be typed after the command, one example per line."""


def main(
    name: Annotated[str, typer.Argument(help="of a search, or the folder of one", autocompletion=searches)],
    results_dir: Annotated[Path, typer.Option(help="where the searches are")] = RESULTS_DIR,
    debug: Debug = False,
) -> None:
    """Say what a search has found, running or finished, from its tables alone."""
    # SciPy and pandas take a second to import, for which --help need not wait.
    from tune_fmnist.reporting import summary
    from tune_fmnist.reporting.results import Results

    summary.print_summary(Results(SearchPaths.of(name, results_dir)), console())


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("show")
