"""What a search computes on Ray: its trials, its confirmations, then its retrains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from tune_fmnist.base import provenance
from tune_fmnist.base.importing import code_of
from tune_fmnist.base.vocabulary import DIVERGED
from tune_fmnist.models.config import baseline
from tune_fmnist.models.own import network_of
from tune_fmnist.reporting import events
from tune_fmnist.reporting.progress import SearchDisplay, TaskDisplay
from tune_fmnist.reporting.wording import configuration_name, counted, percent
from tune_fmnist.runtime import gpu_sharing
from tune_fmnist.runtime.confirmations import run_confirmations
from tune_fmnist.runtime.nodes import check_code, check_storage
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.retrains import run_retrains
from tune_fmnist.runtime.slots import Placement, Slots, place
from tune_fmnist.runtime.trials import Limits, run_trials, training
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult, RetrainJob, RetrainResult
from tune_fmnist.store.record import PlacementRecord, RetrainPlan, RetrainRecord
from tune_fmnist.store.trial_tables import Row, TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.proposals import Searching
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.workflow.images import check_test
from tune_fmnist.workflow.session import Session, check_outcome, confirmation_table, record_utilisation, retrain_tables


def compute(session: Session, trials: TrialTables, left: int, began: float) -> None:
    """Run the ``left`` trials that have not ended, then the confirmations and the retrains.

    Args:
        session: the search.
        trials: its tables of trials.
        left: how many trials to run, those included that go on.
        began: when the command began, by ``time.monotonic``.
    """
    options, record, mirror = session.options, session.record, session.mirror
    joined = options.address is not None

    def at_last() -> None:
        record.close(session.paths, "failed", time.monotonic() - began)

    with _ray(session, at_last):
        placement = _place(session)
        if mirror or joined:
            folder = mirror.folder if mirror else Folder.at(str(session.paths.folder))
            check_storage(folder, "--storage" if mirror else "--results-dir")
        if mirror:
            mirror.begin()
        record.startup_seconds = round(time.monotonic() - began, 1)
        record.write(session.paths)
        slots = Slots(placement, joined=joined)
        if left > 0:
            _run_trials(session, trials, placement, slots)
        record_utilisation(session)
        check_outcome(trials, session.paths)
        if record.retrain_plan.wanted:
            _run_confirmations(session, record.retrain_plan, placement, slots)
            _run_retrains(session, record.retrain_plan, placement, slots)


def compute_retrains(session: Session, plan: RetrainPlan) -> None:
    """Run the confirmations and retrains that are pending; ``plan`` is what they follow."""
    with _ray(session):
        placement = _place(session)
        slots = Slots(placement, joined=session.options.address is not None)
        _run_confirmations(session, plan, placement, slots)
        _run_retrains(session, plan, placement, slots)


@contextmanager
def _ray(session: Session, at_last: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Join or start Ray as ``running_ray`` does, with the code of the user's own network on every node."""
    network, address = network_of(session.record.model), session.options.address
    code = code_of(network) if network is not None else None
    with running_ray(address, at_last, code=code):
        if network is not None and address is not None and network.__module__ != "__main__":
            check_code(network.__module__)
        yield


def _place(session: Session) -> Placement:
    """Divide the cluster into slots; say how, on the screen and in the record."""
    options, record = session.options, session.record
    gpus = options.gpus_per_trial
    if gpus is None and (trials := _trials_on_a_gpu(session)):
        gpus = 1 / trials
    joined = options.address is not None
    placement = place(options.cpus_per_trial, gpus, options.max_concurrent, joined=joined)
    record.placement = PlacementRecord(**placement._asdict())
    session.screen.progress.print(f"Ray: {placement}")
    return placement


def _trials_on_a_gpu(session: Session) -> int | None:
    """Return how many trials are to share a GPU, as it is measured, or was on the same GPUs; None without one."""
    record = session.record
    # Of a cluster's GPUs this machine does not know the names.
    gpus = [] if session.options.address is not None else provenance.hardware()["gpus"]
    if known := gpu_sharing.measured_before(record.gpu_sharing, gpus):
        return known
    measured = gpu_sharing.measure(baseline(record.model), session.images.shape)
    if measured is None:
        return None
    record.gpu_sharing = {**measured._asdict(), "gpus": gpus}
    return measured.trials


