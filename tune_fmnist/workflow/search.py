"""A search from end to end: trials, confirmations, retrains, then the page."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from rich.console import Console

from tune_fmnist.base import provenance, signals
from tune_fmnist.base.errors import InputError, unknown
from tune_fmnist.base.files import is_full
from tune_fmnist.base.importing import given_as_itself
from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.base.vocabulary import SchedulerName, SearcherName
from tune_fmnist.data import source
from tune_fmnist.models.own import name_given
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.confirmation_table import read_confirmations
from tune_fmnist.store.retrain_tables import read_tables
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.own_space import to_toml
from tune_fmnist.workflow import interruption
from tune_fmnist.workflow.options import Options, python_names
from tune_fmnist.workflow.session import (
    Session,
    begins,
    check_outcome,
    open_new,
    open_resumed,
    present,
    record_utilisation,
    something_is_pending,
    tell_start,
)

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from torch import nn

    from tune_fmnist.reporting.results import Results


def search(
    model: str | type[nn.Module] | None = None,
    *,
    dataset: str | Path | Callable[[str], Any] | None = None,
    space: Path | str | Mapping[str, Any] | None = None,
    trials: int | None = None,
    max_epochs: int | None = None,
    time_budget: float | str | None = None,
    searcher: SearcherName | str | Callable[[int], BaseSampler] | None = None,
    scheduler: SchedulerName | None = None,
    grace: int | None = None,
    reduction_factor: int | None = None,
    audit: float | None = None,
    seed: int | None = None,
    split_seed: int | None = None,
    name: str | None = None,
    results_dir: Path | str = "results",
    data_root: Path | str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    max_concurrent: int | None = None,
    trial_timeout: float | str | None = None,
    address: str | None = None,
    storage: str | None = None,
    confirm: int | None = None,
    top_k: int | None = None,
    retrain_seeds: int | None = None,
    retrain: bool | None = None,
    limit_train: int | None = None,
    resume: bool = False,
    out: Console | None = None,
    **others: Never,
) -> Results:
    """Search a model's hyperparameters, confirm the best, retrain and test them, and leave tables and a page.

    Args:
        model: ``ann``, ``cnn``, or a network of your own: its class, or ``"MODULE:CLASS"``; a resumed search of ``ann``
            or ``cnn`` knows it.
        dataset: ``fashion-mnist``, ``mnist`` or ``kmnist``, or images of your own: a folder, a function, or
            ``"MODULE:FUNCTION"`` [fashion-mnist].
        space: a TOML file, or a dict of its content; the model's default space if None.
        trials: how many [ann 40, cnn 12, own 20].
        max_epochs: epochs of the longest trial [ann 27, cnn 5, own 9].
        time_budget: end the trials after so many seconds, or ``"90s"``, ``"10m"``, ``"2h"``; confirmations and retrains
            follow, and a resumed search has the one that it is given, counted anew.
        searcher: ``gp``, ``tpe`` or ``random``, or one of your own: a function that is given a seed and returns an
            Optuna sampler, or ``"MODULE:FUNCTION"`` [gp].
        scheduler: ``promotion`` lets poor trials wait until they are among the best so far, ``asha`` stops them,
            ``fifo`` does neither [promotion].
        grace: epochs before a trial can wait or be stopped [3].
        reduction_factor: of the trials that reach the same epoch, the best one in so many goes on [3].
        audit: share of the stopped trials that run on outside of the search, to tell how many were wrongly stopped [0].
        seed: of searcher, weights, order and dropout [0].
        split_seed: of the split, and of the images of ``limit_train`` [0].
        name: of the folder for the results [model and time].
        results_dir: where that folder is made.
        data_root: a torchvision data root [found or fetched].
        cpus_per_trial: CPUs of one trial [1].
        gpus_per_trial: GPUs of one trial, or a share of one [measured].
        max_concurrent: trials at once [all that fit].
        trial_timeout: give up a trial's epoch after this time, written as ``time_budget``.
        address: of a running Ray cluster [start one here].
        storage: a folder that all machines share, or ``s3://BUCKET/PREFIX``.
        confirm: train each candidate for the retrains so many times again, with other seeds [2].
        top_k: how many of the best configurations to retrain [1].
        retrain_seeds: seeds of each retrain [5].
        retrain: whether to confirm, retrain and test the best ones [True].
        limit_train: train and validate on so many images only.
        resume: go on with the search ``name``; with a ``model``, begin it if there is none.
        out: where progress and summary go [the standard error, and the standard output].

    Raises:
        InputError: a parameter, the space, the data or the results folder cannot be used.
        FailedError: all trials failed; it gives the most frequent reason.
        KeyboardInterrupt: interrupted; what had been reported is in the tables, and ``resume=True`` goes on.
    """
    with python_names():
        for name_of_other in others:
            raise unknown(name_of_other, [*Options.model_fields, "out"])
        options = Options.of(
            model=name_given(model),
            dataset=source.name_given(dataset),
            space=dict(space) if isinstance(space, Mapping) else space,
            trials=trials,
            max_epochs=max_epochs,
            time_budget=time_budget,
            searcher=given_as_itself(searcher) if callable(searcher) else searcher,
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
        command = provenance.call("search", options.model_dump(mode="json", exclude_defaults=True))
        return run(options, command, Screen.of(out))


def run(options: Options, command: str, screen: Screen) -> Results:
    """Search as ``search`` does, with checked options; ``command`` is what the record says of how it was started."""
    if options.resume and begins(options):
        # So that a job that may be started again is one command.
        options = options.model_copy(update={"resume": False})
    opened = open_resumed(options, screen) if options.resume else open_new(options, command, screen)
    try:
        with opened as session:
            return _run(session)
    except Exception as error:
        if not is_full(error):
            raise
        again = "go on with --resume" if options.resume else "go on with --resume, or begin again if no trial had begun"
        what = f"the disk is full; what was written is whole: make room, then {again}"
        raise OSError(errno.ENOSPC, what, str(options.results_dir)) from error


def _run(session: Session) -> Results:
    began = time.monotonic()
    record, paths, mirror = session.record, session.paths, session.mirror
    if session.options.resume and record.state == "finished" and not paths.trials.exists():
        raise InputError("table not found", file=paths.trials, hint="restore it or search again")
    trials = TrialTables(paths, record, mirror.discard if mirror else None)
    # What is wrong with the tables is found before anything is written or trained.
    read_tables(paths)
    read_confirmations(paths)
    left = record.trials - len(trials.trials) + len(trials.unfinished)
    try:
        _begin(session, trials, searches=left > 0)
        _compute(session, trials, left, began)
        signals.check()
    except KeyboardInterrupt:
        record.close(paths, "interrupted", time.monotonic() - began)
        interruption.tell_search(session, trials)
        raise
    except BaseException as error:
        # There may be no room to record that either.
        if not is_full(error):
            record.close(paths, "failed", time.monotonic() - began)
        raise
    if mirror:
        mirror.finish()
    shutil.rmtree(paths.checkpoints, ignore_errors=True)
    record.close(paths, "finished", time.monotonic() - began)
    return present(session)


def _begin(session: Session, trials: TrialTables, *, searches: bool) -> None:
    """Record that the search runs, and say what it is."""
    record, resumes = session.record, session.options.resume
    if resumes:
        record.resume(trials.last_report, searches=searches)
        if searches and record.scored_epochs is None:
            # Tables of an earlier release hold other scores.
            trials.publish(now=True)
            record.scored_epochs = SCORED_EPOCHS
    record.state, record.time_budget_seconds = "running", session.options.time_budget
    record.versions, record.hardware = provenance.versions(), provenance.hardware()
    record.git_commit = provenance.git_commit()
    record.write(session.paths)
    tell_start(session, "search", resumed=resumes)
    say = session.screen.progress.print
    say(
        f"{'resuming' if resumes else 'search'} {record.name}: {record.trials} trials of up to "
        f"{record.max_epochs} epochs, {record.searcher.name} and {record.scheduler.name}, seed {record.seed}"
    )
    if record.is_own and not resumes and session.options.space is None:
        say("searched, by the signature; change it with --space FILE, a file that begins so:")
        say(to_toml(session.space), markup=False, highlight=False, soft_wrap=True)
    searcher = record.searcher
    if searcher.name in ("tpe", "gp") and record.trials <= searcher.n_startup_trials:
        what = f"{searcher.name} draws by its model once {searcher.n_startup_trials} trials have told an epoch"
        session.screen.warnings.print(f"{what}: with {record.trials} trials, all are drawn at random")
    channels, height, width = record.input_shape
    form = f"{height} x {width}" + (f" x {channels}" if channels > 1 else "")
    sizes = f"{record.train_size:,} training and {record.validation_size:,} validation images"
    if record.has_own_images:
        sizes += f" of {form} pixels, {len(record.classes):,} classes"
    say(f"{sizes} ({session.source.origin})")


def _compute(session: Session, trials: TrialTables, left: int, began: float) -> None:
    """Run what has not been run: the ``left`` trials, the confirmations and the retrains."""
    plan = session.record.retrain_plan
    if left == 0:
        check_outcome(trials, session.paths)
    # Of a search without a trial there is nothing yet to choose from.
    if left > 0 or (plan.wanted and something_is_pending(session, plan)):
        # Ray and Optuna take two seconds to import: a mistake is told before.
        from tune_fmnist.workflow.compute import compute

        compute(session, trials, left, began)
    else:
        if session.mirror:
            session.mirror.begin()
        record_utilisation(session)
