"""``python -m tune_fmnist.report``: from the tables alone to ``report.html``, its figures, and the README's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug
from tune_fmnist.completion import folders

EXAMPLES: Final = """\
results/night
results/ann results/cnn --into README.md"""
"""What may be typed after the command, one example per line."""


def main(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="the folder of a search, or several", autocompletion=folders),
    ],
    into: Annotated[
        Path | None,
        typer.Option(help="write no page, but one table of all between <!-- results --> and <!-- /results --> there"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a page with figures from a search's tables, or the table of several searches into a text file."""
    # Altair, SciPy and scikit-learn take two seconds to import, for which --help and a mistyped option need not wait.
    from tune_fmnist.reporting import page, readme_table

    if into is None:
        written = page.write_pages(folders)
    else:
        readme_table.write_results_table(into, folders)
        written = [into]
    print(*written, sep="\n")


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("report")