def _run_trials(session: Session, trials: TrialTables, placement: Placement, slots: Slots) -> None:
    """Run the trials that have not ended; record how long it took."""
    options, record, paths, mirror = session.options, session.record, session.paths, session.mirror
    reported = trials.reported()
    searcher = _searcher(session, trials.trials, reported)
    scheduler = make_scheduler(record.scheduler, record.max_epochs, searcher.audit, searcher.rungs)
    if options.resume:
        scheduler.resume(reported)
    out = session.screen.progress
    display = SearchDisplay(out, trials, trials=record.trials, slots=slots.now, time_budget=options.time_budget)
    checkpoints = mirror.checkpoints if mirror else Folder.at(str(paths.checkpoints))

    told = events.TrialEvents(trials, record.trials, session.screen.tell)

    def step(ended: int | None) -> None:
        display.step(ended)
        if ended is not None:
            told.ended(ended)
        if mirror:
            mirror.check()

    began, slot_seconds = time.monotonic(), slots.seconds
    try:
        with display.shown():
            run_trials(
                training(session.split, checkpoints, options.trial_timeout),
                searcher,
                scheduler,
                trials,
                placement,
                Limits(options.time_budget, options.trial_timeout),
                slots=slots,
                on_step=step,
                on_start=told.started,
                on_epoch=told.epoch,
            )
    finally:
        before = record.slot_seconds
        if before is None:
            before = placement.slots * record.search_seconds
        record.slot_seconds = round(before + slots.seconds - slot_seconds, 1)
        record.search_seconds = round(record.search_seconds + time.monotonic() - began, 1)
        record.write(paths)


def _searcher(session: Session, trials: Mapping[int, Row], reported: list[Row]) -> OptunaSearcher:
    """Return what proposes the trials, told of those that have run; say so if its study had to be made again."""
    record = session.record
    audit = Audit.resumed(record.scheduler.audit, record.seed, trials)
    rungs = Rungs.resumed(record.scheduler, record.max_epochs, trials, reported)
    searcher = OptunaSearcher(
        session.space,
        Searching.of(record.searcher, session.space, record.seed, session.images.shape),
        seed=record.seed,
        max_epochs=record.max_epochs,
        journal=session.paths.journal,
        name=f"{record.name}-{record.search_id}",
        count=record.trials,
        audit=audit,
        rungs=rungs,
        trials=trials,
        epochs=reported,
    )
    if searcher.rebuilt:
        session.screen.warnings.print(searcher.rebuilt)
    return searcher


def _run_confirmations(session: Session, plan: RetrainPlan, placement: Placement, slots: Slots) -> None:
    """Run the confirmations that are pending; record how long it took."""
    record, table, began = session.record, confirmation_table(session, plan), time.monotonic()
    pending = table.pending
    if not pending:
        return
    configurations = counted(len({job.key[0] for job in pending}), "configuration")
    out = session.screen.progress
    out.print(f"confirming {configurations}, {counted(len(pending), 'training')} with other seeds in all")
    expected = [job.expected_seconds for job in pending]
    display = TaskDisplay(out, "confirmations", expected, max(1, slots.now))

    def step(job: ConfirmationJob | None, result: ConfirmationResult | None) -> None:
        if job is not None and result is not None:
            score = "diverged" if result.status == DIVERGED else f"score {percent(result.score)}"
            display.step(job.expected_seconds, f"confirmed trial {job.number}, seed {job.seed}: {score}")
            session.screen.tell(events.confirmation(job, result, display.ended, len(pending)))
        display.draw()
        if session.mirror:
            session.mirror.check()

    with display.shown():
        run_confirmations(table, session.split, placement, slots, on_step=step)
    done = record.retrain or RetrainRecord()
    seconds = round(done.confirmation_seconds + time.monotonic() - began, 1)
    record.retrain = done.model_copy(update={"confirm": plan.confirm, "confirmation_seconds": seconds})
    record.write(session.paths)


def _run_retrains(session: Session, plan: RetrainPlan, placement: Placement, slots: Slots) -> None:
    """Run the retrains that are pending; record how long it took, and with what it was computed."""
    record, retrains, began = session.record, retrain_tables(session, plan), time.monotonic()
    retrains.publish_ranks()
    pending = retrains.pending
    if not pending:
        return
    configurations = counted(len({job.key[0] for job in pending}), "configuration")
    images, out = f"{len(session.images.labels):,} images", session.screen.progress
    out.print(f"retraining {configurations} on {images}, {counted(len(pending), 'retrain')} in all")
    expected = [job.expected_seconds for job in pending]
    display = TaskDisplay(out, "retrains", expected, max(1, slots.now))

    def step(job: RetrainJob | None, result: RetrainResult | None) -> None:
        if job is not None and result is not None:
            name = configuration_name(job.rank, is_baseline=job.is_baseline, is_start=job.is_start)
            said = f"retrained {name}, seed {job.seed}: test accuracy {percent(result.test_accuracy)}"
            display.step(job.expected_seconds, said)
            session.screen.tell(events.retrain(job, result, display.ended, len(pending)))
        display.draw()
        if session.mirror:
            session.mirror.check()

    with display.shown():
        run_retrains(
            retrains,
            session.images,
            session.source,
            placement,
            slots,
            on_sealed=partial(check_test, record=record, file=session.paths.search),
            # Whoever goes on with the search elsewhere must know of it.
            on_read=session.mirror.settle if session.mirror else lambda: None,
            on_step=step,
        )
    done = record.retrain or RetrainRecord()
    record.retrain = RetrainRecord(
        top_k=plan.top_k,
        seeds=plan.seeds,
        confirm=plan.confirm,
        confirmation_seconds=done.confirmation_seconds,
        seconds=round(done.seconds + time.monotonic() - began, 1),
        placement=PlacementRecord(**placement._asdict()),
        **provenance.record(),
    )
    record.write(session.paths)
