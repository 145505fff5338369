"""Confirm the best configurations of a search, retrain them and test them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tune_fmnist.base.vocabulary import UNFINISHED
from tune_fmnist.data import source
from tune_fmnist.models.own import name_given
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store import tables
from tune_fmnist.store.record import RetrainPlan
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow import interruption
from tune_fmnist.workflow.options import Options, python_names
from tune_fmnist.workflow.session import Session, open_existing, present, something_is_pending, tell_start

if TYPE_CHECKING:
    from torch import nn

    from tune_fmnist.reporting.results import Results


def retrain(
    folder: Path | str,
    *,
    model: str | type[nn.Module] | None = None,
    dataset: str | Path | Callable[[str], Any] | None = None,
    confirm: int | None = None,
    top_k: int | None = None,
    retrain_seeds: int | None = None,
    data_root: Path | str | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    out: Console | None = None,
) -> Results:
    """Confirm, retrain and test the best configurations of a search; what has been done already is kept.

    Args:
        folder: of the search.
        model: the class of a network of your own, or ``"MODULE:CLASS"``; a search of ``ann`` or ``cnn`` knows it.
        dataset: the folder or the function of images of your own; a search of a known dataset knows it.
        confirm: train each candidate for the retrains so many times again, with other seeds; 0 ranks by the trials
            [as before].
        top_k: how many of the best configurations, besides the baseline [as before].
        retrain_seeds: seeds of each [as before].
        data_root: a torchvision data root [found or fetched].
        cpus_per_trial: CPUs of one confirmation or retrain [1].
        gpus_per_trial: GPUs of one, or a share of one [measured].
        address: of a running Ray cluster [start one here].
        out: where progress and summary go [the standard error, and the standard output].

    Raises:
        InputError: the folder is no search, or the data is not what was searched on.
    """
    with python_names():
        options = Options.of(
            model=name_given(model),
            dataset=source.name_given(dataset),
            confirm=confirm,
            top_k=top_k,
            retrain_seeds=retrain_seeds,
            data_root=data_root,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            address=address,
        )
        return run(Path(folder), options, Screen.of(out))


def run(folder: Path, options: Options, screen: Screen) -> Results:
    """Retrain as ``retrain`` does, with checked options; ``top_k`` and ``retrain_seeds`` are among them."""
    with open_existing(folder, options, screen) as session:
        _run(session)
        return present(session)


def _run(session: Session) -> None:
    """Run what is pending; a search whose trials have all ended is finished afterwards."""
    record, began, plan = session.record, time.monotonic(), _plan(session)
    pending = something_is_pending(session, plan)
    tell_start(session, "retrain", resumed=True)
    if session.mirror:
        # Who has the search on another machine sees by this that the storage is newer.
        record.resume(TrialTables(session.paths, record).last_report, searches=False)
        record.write(session.paths)
        session.mirror.begin()
    if pending:
        # Ray takes two seconds to import: a mistake is told before.
        from tune_fmnist.workflow.compute import compute_retrains

        try:
            compute_retrains(session, plan)
        except KeyboardInterrupt:
            interruption.tell_retrain(session, plan)
            raise
    statuses = tables.read(session.paths.trials, tables.TRIALS)["status"].to_pylist()
    if len(statuses) >= record.trials and not set(UNFINISHED) & set(statuses):
        record.close(session.paths, "finished", time.monotonic() - began)


def _plan(session: Session) -> RetrainPlan:
    """Return what the options ask for; where they do not say, as the last retrains had it, or else the search."""
    record, options = session.record, session.options
    planned, last = record.retrain_plan, record.retrain
    before = (planned.top_k, planned.seeds, planned.confirm)
    if last is not None:
        before = (last.top_k or planned.top_k, last.seeds or planned.seeds, last.confirm)
    top_k, seeds, confirm = before
    return RetrainPlan(
        wanted=True,
        top_k=options.top_k or top_k,
        seeds=options.retrain_seeds or seeds,
        confirm=confirm if options.confirm is None else options.confirm,
    )
