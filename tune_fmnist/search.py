"""``python -m tune_fmnist.search``: the main job from end to end: search, retrain, test, tables, report."""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug
from tune_fmnist.data import fashion_mnist as data
from tune_fmnist.reporting.results import Results
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.mirror import Mirror
from tune_fmnist.store.paths import SearchPaths, is_full
from tune_fmnist.store.record import read_info
from tune_fmnist.workflow.options import RECORDED, Design, Plan

if TYPE_CHECKING:
    from rich.console import Console

    from tune_fmnist.runtime.slots import Placement
    from tune_fmnist.store.trial_tables import Ledger


class _Search(NamedTuple):
    """A search that is about to run: what is asked for, its record, its folders, and its images."""

    plan: Plan
    design: Design
    info: dict[str, Any]
    paths: SearchPaths
    mirror: Mirror | None
    source: data.Source
    images: data.Images
    split: data.Split
    out: Console


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
    from tune_fmnist.reporting import progress

    plan = Plan.of(model=model, **options)
    with ExitStack() as held:
        return _search(plan, held, out or progress.console())


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
        return _run(_Search(plan, design, info, paths, mirror, source, images, split, out))


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


def _run(search: _Search) -> Results:
    from tune_fmnist.store import record
    from tune_fmnist.store.retrain_tables import pending, read_tables
    from tune_fmnist.store.trial_tables import Ledger

    began = time.monotonic()
    design, paths, mirror = search.design, search.paths, search.mirror
    if search.info.get("state") == "finished" and not paths.trials.exists():
        raise InputError("there is no such table", file=paths.trials, mend="restore it or search again")
    ledger = Ledger(paths, search.info["search_id"], design.max_epochs, mirror.discard if mirror else None)
    # What is wrong with the tables is found before anything is written or trained.
    read_tables(paths)
    left = design.trials - len(ledger.trials) + len(ledger.running)
    # Of a search without a trial there is nothing yet to choose from.
    computes = left > 0 or (design.retrain and bool(pending(paths, top_k=design.top_k, seeds=design.retrain_seeds)))
    _begin(search, searches=left > 0)
    try:
        if computes:
            _compute(search, ledger, left, began)
        else:
            _record_utilisation(search)
    except KeyboardInterrupt:
        record.close(paths, "interrupted", time.monotonic() - began)
        search.out.print(
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
        record.close(paths, "failed", time.monotonic() - began)
        raise
    if mirror:
        mirror.finish()
    shutil.rmtree(paths.checkpoints, ignore_errors=True)
    record.close(paths, "finished", time.monotonic() - began)
    # The statistics take a second to import, which the first trial need not wait for.
    from tune_fmnist.report import report
    from tune_fmnist.reporting.summary import print_summary

    report(paths.folder)
    results = Results(paths)
    print_summary(results, search.out)
    return results


def _begin(search: _Search, *, searches: bool) -> None:
    """Record that the search runs, and say what it is."""
    from tune_fmnist.base import provenance
    from tune_fmnist.store import record

    info, design, split, origin = search.info, search.design, search.split, search.source.origin
    if search.plan.resume:
        record.take_up(info, Results(search.paths), searches=searches)
    else:
        info |= {
            "started_at": record.now(),
            "command": provenance.command(),
            "data": origin,
            "images": len(search.images.labels),
            "train_size": len(split.train.labels),
            "validation_size": len(split.validation.labels),
            "split_hash": split.hash,
        }
    budget = {"time_budget_seconds": search.plan.time_budget}
    info |= design.record() | {"state": "running"} | budget | provenance.record()
    record.write_info(search.paths, info)
    if search.mirror:
        search.mirror.begin()
    search.out.print(
        f"{'taking up' if search.plan.resume else 'search'} {info['name']}: {design.trials} trials of up to "
        f"{design.max_epochs} epochs, {design.searcher} and {design.scheduler}, seed {design.seed}"
    )
    sizes = f"{len(split.train.labels):,} training and {len(split.validation.labels):,} validation images"
    search.out.print(f"{sizes} ({origin})")


def _compute(search: _Search, ledger: Ledger, left: int, began: float) -> None:
    """Run the ``left`` trials that have not ended, then the retrains, on Ray."""
    from tune_fmnist.models.config import baseline
    from tune_fmnist.retrain import run_retrain
    from tune_fmnist.runtime.gpu_sharing import probe
    from tune_fmnist.runtime.slots import Slots, place, probe_storage, running_ray
    from tune_fmnist.store.record import write_info

    plan, design, info, paths, mirror = search.plan, search.design, search.info, search.paths, search.mirror
    with running_ray(plan.address):
        gpus = plan.gpus_per_trial
        if gpus is None and (measured := probe(baseline(design.model))):
            info["gpu_probe"] = measured._asdict()
            gpus = 1 / measured.trials
        # An autoscaler may start the nodes that are asked for.
        wait = plan.address is not None and plan.max_concurrent is not None
        placement = place(plan.cpus_per_trial, gpus, plan.max_concurrent, wait=wait)
        search.out.print(f"Ray: {placement}")
        if mirror or plan.address is not None:
            folder = mirror.folder if mirror else Folder.at(str(paths.folder))
            probe_storage(folder, "--storage" if mirror else "--results-dir")
        info |= {"placement": placement._asdict(), "startup_seconds": round(time.monotonic() - began, 1)}
        write_info(paths, info)
        if left > 0:
            _run_trials(search, ledger, placement, left)
        _record_utilisation(search)
        if design.retrain:
            run_retrain(
                paths,
                search.source,
                search.images,
                placement,
                Slots(placement, joined=plan.address is not None),
                top_k=design.top_k,
                seeds=design.retrain_seeds,
                out=search.out,
            )


def _run_trials(search: _Search, ledger: Ledger, placement: Placement, left: int) -> None:
    """Run the ``left`` trials that have not ended; record how long it took."""
    from tune_fmnist.reporting.progress import SearchDisplay
    from tune_fmnist.runtime.slots import Slots
    from tune_fmnist.runtime.trials import run_trials, training
    from tune_fmnist.store.record import write_info
    from tune_fmnist.tuning.scheduler import SCHEDULERS
    from tune_fmnist.tuning.searcher import OptunaSearcher

    plan, design, info, paths, mirror = search.plan, search.design, search.info, search.paths, search.mirror
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
    display = SearchDisplay(
        search.out, ledger, trials=design.trials, slots=placement.slots, time_budget=plan.time_budget
    )
    slots = Slots(placement, joined=plan.address is not None)
    checkpoints = mirror.checkpoints if mirror else Folder.at(str(paths.checkpoints))

    def step(ended: int | None) -> None:
        display.step(ended)
        if mirror:
            mirror.check()

    began = time.monotonic()
    try:
        with display.shown():
            run_trials(
                training(search.split, checkpoints, plan.trial_timeout),
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


def _record_utilisation(search: _Search) -> None:
    from tune_fmnist.store.record import utilisation, write_info

    if "utilisation" not in search.info:
        results = Results(search.paths)
        search.info.update(utilisation(search.info, results.trials, results.epochs))
        write_info(search.paths, search.info)


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
