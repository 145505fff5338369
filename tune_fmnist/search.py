"""``python -m tune_fmnist.search``: the main job from end to end: search, retrain, test, tables, report."""

from __future__ import annotations

import errno
import math
import os
import shutil
import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tune_fmnist import data
from tune_fmnist.cli import Debug
from tune_fmnist.errors import InputError
from tune_fmnist.lock import only_writer
from tune_fmnist.mirror import Mirror
from tune_fmnist.paths import SearchPaths, is_full
from tune_fmnist.plan import RECORDED, Design, Plan
from tune_fmnist.results import Results, read_info, utilisation_while_trials_wait, write_info
from tune_fmnist.storage import Folder

if TYPE_CHECKING:
    from rich.console import Console

    from tune_fmnist.ledger import Ledger
    from tune_fmnist.slots import Placement


def search(model: str | None = None, *, out: Console | None = None, **options: Any) -> Results:
    """Search, retrain the best configurations, test them, and leave tables and a report.

    Args:
        model: ``ann`` or ``cnn``; a search that is taken up knows it.
        out: where progress goes; the standard output if None.
        options: the fields of ``Plan``, which are the options of the command.

    Raises:
        InputError: an option, the space, the data or the results folder cannot be used.
        KeyboardInterrupt: interrupted; what had been reported is in the tables, and ``resume=True`` goes on.
    """
    from tune_fmnist import screen

    plan = Plan.of(model=model, **options)
    with ExitStack() as held:
        return _search(plan, held, out or screen.console())


def _search(plan: Plan, held: ExitStack, out: Console) -> Results:
    """Search; the storage, where there is one, is ``held`` until all has been copied there."""
    if plan.resume:
        if plan.name is None:
            raise InputError("which search?", key="--resume", mend="give its --name")
        paths = SearchPaths.named(plan.results_dir, plan.name)
        mirror = _mirror(plan.storage or _recorded_storage(paths), paths, held)
        if mirror:
            mirror.fetch()
        info = read_info(paths, *RECORDED)
        design = Design.recorded(info, plan, paths.search)
    else:
        design = Design.new(plan)
        name = f"{design.model}-{datetime.now():%Y%m%d-%H%M%S}" if plan.name is None else plan.name
        paths = SearchPaths.named(plan.results_dir, name)
        mirror = _mirror(plan.storage, paths, held)
        if mirror and mirror.exists():
            what, mend = f"{name!r} exists already", "use another, or --resume"
            raise InputError(what, file=str(mirror.folder), key="--name", mend=mend)
        info = {"name": name, "search_id": uuid.uuid4().hex[:8], "search_seconds": 0.0, "resumed_at": []}
    info["storage"] = str(mirror.storage) if mirror else None
    source = data.locate(plan.data_root, out.print)
    images = data.limited(data.read_training(source), design.limit_train, design.seed)
    split = data.split(images, design.seed)
    if design.retrain:
        # The test set is proven now, for it is read only when the search is over.
        data.verify(source)
    if not plan.resume:
        _create(paths)
    elif split.hash != info["split_hash"]:
        raise InputError(
            f"{info['split_hash']!r} is not the {split.hash!r} of {source.folder}",
            file=paths.search,
            key="split_hash",
            mend="give the --data-root it ran on",
        )
    with only_writer(paths):
        return _run(plan, design, info, paths, mirror, source, images, split, out)


def _recorded_storage(paths: SearchPaths) -> str | None:
    return read_info(paths).get("storage") if paths.search.exists() else None


def _mirror(storage: str | None, paths: SearchPaths, held: ExitStack) -> Mirror | None:
    return held.enter_context(Mirror(paths, Folder.at(storage)).held()) if storage else None


def _create(paths: SearchPaths) -> None:
    begun = paths.search.exists() or paths.trials.exists()
    try:
        # Whoever was killed before the record was written left a lock, and nothing to take up.
        paths.folder.mkdir(parents=True, exist_ok=paths.lock.exists() and not begun)
    except OSError as error:
        # Where a link leads nowhere, it is the folder above that exists already.
        if os.path.lexists(paths.folder):
            raise InputError(
                f"{paths.folder.name!r} exists already",
                file=paths.folder,
                key="--name",
                mend="use another, or --resume",
            ) from None
        raise InputError(
            f"cannot be made ({error.strerror})", file=paths.folder, key="--results-dir", mend="use another"
        ) from None


