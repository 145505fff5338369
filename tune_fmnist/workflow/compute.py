"""What a search computes on Ray: its trials, then its retrains."""

from __future__ import annotations

import time

from tune_fmnist.base import provenance
from tune_fmnist.models.config import baseline
from tune_fmnist.reporting.progress import RetrainDisplay, SearchDisplay
from tune_fmnist.runtime import gpu_sharing
from tune_fmnist.runtime.nodes import check_storage
from tune_fmnist.runtime.ray_session import running_ray
from tune_fmnist.runtime.retrains import run_retrains
from tune_fmnist.runtime.slots import Placement, Slots, place
from tune_fmnist.runtime.trials import Limits, run_trials, training
from tune_fmnist.store.folder import Folder
from tune_fmnist.store.jobs import RetrainJob, RetrainResult
from tune_fmnist.store.record import PlacementRecord, RetrainPlan, RetrainRecord
from tune_fmnist.store.retrain_tables import RetrainTables
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.proposals import Searching
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.workflow.session import Session, check_outcome, record_utilisation, retrain_tables


def compute(session: Session, trials: TrialTables, left: int, began: float) -> None:
    """Run the ``left`` trials that have not ended, then the retrains.

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

    with running_ray(options.address, at_last):
        # An autoscaler may start the nodes that are asked for.
        placement = _place(session, wait=joined and options.max_concurrent is not None)
        if mirror or joined:
            folder = mirror.folder if mirror else Folder.at(str(session.paths.folder))
            check_storage(folder, "--storage" if mirror else "--results-dir")
        if mirror:
            mirror.begin()
        record.startup_seconds = round(time.monotonic() - began, 1)
        record.write(session.paths)
        slots = Slots(placement, joined=joined)
        if left > 0:
            _run_trials(session, trials, placement, slots, left)
        record_utilisation(session)
        check_outcome(trials, session.paths)
        if record.retrain_plan.wanted:
            plan = record.retrain_plan
            _run_retrains(session, retrain_tables(session, plan), plan, placement, slots)


def compute_retrains(session: Session, retrains: RetrainTables, plan: RetrainPlan) -> None:
    """Run the retrains that are pending; ``plan`` is what they follow."""
    address = session.options.address
    with running_ray(address):
        placement = _place(session)
        _run_retrains(session, retrains, plan, placement, Slots(placement, joined=address is not None))


def _place(session: Session, *, wait: bool = False) -> Placement:
    """Divide the cluster into slots; say how, on the screen and in the record."""
    options, record = session.options, session.record
    gpus = options.gpus_per_trial
    if gpus is None and (measured := gpu_sharing.measure(baseline(record.model))):
        record.gpu_sharing = measured._asdict()
        gpus = 1 / measured.trials
    placement = place(options.cpus_per_trial, gpus, options.max_concurrent, wait=wait)
    record.placement = PlacementRecord(**placement._asdict())
    session.out.print(f"Ray: {placement}")
    return placement


def _run_trials(session: Session, trials: TrialTables, placement: Placement, slots: Slots, left: int) -> None:
    """Run the ``left`` trials that have not ended; record how long it took."""
    options, record, paths, mirror = session.options, session.record, session.paths, session.mirror
    searcher = OptunaSearcher(
        session.space,
        Searching.of(record.searcher, session.space, record.seed),
        seed=record.seed,
        max_epochs=record.max_epochs,
        journal=paths.journal,
        name=f"{record.name}-{record.search_id}",
        trials=trials.trials,
        epochs=trials.reported(),
    )
    if searcher.rebuilt:
        session.out.print(searcher.rebuilt)
    scheduler = make_scheduler(record.scheduler, record.max_epochs)
    if options.resume:
        scheduler.resume(trials.reported())
    display = SearchDisplay(session.out, trials, trials=record.trials, time_budget=options.time_budget)
    checkpoints = mirror.checkpoints if mirror else Folder.at(str(paths.checkpoints))

    def step(ended: int | None) -> None:
        display.step(ended)
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
                Limits(left, options.time_budget, options.trial_timeout),
                slots=slots,
                on_step=step,
            )
    finally:
        before = record.slot_seconds
        if before is None:
            before = placement.slots * record.search_seconds
        record.slot_seconds = round(before + slots.seconds - slot_seconds, 1)
        record.search_seconds = round(record.search_seconds + time.monotonic() - began, 1)
        record.write(paths)


def _run_retrains(
    session: Session, retrains: RetrainTables, plan: RetrainPlan, placement: Placement, slots: Slots
) -> None:
    """Run the retrains that are pending; record how long it took, and with what it was computed."""
    record, pending = session.record, retrains.pending
    began = time.monotonic()
    configurations = len({job.key[0] for job in pending})
    images = f"{len(session.images.labels):,} images"
    session.out.print(f"retraining {configurations} configurations on {images}, {len(pending)} retrains in all")
    display = RetrainDisplay(session.out, [job.expected_seconds for job in pending], max(1, slots.now))

    def step(job: RetrainJob | None, result: RetrainResult | None) -> None:
        display.step(job, result)
        if session.mirror:
            session.mirror.check()

    with display.shown():
        run_retrains(
            retrains,
            session.images,
            session.source,
            placement,
            slots,
            # Whoever goes on with the search elsewhere must know of it.
            on_read=session.mirror.settle if session.mirror else lambda: None,
            on_step=step,
        )
    before = record.retrain.seconds if record.retrain else 0.0
    record.retrain = RetrainRecord(
        top_k=plan.top_k,
        seeds=plan.seeds,
        seconds=round(before + time.monotonic() - began, 1),
        placement=PlacementRecord(**placement._asdict()),
        **provenance.record(),
    )
    record.write(session.paths)
