"""One open search: its folder and lock, record, storage and images, and what it leaves at its end."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import shorten
from typing import Literal

from tune_fmnist import data
from tune_fmnist.base import signals
from tune_fmnist.base.errors import FailedError, InputError
from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.base.vocabulary import FAILED
from tune_fmnist.data.source import class_names
from tune_fmnist.reporting.events import Started
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.reporting.utilisation import utilisation
from tune_fmnist.runtime import preflight
from tune_fmnist.store import tables
from tune_fmnist.store.confirmation_table import ConfirmationTable
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.leftovers import only_leftovers, remove_leftovers
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.mirror import Mirror
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import RetrainPlan, SearchRecord, now
from tune_fmnist.store.retrain_tables import RetrainTables
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.selection import choose, confirmations
from tune_fmnist.tuning.space import Space
from tune_fmnist.workflow.images import images_of, prove_test, same_images, try_network
from tune_fmnist.workflow.options import Options, new_settings, recorded_space, resume_settings, resumed_name


@dataclass
class Session:
    """A search that this process alone writes.

    Attributes:
        options: what is asked for now.
        record: ``search.json``; not on the disk yet if the search is new.
        space: where configurations come from.
        paths: its files on this machine.
        mirror: its folder on a storage, None without one.
        source: where its images were found.
        images: all of its training images.
        split: the same, divided into training and validation.
        screen: where its words go.
    """

    options: Options
    record: SearchRecord
    space: Space
    paths: SearchPaths
    mirror: Mirror | None
    source: data.Source
    images: data.Images
    split: data.Split
    screen: Screen


@contextmanager
def open_new(options: Options, command: str, screen: Screen) -> Iterator[Session]:
    """Open a new search in a folder that is made for it.

    Args:
        options: what is asked for.
        command: what the record says about how the search was started.
        screen: where its words go.

    Raises:
        InputError: an option, the space, the data, the folder or the storage cannot be used.
    """
    settings, space = new_settings(options)
    name = f"{settings.model}-{datetime.now():%Y%m%d-%H%M%S}" if options.name is None else options.name
    paths = SearchPaths.named(options.results_dir, name)
    preflight.check(options.address, options.cpus_per_trial, options.gpus_per_trial)
    with ExitStack() as held:
        # The storage is held until all has been copied there.
        mirror = _mirror(options.storage, paths)
        if mirror:
            held.enter_context(mirror.held())
        if mirror and mirror.exists():
            what, hint = f"{name!r} exists already", "use another, or --resume"
            raise InputError(what, file=str(mirror.folder), key="--name", hint=hint)
        source, images = images_of(options, settings.limit_train, settings.images_seed, screen)
        split = data.split(images, settings.images_seed)
        try_network(settings.model, split)
        # The test set is proven now, for it is read only when the search is over.
        test_hash = source.test_hash(images.shape) if settings.retrain_plan.wanted else None
        held.enter_context(signals.obeyed_between_steps())
        _create(paths)
        held.enter_context(only_writer(paths))
        if not remove_leftovers(paths):
            raise _taken(paths)
        record = SearchRecord(
            **settings.model_dump(),
            name=name,
            search_id=uuid.uuid4().hex[:8],
            state="running",
            command=command,
            started_at=now(),
            dataset=source.dataset,
            data=source.origin,
            input_shape=list(images.shape.input_shape),
            classes=list(class_names(source, images)),
            test_hash=test_hash,
            images=len(images.labels),
            train_size=len(split.train.labels),
            validation_size=len(split.validation.labels),
            split_hash=split.hash,
            scored_epochs=SCORED_EPOCHS,
            storage=str(mirror.storage) if mirror else None,
        )
        yield Session(options, record, space, paths, mirror, source, images, split, screen)


def begins(options: Options) -> bool:
    """Return whether ``--resume`` begins a search: it has a model, and no search of its name is here or on the storage.

    Raises:
        InputError: the name or the storage cannot be used.
    """
    if options.model is None or options.name is None:
        return False
    paths = SearchPaths.named(options.results_dir, options.name)
    mirror = _mirror(options.storage, paths)
    return not paths.search.exists() and not (mirror and mirror.exists())


@contextmanager
def open_resumed(options: Options, screen: Screen) -> Iterator[Session]:
    """Open a search that was interrupted or finished, to go on with it.

    Raises:
        InputError: it is not there, cannot be read, contradicts the options, or another process writes it.
    """
    paths = SearchPaths.named(options.results_dir, resumed_name(options))
    preflight.check(options.address, options.cpus_per_trial, options.gpus_per_trial)
    storage = options.storage
    if storage is None and paths.search.exists():
        storage = SearchRecord.read(paths).storage
    with ExitStack() as held:
        mirror = _mirror(storage, paths)
        _fetch(mirror, held)
        SearchRecord.read(paths)
        held.enter_context(signals.obeyed_between_steps())
        held.enter_context(only_writer(paths))
        # Whoever held it until now may have changed it.
        record = SearchRecord.read(paths)
        space = resume_settings(options, record, paths.search)
        record.storage = str(mirror.storage) if mirror else None
        source, images, split = same_images(options, record, paths.search, screen)
        try_network(record.model, split)
        if record.retrain_plan.wanted:
            prove_test(source, images, record, paths.search)
        yield Session(options, record, space, paths, mirror, source, images, split, screen)


@contextmanager
def open_existing(folder: Path, options: Options, screen: Screen) -> Iterator[Session]:
    """Open a search in its folder, and on its storage if it has one, to retrain its best configurations.

    Raises:
        InputError: the folder holds no search, the data is not what it ran on, or another process writes it.
    """
    paths = SearchPaths(folder)
    preflight.check(options.address, options.cpus_per_trial, options.gpus_per_trial)
    record = SearchRecord.read(paths)
    with ExitStack() as held:
        mirror = _mirror(record.storage, paths, record.name)
        _fetch(mirror, held)
        held.enter_context(signals.obeyed_between_steps())
        held.enter_context(only_writer(paths))
        # Whoever held it until now may have changed it.
        record = SearchRecord.read(paths)
        space = recorded_space(options, record, paths.search)
        source, images, split = same_images(options, record, paths.search, screen)
        try_network(record.model, split)
        prove_test(source, images, record, paths.search)
        yield Session(options, record, space, paths, mirror, source, images, split, screen)


def _mirror(storage: str | None, paths: SearchPaths, name: str | None = None) -> Mirror | None:
    """Return the search's folder on a storage, which nothing is written to yet; None without a storage."""
    if not storage:
        return None
    mirror = Mirror(paths, Folder.at(storage), name)
    if mirror.folder.same(paths.folder):
        what = f"invalid value {storage!r}: is the folder of the results themselves"
        raise InputError(what, key="--storage", hint="leave it out, or name another folder")
    return mirror


