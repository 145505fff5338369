"""``python -m tune_fmnist.export``: a search's trials and retrains into TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from tune_fmnist.base.vocabulary import Tool
from tune_fmnist.cli import Debug
from tune_fmnist.completion import one_of, searches
from tune_fmnist.reporting.screen import console
from tune_fmnist.store.paths import RESULTS_DIR, SearchPaths

EXAMPLES: Final = """\
night --to tensorboard
night --to mlflow --follow"""
"""What may be typed after the command, one example per line."""


def main(
    name: Annotated[str, typer.Argument(help="of a search, or the folder of one", autocompletion=searches)],
    to: Annotated[
        Tool, typer.Option(metavar="TOOL", help="tensorboard, mlflow or wandb", autocompletion=one_of(*get_args(Tool)))
    ],
    into: Annotated[
        str | None,
        typer.Option(help="a folder, or MLflow's tracking URI [the search's folder/TOOL; MLflow's own settings]"),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="go on until the search has ended")] = False,
    results_dir: Annotated[Path, typer.Option(help="where the searches are")] = RESULTS_DIR,
    debug: Debug = False,
) -> None:
    """Hand a search's trials and retrains over to another tool, from its tables alone; what is there stays as it is."""
    # PyArrow takes half a second to import, for which --help need not wait.
    from tune_fmnist.reporting.export.hand_over import hand_over

    said = console(stderr=True).print
    target = hand_over(SearchPaths.of(name, results_dir), to, into, follow=follow, said=said)
    console().print(f"next: {target.view}")


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("export")
