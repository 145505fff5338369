"""The loop over a search's trials as a search runs it, with its study and its tables, without images and retrains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.runtime.slots import Placement, Slots
from tune_fmnist.runtime.trials import Limits, Trainable, run_trials
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord, now
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.proposals import Searching
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.workflow.options import Options, new_settings


def drive(
    trial: Trainable,
    options: Options,
    folder: Path,
    placement: Placement,
    *,
    slots: Slots | None = None,
    on_step: Callable[[TrialTables, int | None], None] = lambda tables, ended: None,
) -> TrialTables:
    """Run a search's trials in the Ray that is running; return their tables, which are in ``folder``.

    Args:
        trial: runs one of them.
        options: say how many, of what length, and with which searcher and scheduler.
        folder: made if it is not there.
        placement: what a trial occupies.
        slots: as of ``run_trials``.
        on_step: called as that of ``run_trials``, with the tables so far.
    """
    settings, space = new_settings(options)
    record = SearchRecord(
        **settings.model_dump(),
        name="x",
        search_id="0",
        state="running",
        command="",
        started_at=now(),
        dataset=FASHION_MNIST.name,
        data="none",
        images=2,
        train_size=1,
        validation_size=1,
        split_hash="",
    )
    folder.mkdir(parents=True, exist_ok=True)
    paths = SearchPaths(folder)
    audit, rungs = Audit(0.0, record.seed), Rungs.resumed(record.scheduler, record.max_epochs, {}, [])
    searcher = OptunaSearcher(
        space,
        Searching.of(record.searcher, space, record.seed),
        seed=record.seed,
        max_epochs=record.max_epochs,
        journal=paths.journal,
        name=record.name,
        count=record.trials,
        audit=audit,
        rungs=rungs,
    )
    tables = TrialTables(paths, record)
    run_trials(
        trial,
        searcher,
        make_scheduler(record.scheduler, record.max_epochs, audit, rungs),
        tables,
        placement,
        Limits(),
        slots=slots,
        on_step=lambda ended: on_step(tables, ended),
    )
    return tables