def _run(
    plan: Plan,
    design: Design,
    info: dict[str, Any],
    paths: SearchPaths,
    mirror: Mirror | None,
    source: data.Source,
    images: data.Images,
    split: data.Split,
    out: Console,
) -> Results:
    from tune_fmnist import environment
    from tune_fmnist.config import baseline
    from tune_fmnist.ledger import Ledger
    from tune_fmnist.probe import probe
    from tune_fmnist.report import report
    from tune_fmnist.retrain import run_retrain
    from tune_fmnist.retrains import pending, read_tables
    from tune_fmnist.slots import Slots, place, probe_storage, running_ray
    from tune_fmnist.summary import print_summary

    began = time.monotonic()
    if info.get("state") == "finished" and not paths.trials.exists():
        raise InputError("there is no such table", file=paths.trials, mend="restore it or search again")
    ledger = Ledger(paths, info["search_id"], design.max_epochs, mirror.discard if mirror else None)
    left = design.trials - len(ledger.trials) + len(ledger.running)
    retrains = {"top_k": design.top_k, "seeds": design.retrain_seeds}
    # What is wrong with the tables is found before anything is written or trained.
    read_tables(paths)
    needs_ray = left > 0 or (design.retrain and bool(pending(paths, **retrains)))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if plan.resume:
        lost = _lost_seconds(info, paths)
        info["search_seconds"] += lost
        if "slot_seconds" in info:
            info["slot_seconds"] += lost * info["placement"]["slots"]
        info["resumed_at"].append(now)
        if left > 0:
            info.pop("utilisation", None)
    else:
        info |= {
            "started_at": now,
            "command": environment.command(),
            "data": source.origin,
            "images": len(images.labels),
            "train_size": len(split.train.labels),
            "validation_size": len(split.validation.labels),
            "split_hash": split.hash,
        }
    info |= design.record() | {
        "state": "running",
        "time_budget_seconds": plan.time_budget,
        **environment.record(),
    }
    write_info(paths, info)
    if mirror:
        mirror.begin()
    out.print(
        f"{'taking up' if plan.resume else 'search'} {info['name']}: {design.trials} trials of up to "
        f"{design.max_epochs} epochs, {design.searcher} and {design.scheduler}, seed {design.seed}"
    )
    sizes = f"{len(split.train.labels):,} training and {len(split.validation.labels):,} validation images"
    out.print(f"{sizes} ({source.origin})")
    try:
        if needs_ray:
            with running_ray(plan.address):
                gpus = plan.gpus_per_trial
                if gpus is None and (measured := probe(baseline(design.model))):
                    info["gpu_probe"] = measured._asdict()
                    gpus = 1 / measured.trials
                placement = place(plan.cpus_per_trial, gpus, plan.max_concurrent, wait=_waits(plan))
                out.print(f"Ray: {placement}")
                if mirror or placement.nodes > 1:
                    probe_storage(
                        mirror.folder if mirror else Folder.at(str(paths.folder)),
                        "--storage" if mirror else "--results-dir",
                    )
                info |= {"placement": placement._asdict(), "startup_seconds": round(time.monotonic() - began, 1)}
                write_info(paths, info)
                if left > 0:
                    _run_trials(plan, design, info, paths, mirror, split, ledger, placement, left, out)
                _record_utilisation(info, paths)
                if design.retrain:
                    slots = Slots(placement, joined=plan.address is not None)
                    run_retrain(paths, source, images, placement, slots, **retrains, out=out)
        else:
            _record_utilisation(info, paths)
    except KeyboardInterrupt:
        _close(paths, "interrupted", began)
        out.print(
            f"interrupted; the tables in {paths.folder} hold {len(ledger.trials)} trials and {ledger.epochs} epochs; "
            f"go on with: python -m tune_fmnist.search --resume --results-dir {paths.folder.parent} "
            f"--name {paths.folder.name}"
        )
        raise
    except BaseException as error:
        if is_full(error):
            # There is no room to record that either.
            what = "the disk is full; what was written is whole: make room, then go on with --resume"
            raise OSError(errno.ENOSPC, what, str(paths.folder)) from error
        _close(paths, "failed", began)
        raise
    if mirror:
        mirror.finish()
    shutil.rmtree(paths.checkpoints, ignore_errors=True)
    _close(paths, "finished", began)
    report(paths.folder)
    results = Results(paths)
    print_summary(results, out)
    return results


def _waits(plan: Plan) -> bool:
    """Return whether an autoscaler may start the nodes that are asked for."""
    return plan.address is not None and plan.max_concurrent is not None


def _run_trials(
    plan: Plan,
    design: Design,
    info: dict[str, Any],
    paths: SearchPaths,
    mirror: Mirror | None,
    split: data.Split,
    ledger: Ledger,
    placement: Placement,
    left: int,
    out: Console,
) -> None:
    """Run the ``left`` trials that have not ended; record how long it took."""
    from tune_fmnist import screen
    from tune_fmnist.engine import run_trials, training
    from tune_fmnist.scheduler import SCHEDULERS
    from tune_fmnist.searcher import OptunaSearcher
    from tune_fmnist.slots import Slots

    searcher = OptunaSearcher(
        design.space,
        design.searcher,
        seed=design.seed,
        max_epochs=design.max_epochs,
        journal=paths.journal,
        name=f"{info['name']}-{info['search_id']}",
    )
    scheduler = SCHEDULERS[design.scheduler](design.max_epochs)
    if plan.resume:
        searcher.take_up(ledger.trials)
        scheduler.take_up(ledger.reported())
    display = screen.SearchDisplay(
        out, ledger, trials=design.trials, slots=placement.slots, time_budget=plan.time_budget
    )
    slots = Slots(placement, joined=plan.address is not None)

    def step(ended: int | None) -> None:
        display.step(ended)
        if mirror:
            mirror.check()

    began = time.monotonic()
    try:
        with display.shown():
            run_trials(
                training(
                    split, mirror.checkpoints if mirror else Folder.at(str(paths.checkpoints)), plan.trial_timeout
                ),
                searcher,
                scheduler,
                ledger,
                placement,
                trials=left,
                time_budget=plan.time_budget,
                timeout=plan.trial_timeout,
                slots=slots,
                on_step=step,
            )
    finally:
        before = info.get("slot_seconds", placement.slots * info["search_seconds"])
        info["slot_seconds"] = round(before + slots.seconds, 1)
        info["search_seconds"] = round(info["search_seconds"] + time.monotonic() - began, 1)
        write_info(paths, info)


