"""``python -m tune_fmnist.retrain``: the best configurations, confirmed, then on all images, and the test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from tune_fmnist.cli import Debug, JsonLines, Quiet
from tune_fmnist.completion import searches
from tune_fmnist.help_page import machines, retrains, searched
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.retrain import run

EXAMPLES: Final = """\
night --retrain-seeds 10
night --top-k 3"""
"""What may be typed after the command, one example per line."""


def main(
    name: Annotated[str, typer.Argument(help="of a search, or the folder of one", autocompletion=searches)],
    model: Annotated[str | None, searched(help="MODULE:CLASS, if the network is your own")] = None,
    dataset: Annotated[str | None, searched(help="FOLDER or MODULE:FUNCTION, if the images are your own")] = None,
    confirm: Annotated[int | None, retrains(help="further trainings of each of the best [as before]")] = None,
    top_k: Annotated[int | None, retrains(help="how many of the best configurations [as before]")] = None,
    retrain_seeds: Annotated[int | None, retrains(help="seeds of each [as before]")] = None,
    data_root: Annotated[Path | None, searched(help="a torchvision data root [found or fetched]")] = None,
    cpus_per_trial: Annotated[float | None, machines(help="CPUs of one retrain [1]")] = None,
    gpus_per_trial: Annotated[float | None, machines(help="GPUs of one retrain, or a share of one [measured]")] = None,
    address: Annotated[str | None, machines(help="a running Ray cluster [start one here]")] = None,
    quiet: Quiet = False,
    json_lines: JsonLines = False,
    debug: Debug = False,
) -> None:
    """Confirm the best configurations of a search, retrain them on all training images, and test them."""
    options = Options.of(
        model=model,
        dataset=dataset,
        confirm=confirm,
        top_k=top_k,
        retrain_seeds=retrain_seeds,
        data_root=data_root,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        address=address,
    )
    run(SearchPaths.of(name).folder, options, Screen.of_command(quiet=quiet, json_lines=json_lines))


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("retrain")
