"""``python -m tune_fmnist.compare``: several searches beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug
from tune_fmnist.completion import searches
from tune_fmnist.reporting.screen import console
from tune_fmnist.store.paths import SearchPaths

EXAMPLES: Final = """\
ann night
ann night --page both.html"""
"""What may be typed after the command, one example per line."""


def main(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="of two searches or more, or their folders", autocompletion=searches),
    ],
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write all of it, with pictures, as a page in HTML")
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare searches: what each found, whether their best differ by more than chance, and how they were made."""
    # SciPy and pandas take a second to import, for which --help need not wait.
    from tune_fmnist.reporting import comparison

    found, out = comparison.compare_searches([SearchPaths.of(name).folder for name in names]), console()
    comparison.print_comparison(found, out)
    if page is not None:
        out.print(f"page: {found.write_page(page)}", soft_wrap=True)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("compare")