def _close(paths: SearchPaths, state: str, began: float) -> None:
    info = read_info(paths)
    info |= {
        "state": state,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(info.get("wall_seconds", 0.0) + time.monotonic() - began, 1),
    }
    write_info(paths, info)


def _lost_seconds(info: dict[str, Any], paths: SearchPaths) -> float:
    """Return how long the last run searched, up to its last epoch, if it was killed before it could record that."""
    if info["state"] != "running" or not paths.epochs.exists():
        return 0.0
    began = datetime.fromisoformat([info["started_at"], *info["resumed_at"]][-1])
    last = Results(paths).epochs["reported_at"].max()
    return max(0.0, round(float((last - began).total_seconds()), 1))


def _record_utilisation(info: dict[str, Any], paths: SearchPaths) -> None:
    """Record training and evaluation seconds over slots x wall seconds: over the search, and until the last start.

    The second is None for a search that was interrupted: its starts lie on both sides of a gap.
    """
    if "utilisation" in info:
        return
    results = Results(paths)
    slot_seconds = info.get("slot_seconds", info["placement"]["slots"] * info["search_seconds"])
    # Nodes may have come and gone: their mean.
    slots = slot_seconds / info["search_seconds"]
    epochs, trials = results.epochs, results.trials
    busy = epochs["train_seconds"] + epochs["eval_seconds"]
    first = trials["started_at"].min()
    starts, ends = ((when - first).dt.total_seconds() for when in (trials["started_at"], epochs["reported_at"]))
    waited = utilisation_while_trials_wait(starts, ends, busy, slots)
    info["utilisation"] = round(float(busy.sum() / slot_seconds), 4)
    info["utilisation_while_trials_wait"] = None if info["resumed_at"] or math.isnan(waited) else round(waited, 4)
    write_info(paths, info)


def main(
    model: Annotated[str | None, typer.Option(help="ann or cnn")] = None,
    space: Annotated[Path | None, typer.Option(help="a search space [search_spaces/MODEL.toml]")] = None,
    trials: Annotated[int | None, typer.Option(help="how many [ann 40, cnn 12]")] = None,
    max_epochs: Annotated[int | None, typer.Option(help="epochs of the longest trial [ann 27, cnn 5]")] = None,
    time_budget: Annotated[str | None, typer.Option(help="end the search after 90s, 10m or 2h")] = None,
    searcher: Annotated[str | None, typer.Option(help="tpe, gp or random [tpe]")] = None,
    scheduler: Annotated[str | None, typer.Option(help="asha or fifo [asha]")] = None,
    seed: Annotated[int | None, typer.Option(help="seeds split, weights, order and searcher [0]")] = None,
    name: Annotated[str | None, typer.Option(help="the results' folder [model and time]")] = None,
    results_dir: Annotated[Path, typer.Option(help="where that folder is made")] = Path("results"),
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root [found or fetched]")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs of a trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of a trial, or a share of one")] = None,
    max_concurrent: Annotated[int | None, typer.Option(help="trials at once [all that fit]")] = None,
    trial_timeout: Annotated[str | None, typer.Option(help="give up an epoch after 90s, 10m or 2h")] = None,
    address: Annotated[str | None, typer.Option(help="a running Ray cluster [start one here]")] = None,
    storage: Annotated[str | None, typer.Option(help="a folder all machines share, or s3://BUCKET/PREFIX")] = None,
    top_k: Annotated[int | None, typer.Option(help="how many of the best configurations to retrain [3]")] = None,
    retrain_seeds: Annotated[int | None, typer.Option(help="seeds of each retrain [3]")] = None,
    retrain: Annotated[bool | None, typer.Option(help="retrain and test the best ones [yes]")] = None,
    limit_train: Annotated[int | None, typer.Option(help="a quick look on this many images")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where the search --name stopped")] = False,
    debug: Debug = False,
) -> None:
    """Search a model's hyperparameters on Fashion-MNIST, retrain the best ones, test them, and write tables."""
    options = dict(locals())
    del options["debug"], options["model"]
    search(model, **options)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("search")
