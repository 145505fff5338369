"""``python -m tune_fmnist.search``: the main job from end to end: search, retrain, test, tables, page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, get_args

from tune_fmnist.base import provenance
from tune_fmnist.base.datasets import KNOWN
from tune_fmnist.base.vocabulary import MODELS, SEARCHERS, SchedulerName
from tune_fmnist.cli import Debug, JsonLines, Quiet
from tune_fmnist.completion import one_of, searches
from tune_fmnist.help_page import machines, method, output, retrains, searched
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.paths import RESULTS_DIR
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.search import run

EXAMPLES: Final = """\
--model cnn --name night
--resume --name night --trials 60
--model ann --trials 8 --limit-train 12000"""
"""What may be typed after the command, one example per line."""


def main(
    model: Annotated[
        str | None, searched(help="ann, cnn, or MODULE:CLASS of your own", autocompletion=one_of(*MODELS))
    ] = None,
    dataset: Annotated[
        str | None,
        searched(
            help="mnist, kmnist, FOLDER or MODULE:FUNCTION of your own [fashion-mnist]", autocompletion=one_of(*KNOWN)
        ),
    ] = None,
    space: Annotated[Path | None, searched(help="a search space [search_spaces/MODEL.toml]")] = None,
    trials: Annotated[int | None, method(help="configurations to try [ann 40, cnn 12, own 20]")] = None,
    max_epochs: Annotated[int | None, method(help="longest trial's epochs [ann 27, cnn 5, own 9]")] = None,
    time_budget: Annotated[str | None, method(help="end the trials after 90s, 10m or 2h")] = None,
    searcher: Annotated[
        str | None, method(help="gp, tpe, random or MODULE:FUNCTION [gp]", autocompletion=one_of(*SEARCHERS))
    ] = None,
    scheduler: Annotated[
        str | None,
        method(
            help="promotion (poor trials wait), asha (stop) or fifo [promotion]",
            autocompletion=one_of(*get_args(SchedulerName)),
        ),
    ] = None,
    grace: Annotated[int | None, method(help="epochs before a poor trial waits or stops [3]")] = None,
    reduction_factor: Annotated[int | None, method(help="one trial in so many goes on [3]")] = None,
    audit: Annotated[float | None, method(help="share of stopped trials that run on, unranked [0]")] = None,
    seed: Annotated[int | None, method(help="of searcher, weights, order and dropout [0]")] = None,
    split_seed: Annotated[int | None, searched(help="of the split, and of --limit-train's images [0]")] = None,
    name: Annotated[str | None, output(help="the results' folder [model and time]", autocompletion=searches)] = None,
    results_dir: Annotated[Path, output(help="where that folder is made")] = RESULTS_DIR,
    data_root: Annotated[Path | None, searched(help="a torchvision data root [found or fetched]")] = None,
    cpus_per_trial: Annotated[float | None, machines(help="CPUs of one trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, machines(help="GPUs of one trial, or a share of one [measured]")] = None,
    max_concurrent: Annotated[int | None, machines(help="trials at once [all that fit]")] = None,
    trial_timeout: Annotated[str | None, machines(help="give up an epoch after 90s, 10m or 2h")] = None,
    address: Annotated[str | None, machines(help="a running Ray cluster [start one here]")] = None,
    storage: Annotated[str | None, machines(help="a folder all machines share, or s3://BUCKET/PREFIX")] = None,
    confirm: Annotated[int | None, retrains(help="further trainings of each of the best [2]")] = None,
    top_k: Annotated[int | None, retrains(help="how many of the best configurations to retrain [1]")] = None,
    retrain_seeds: Annotated[int | None, retrains(help="seeds of each retrain [5]")] = None,
    retrain: Annotated[bool | None, retrains(help="confirm, retrain and test the best ones [yes]")] = None,
    limit_train: Annotated[int | None, searched(help="use only so many images, for a quick look")] = None,
    resume: Annotated[bool, output("--resume", help="go on with --name, or with --model begin it")] = False,
    quiet: Quiet = False,
    json_lines: JsonLines = False,
    debug: Debug = False,
) -> None:
    """Search a model's hyperparameters, retrain the best ones, test them, and write tables."""
    options = Options.of(
        model=model,
        dataset=dataset,
        space=space,
        trials=trials,
        max_epochs=max_epochs,
        time_budget=time_budget,
        searcher=searcher,
        scheduler=scheduler,
        grace=grace,
        reduction_factor=reduction_factor,
        audit=audit,
        seed=seed,
        split_seed=split_seed,
        name=name,
        results_dir=results_dir,
        data_root=data_root,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        max_concurrent=max_concurrent,
        trial_timeout=trial_timeout,
        address=address,
        storage=storage,
        confirm=confirm,
        top_k=top_k,
        retrain_seeds=retrain_seeds,
        retrain=retrain,
        limit_train=limit_train,
        resume=resume,
    )
    run(options, provenance.command(), Screen.of_command(quiet=quiet, json_lines=json_lines))


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("search")
