"""``python -m tune_fmnist.search``: the main job from end to end: search, retrain, test, tables, report."""

from __future__ import annotations

import re
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tune_fmnist import data
from tune_fmnist.cli import Debug
from tune_fmnist.errors import InputError
from tune_fmnist.names import COMPLETED, ModelName, SchedulerName, SearcherName
from tune_fmnist.paths import SearchPaths, default_space
from tune_fmnist.results import Results, read_info, write_info
from tune_fmnist.space import Space, read_space, to_json

if TYPE_CHECKING:
    from rich.console import Console


DEFAULT_SIZE: dict[str, tuple[int, int]] = {"ann": (40, 27), "cnn": (12, 6)}
"""Trials and epochs of a search of about ten minutes on two cores, the retrains included."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(value: Any) -> Any:
    """Return ``90``, ``"90"``, ``"90s"``, ``"10m"`` or ``"1.5h"`` as seconds."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    return value


class Plan(BaseModel):
    """The options of a search, checked; the names are those of the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: ModelName
    space: Path | None = None
    trials: int | None = Field(default=None, ge=1)
    max_epochs: int | None = Field(default=None, ge=1, le=1000)
    time_budget: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_seconds)] = None
    searcher: SearcherName = "tpe"
    scheduler: SchedulerName = "asha"
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    name: str | None = None
    results_dir: Path = Path("results")
    data_root: Path | None = None
    cpus_per_trial: float | None = Field(default=None, gt=0)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    max_concurrent: int | None = Field(default=None, ge=1)
    address: str | None = None
    top_k: int = Field(default=3, ge=1)
    retrain_seeds: int = Field(default=3, ge=1)
    retrain: bool = True
    limit_train: int | None = Field(default=None, ge=1)

    @classmethod
    def of(cls, **options: Any) -> Plan:
        """Check options; raise ``InputError`` naming the first bad one and its value."""
        try:
            return cls(**options)
        except ValidationError as error:
            first = error.errors()[0]
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise InputError(f"{first['input']!r} is refused", key=option, mend=first["msg"].lower()) from None

    @property
    def size(self) -> tuple[int, int]:
        """Trials and the most epochs of one."""
        trials, max_epochs = DEFAULT_SIZE[self.model]
        return self.trials or trials, self.max_epochs or max_epochs


def search(model: str, *, out: Console | None = None, **options: Any) -> Results:
    """Search, retrain the best configurations, test them, and leave tables and a report.

    Args:
        model: ``ann`` or ``cnn``.
        out: where progress goes; the standard output if None.
        options: the fields of ``Plan``, which are the options of the command.

    Raises:
        InputError: an option, the space, the data or the results folder cannot be used.
        KeyboardInterrupt: interrupted; what had been reported is in the tables.
    """
    from tune_fmnist import screen

    plan = Plan.of(model=model, **options)
    out = out or screen.console()
    space_file = plan.space or default_space(plan.model)
    space = read_space(space_file)
    if space.model != plan.model:
        raise InputError(
            f"{space.model!r} is not {plan.model!r}", file=space_file, key="model", mend="give the --model of the space"
        )
    trials, max_epochs = plan.size
    name = plan.name or f"{plan.model}-{datetime.now():%Y%m%d-%H%M%S}"
    paths = SearchPaths.named(plan.results_dir, name)
    source = data.locate(plan.data_root, out.print)
    images = data.limited(data.read_training(source), plan.limit_train, plan.seed)
    split = data.split(images, plan.seed)
    _create(paths)
    return _run(plan, space, paths, source, images, split, out, trials=trials, max_epochs=max_epochs)


def _create(paths: SearchPaths) -> None:
    try:
        paths.folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            f"{paths.folder.name!r} exists already", file=paths.folder, key="--name", mend="use another, or remove it"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror})", file=paths.folder, key="--results-dir", mend="use another"
        ) from None


def _run(
    plan: Plan,
    space: Space,
    paths: SearchPaths,
    source: data.Source,
    images: data.Images,
    split: data.Split,
    out: Console,
    *,
    trials: int,
    max_epochs: int,
) -> Results:
    from tune_fmnist import engine, environment, screen
    from tune_fmnist.ledger import Ledger
    from tune_fmnist.report import report
    from tune_fmnist.retrain import run_retrain
    from tune_fmnist.scheduler import GRACE_EPOCHS, REDUCTION_FACTOR, SCHEDULERS
    from tune_fmnist.searcher import SAMPLER_ARGUMENTS, OptunaSearcher
    from tune_fmnist.summary import print_summary

    began = time.monotonic()
    search_id = uuid.uuid4().hex[:8]
    info: dict[str, Any] = {
        "name": paths.folder.name,
        "search_id": search_id,
        "state": "running",
        "model": plan.model,
        "command": environment.command(),
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": plan.seed,
        "trials": trials,
        "max_epochs": max_epochs,
        "time_budget_seconds": plan.time_budget,
        "searcher": {"name": plan.searcher, **SAMPLER_ARGUMENTS[plan.searcher]},
        "scheduler": {"name": plan.scheduler}
        | ({"grace": GRACE_EPOCHS, "reduction_factor": REDUCTION_FACTOR} if plan.scheduler == "asha" else {}),
        "space": to_json(space),
        "data": source.origin,
        "limit_train": plan.limit_train,
        "images": len(images.labels),
        "train_size": len(split.train.labels),
        "validation_size": len(split.validation.labels),
        "split_hash": split.hash,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "git_commit": environment.git_commit(),
    }
    write_info(paths, info)
    out.print(
        f"search {paths.folder.name}: {trials} trials of up to {max_epochs} epochs, "
        f"{plan.searcher} and {plan.scheduler}, seed {plan.seed}"
    )
    out.print(
        f"{len(split.train.labels):,} training and {len(split.validation.labels):,} validation images ({source.origin})"
    )
    ledger = Ledger(paths, search_id, max_epochs)
    try:
        with engine.running_ray(plan.address):
            placement = engine.place(plan.cpus_per_trial, plan.gpus_per_trial, plan.max_concurrent)
            out.print(f"Ray: {placement}")
            display = screen.SearchDisplay(
                out, ledger, trials=trials, slots=placement.slots, time_budget=plan.time_budget
            )
            searcher = OptunaSearcher(
                space,
                plan.searcher,
                seed=plan.seed,
                max_epochs=max_epochs,
                journal=paths.journal,
                name=f"{paths.folder.name}-{search_id}",
            )
            searching = time.monotonic()
            with display.shown():
                engine.run_trials(
                    engine.training(split),
                    searcher,
                    SCHEDULERS[plan.scheduler](max_epochs),
                    ledger,
                    placement,
                    trials=trials,
                    time_budget=plan.time_budget,
                    on_step=display.step,
                )
            searched = time.monotonic()
            info |= {
                "placement": placement._asdict(),
                "startup_seconds": round(searching - began, 1),
                "search_seconds": round(searched - searching, 1),
                **_utilisation(paths, placement.slots, searched - searching),
            }
            write_info(paths, info)
            if plan.retrain and not any(trial["status"] == COMPLETED for trial in ledger.trials.values()):
                out.print("no trial reached the last epoch; the retrains take the best epochs there are")
            if plan.retrain:
                run_retrain(paths, source, images, placement, top_k=plan.top_k, seeds=plan.retrain_seeds, out=out)
    except KeyboardInterrupt:
        _close(paths, "interrupted", began)
        out.print(f"interrupted; the tables in {paths.folder} hold {len(ledger.trials)} trials, {ledger.epochs} epochs")
        raise
    except BaseException:
        _close(paths, "failed", began)
        raise
    _close(paths, "finished", began)
    report(paths.folder)
    results = Results(paths)
    print_summary(results, out)
    return results


def _close(paths: SearchPaths, state: str, began: float) -> None:
    write_info(
        paths,
        read_info(paths)
        | {
            "state": state,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - began, 1),
        },
    )


def _utilisation(paths: SearchPaths, slots: int, wall: float) -> dict[str, float]:
    """Return training and evaluation seconds over slots x wall seconds: over the search, and until the last start."""
    results = Results(paths)
    epochs, trials = results.epochs, results.trials
    busy = epochs["train_seconds"] + epochs["eval_seconds"]
    last_start = trials["started_at"].max()
    first_start = trials["started_at"].min()
    window = (last_start - first_start).total_seconds()
    # An epoch that straddles the last start counts by the share of it that lies before.
    after = (epochs["reported_at"] - last_start).dt.total_seconds().clip(lower=0.0)
    before = (busy - after).clip(lower=0.0).sum()
    return {
        "utilisation": round(float(busy.sum() / (slots * wall)), 4),
        "utilisation_while_trials_wait": round(float(before / (slots * window)), 4) if window > 0 else float("nan"),
    }


def main(
    model: Annotated[str, typer.Option(help="ann or cnn")],
    space: Annotated[Path | None, typer.Option(help="a search space [search_spaces/MODEL.toml]")] = None,
    trials: Annotated[int | None, typer.Option(help="how many [ann 40, cnn 12]")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="epochs of the longest trial [ann 27, cnn 6]")] = None,
    time_budget: Annotated[str | None, typer.Option(help="end the search after 90s, 10m or 2h")] = None,
    searcher: Annotated[str, typer.Option(help="tpe, gp or random")] = "tpe",
    scheduler: Annotated[str, typer.Option(help="asha or fifo")] = "asha",
    seed: Annotated[int, typer.Option(help="seeds split, weights, order and searcher")] = 0,
    name: Annotated[str | None, typer.Option(help="the results' folder [model and time]")] = None,
    results_dir: Annotated[Path, typer.Option(help="where that folder is made")] = Path("results"),
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root [found or fetched]")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs of a trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of a trial, or a share of one")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="trials at once [all that fit]")] = None,
    address: Annotated[str | None, typer.Option(help="a running Ray cluster [start one here]")] = None,
    top_k: Annotated[int, typer.Option(help="how many of the best configurations to retrain")] = 3,
    retrain_seeds: Annotated[int, typer.Option(help="seeds of each retrain")] = 3,
    retrain: Annotated[bool, typer.Option(help="retrain and test the best ones")] = True,
    limit_train: Annotated[int | None, typer.Option(help="a quick look on this many images")] = None,
    debug: Debug = False,
) -> None:
    """Search a model's hyperparameters on Fashion-MNIST, retrain the best ones, test them, and write tables."""
    options = dict(locals())
    del options["debug"], options["model"]
    search(model, **options)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("search")