def _fetch(mirror: Mirror | None, held: ExitStack) -> None:
    """Hold a search on its storage, if it has one, and bring what is newer there here."""
    if mirror:
        mirror.find()
        held.enter_context(mirror.held())
        mirror.fetch()


def _create(paths: SearchPaths) -> None:
    try:
        paths.folder.mkdir(parents=True, exist_ok=only_leftovers(paths))
    except OSError as error:
        # Where a link leads nowhere, it is the folder above that exists already.
        if os.path.lexists(paths.folder):
            raise _taken(paths) from None
        what = f"cannot be made ({error.strerror})"
        raise InputError(what, file=paths.folder, key="--results-dir", hint="use another") from None


def _taken(paths: SearchPaths) -> InputError:
    what, hint = f"{paths.folder.name!r} exists already", "use another, or --resume"
    return InputError(what, file=paths.folder, key="--name", hint=hint)


def tell_start(session: Session, command: Literal["search", "retrain"], *, resumed: bool) -> None:
    """Tell the event that a command begins."""
    record = session.record
    session.screen.tell(
        Started(
            command=command,
            name=record.name,
            folder=session.paths.folder.absolute(),
            search_id=record.search_id,
            resumed=resumed,
            model=record.model,
            dataset=record.dataset,
            trials=record.trials,
            max_epochs=record.max_epochs,
            searcher=record.searcher.name,
            scheduler=record.scheduler.name,
            seed=record.seed,
        )
    )


def check_outcome(trials: TrialTables, paths: SearchPaths) -> None:
    """See that not every trial failed.

    Raises:
        FailedError: all did; it gives the most frequent reason.
    """
    rows = trials.trials.values()
    if rows and trials.counts[FAILED] == len(rows):
        ((reason, times),) = Counter(row["reason"] for row in rows).most_common(1)
        among = "" if times == len(rows) else f", {times} of them"
        why = shorten(reason, 200, placeholder="...")
        raise FailedError(f"all {len(rows)} trials failed{among} with: {why}; {paths.trials} has each one's reason")


def confirmation_table(session: Session, plan: RetrainPlan) -> ConfirmationTable:
    """Return the search's confirmations, as its table of trials ranks the configurations now.

    Raises:
        InputError: a table cannot be read, or the baseline has no score.
    """
    rows = tables.read(session.paths.trials, tables.TRIALS).to_pylist()
    jobs = confirmations(rows, session.record, top_k=plan.top_k, count=plan.confirm)
    return ConfirmationTable(session.paths, session.record, jobs)


def retrain_tables(session: Session, plan: RetrainPlan) -> RetrainTables:
    """Return the search's retrains, as its confirmations or else its table of trials rank the configurations now.

    Raises:
        InputError: a table cannot be read, or the baseline has no score.
    """
    rows = tables.read(session.paths.trials, tables.TRIALS).to_pylist()
    by = confirmation_table(session, plan).rows if plan.confirm else []
    jobs = choose(rows, session.record, top_k=plan.top_k, seeds=plan.seeds, by=by)
    return RetrainTables(session.paths, session.record, jobs)


def something_is_pending(session: Session, plan: RetrainPlan) -> bool:
    """Return whether a confirmation or a retrain is still to be run; errors as of ``retrain_tables``."""
    # All tables are read, whatever is pending: what is wrong with them is told before anything is run.
    retrains = retrain_tables(session, plan)
    return bool(confirmation_table(session, plan).pending or retrains.pending)


def record_utilisation(session: Session) -> None:
    """Put into the record how busy the slots were, where it does not stand there yet."""
    record = session.record
    if record.utilisation is None:
        results = Results(session.paths)
        record.utilisation, record.utilisation_while_trials_wait = utilisation(record, results.trials, results.epochs)
        record.write(session.paths)


def present(session: Session) -> Results:
    """Write the search's page, print the closing summary or tell it, and return the results."""
    # Matplotlib and SciPy take a second to import, which the first trial need not wait for.
    from tune_fmnist.reporting import answer, page, summary

    session.screen.progress.print("writing the page")
    page.write_page(session.paths.folder)
    results = Results(session.paths)
    if session.screen.tells_events:
        session.screen.tell(answer.finished(results))
    else:
        session.screen.progress.print()
        summary.print_summary(results, session.screen.result)
    return results
