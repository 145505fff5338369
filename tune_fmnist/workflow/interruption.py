"""What a command that a signal has ended leaves behind, and the command that goes on with it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from typing import Final

from tune_fmnist.reporting.events import Interrupted
from tune_fmnist.reporting.wording import counted
from tune_fmnist.store import tables
from tune_fmnist.store.record import RetrainPlan
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.workflow.options import Options, option
from tune_fmnist.workflow.session import Session

_MACHINES: Final = ("data_root", "cpus_per_trial", "gpus_per_trial", "address")
"""Options that the record does not repeat when a command goes on."""

_TRIALS: Final = (*_MACHINES, "max_concurrent", "trial_timeout", "time_budget", "storage")
"""The same of a search."""


def tell_search(session: Session, trials: TrialTables) -> None:
    """Say what the tables of an interrupted search hold, and how to go on with it."""
    held = f"{counted(len(trials.trials), 'trial')} and {counted(trials.epochs, 'epoch')}"
    resume = session.record.to_resume(session.paths)
    _tell(session, trials, held, ["search", *resume, *_given(session.options, _TRIALS)])


def tell_retrain(session: Session, plan: RetrainPlan) -> None:
    """Say how many retrains the tables hold after an interruption, and how to go on with them."""
    paths, record = session.paths, session.record
    held = tables.read(paths.retrains, tables.RETRAINS).num_rows if paths.retrains.exists() else 0
    wanted = {"--confirm": plan.confirm, "--top-k": plan.top_k, "--retrain-seeds": plan.seeds}
    options = [word for name, value in wanted.items() for word in (name, str(value))]
    command = ["retrain", str(paths.folder), *options, *record.named_again, *_given(session.options, _MACHINES)]
    _tell(session, TrialTables(paths, record), counted(held, "retrain"), command)


def _given(options: Options, names: Iterable[str]) -> list[str]:
    """Return those of the options that were given, as they are written on a command line."""
    words = []
    for name in names:
        value = getattr(options, name)
        if value is not None:
            # A fraction of a second more is not missed.
            words += [option(name), f"{math.ceil(value)}s" if name in ("trial_timeout", "time_budget") else str(value)]
    return words


def _tell(session: Session, trials: TrialTables, held: str, command: list[str]) -> None:
    """Say both, or tell them as an event."""
    name, *options = command
    folder, say = session.paths.folder, session.screen.warnings.print
    again = shlex.join(["python", "-m", f"tune_fmnist.{name}", *options])
    say(f"interrupted; the tables in {folder} hold {held}")
    # Without line ends of its own, what is longer than the screen can be copied whole.
    say(f"next: {again}", soft_wrap=True)
    session.screen.tell(
        Interrupted(
            name=session.record.name,
            folder=folder.absolute(),
            trials=len(trials.trials),
            epochs=trials.epochs,
            resume=again,
        )
    )
