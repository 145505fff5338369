"""``python -m tune_fmnist.report``: from the tables alone to ``report.html``, its figures, and the README's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug
from tune_fmnist.completion import searches
from tune_fmnist.store.paths import SearchPaths

EXAMPLES: Final = """\
night
ann cnn --into README.md"""
"""What may be typed after the command, one example per line."""


def main(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="of a search, or several, or their folders", autocompletion=searches),
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

    found = [SearchPaths.of(name).folder for name in names]
    if into is None:
        written = page.write_pages(found)
    else:
        readme_table.write_results_table(into, found)
        written = [into]
    print(*written, sep="\n")


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("report")
