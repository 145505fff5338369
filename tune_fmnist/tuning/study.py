"""A search's Optuna study: opened from its journal if that agrees with the tables, else rebuilt from them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from tune_fmnist.base.errors import InputError, last_line
from tune_fmnist.base.files import publish
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, PAUSED, STOPPED, UNFINISHED, Status
from tune_fmnist.models.config import Config, baseline, to_config
from tune_fmnist.store.tables import config_values
from tune_fmnist.tuning.optuna_journal import Journal, to_lines
from tune_fmnist.tuning.space import CategoricalParameter, IntParameter, Parameter, Space, Value

_UNREADABLE: Final = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError),
    optuna.exceptions.OptunaError,
)
"""What Optuna raises where a journal's records are not those that it wrote."""

_FIXED: Final = "fixed_params"
"""Under which Optuna keeps the values of a trial that is enqueued, in the trial's system attributes."""


ORIGIN: Final = "origin"
SEED: Final = "seed"
STATUS: Final = "status"
REASON: Final = "reason"
"""A trial's user attributes: columns of ``trials.parquet`` under the same names; the last two when it has ended."""


_OUTSIDE: Final = {ORIGIN: "baseline", REASON: "lies outside the space; its row in trials.parquet says how it ended"}
"""Of a baseline that the study cannot hold as a trial with parameters."""


class Told(NamedTuple):
    """A trial as the tables have it: ``steps`` are the scores after each epoch."""

    config: Config
    status: Status
    steps: dict[int, float]
    attributes: dict[str, Any]


class Opened(NamedTuple):
    """A study, its journal, and why it was rebuilt from the tables, in words; None if it was not."""

    study: optuna.Study
    journal: Journal
    rebuilt: str | None


def told_by_tables(
    trials: Mapping[int, Mapping[str, Any]], epochs: Iterable[Mapping[str, Any]], *, seed: int, file: Path
) -> dict[int, Told]:
    """Return trials by number, from rows of ``trials.parquet`` and from what ``TrialTables.reported`` returns.

    Args:
        seed: of the search.
        file: the table, for an error.

    Raises:
        InputError: a trial's seed is not the one that the search gives it.
    """
    steps: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for row in epochs:
        steps[row["number"]][row["epoch"]] = row["score"]
    for number, row in trials.items():
        if row["seed"] != (expected := derived_seed(seed, number)):
            what = f"trial {number} has seed {row['seed']}, and {expected} by the seed {seed} of search.json"
            raise InputError(what, file=file, key="seed", hint="restore both files as they were together")
    return {
        number: Told(to_config(config_values(row)), row["status"], steps[number], _attributes(row))
        for number, row in sorted(trials.items())
    }


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's user attributes, from its row."""
    names = (ORIGIN, SEED) if row["status"] in UNFINISHED else (ORIGIN, SEED, STATUS, REASON)
    return {name: row[name] for name in names if row.get(name) is not None}


def open_study(file: Path, name: str, space: Space, told: Mapping[int, Told]) -> Opened:
    """Open the study of a search; make its journal anew if it is not there or does not agree with the tables.

    The journal may know more than the tables, which follow it by seconds, but nothing else than they do.  What it
    knows more is lost where it cannot be trusted: those trials are drawn again.

    Args:
        file: the journal.
        name: the study's name.
        space: where its parameters come from.
        told: the trials in the tables; none for a new search.
    """
    why = "not found" if told else None
    if file.exists():
        content = file.read_bytes()
        try:
            opened = _opened(file, name)
            why = _difference(opened.study.get_trials(deepcopy=False), space, told)
        except _UNREADABLE as error:
            why = f"cannot be read ({type(error).__name__}: {last_line(error)})"
        if why is None:
            return opened
        kept = file.with_name(f"{file.name}.damaged")
        with publish(kept) as partial:
            partial.write_bytes(content)
        why += f"; the old file is kept as {kept.name}"
    records = _Records()
    study = optuna.create_study(storage=JournalStorage(records), direction="maximize", study_name=name)
    for number in range(max(len(_planned(space)), max(told, default=-1) + 1)):
        study.add_trial(_trial(number, space, told))
    with publish(file) as partial:
        partial.write_bytes(to_lines(records.records))
    return _opened(file, name)._replace(rebuilt=why and f"{file.name} is rebuilt from the tables: {why}")


def is_outside(config: Config, space: Space) -> bool:
    """Return whether a space lacks a configuration: the study then holds it as a FAIL without parameters."""
    return space.values(config) is None


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Return a parameter's distribution; types and bounds are Optuna's."""
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, IntParameter):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


class _Records(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        # As they would come back from a file.
        self.records += json.loads(json.dumps(logs))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.records[log_number_from:])


def _opened(file: Path, name: str) -> Opened:
    journal = Journal(file)
    study = optuna.load_study(storage=JournalStorage(journal), study_name=name)
    if study.direction is not StudyDirection.MAXIMIZE:
        raise ValueError(f"the study's direction is {study.direction.name}")
    return Opened(study, journal, None)


def _planned(space: Space) -> list[Mapping[str, Value] | None]:
    """Return the parameters of the baseline, None if it lies outside, and those of the start, whole or in part."""
    return [space.values(baseline(space.model)), *space.start]


def _trial(number: int, space: Space, told: Mapping[int, Told]) -> FrozenTrial:
    """Return a trial as the study should hold it, by the tables or, if it is in none, by the plan."""
    planned = _planned(space)
    if number in told:
        return _of_tables(told[number], space)
    # A number that no row has, below one that has: it was not drawn yet when all ended.
    values = planned[number] if number < len(planned) else {}
    if values is None:
        return create_trial(state=TrialState.FAIL, user_attrs=_OUTSIDE)
    return create_trial(state=TrialState.WAITING, system_attrs={_FIXED: dict(values)})


def _of_tables(told: Told, space: Space) -> FrozenTrial:
    params = space.values(told.config)
    if params is None:
        return create_trial(state=TrialState.FAIL, user_attrs={**_OUTSIDE, **told.attributes})
    state, value = TrialState.FAIL, None
    if told.status in UNFINISHED:
        state = TrialState.RUNNING
    elif told.status in (COMPLETED, STOPPED, DIVERGED) and told.steps:
        state = TrialState.COMPLETE if told.status == COMPLETED else TrialState.PRUNED
        value = told.steps[max(told.steps)]
    return create_trial(
        state=state,
        value=value,
        params=params,
        distributions={name: distribution_of(space.parameters[name]) for name in params},
        intermediate_values=told.steps,
        user_attrs=told.attributes,
    )


def _difference(trials: list[FrozenTrial], space: Space, told: Mapping[int, Told]) -> str | None:
    """Return in words what the study lacks or has otherwise than the tables, None if it agrees with them."""
    count = max(len(_planned(space)), max(told, default=-1) + 1)
    if len(trials) < count:
        return f"older than the tables, without trial {len(trials)}"
    for found in trials:
        number = found.number
        if number in told:
            agrees = _agrees(found, _trial(number, space, told), waits=told[number].status == PAUSED)
        else:
            agrees = _is_possible(found, _trial(number, space, told), space)
        if not agrees:
            return f"its trial {number} is not that of the " + ("tables" if number in told else "space")
    return None


def _agrees(found: FrozenTrial, expected: FrozenTrial, *, waits: bool) -> bool:
    """Return whether a trial is the tables' one; if it has not ended there, it may have gone on, or have ended."""
    steps, known = found.intermediate_values, expected.intermediate_values
    same = found.params == expected.params and found.distributions == expected.distributions
    same = same and all(known[step] == value for step, value in steps.items() if step in known)
    if expected.state is TrialState.RUNNING:
        # One that had failed is tried again: the tables, which lack its end, do not know of it.
        return same and found.state is not TrialState.WAITING and not (waits and found.state.is_finished())
    if expected.state is TrialState.FAIL:
        return same and found.state is TrialState.FAIL
    return same and steps == known and (found.state, found.values) == (expected.state, expected.values)


def _is_possible(found: FrozenTrial, planned: FrozenTrial, space: Space) -> bool:
    """Return whether a trial that is in no table is one that the space gives."""
    if found.state is TrialState.WAITING:
        return found.system_attrs.get(_FIXED) == planned.system_attrs.get(_FIXED)
    if planned.state is TrialState.FAIL:
        return found.state is TrialState.FAIL and not found.params
    for name, value in found.params.items():
        parameter = space.parameters.get(name)
        if parameter is None or not parameter.contains(value):
            return False
        if found.distributions[name] != distribution_of(parameter):
            return False
    if found.state is TrialState.RUNNING:
        # Its process may have ended while it was being drawn.
        return True
    try:
        return space.values(space.sample(lambda name, parameter: found.params[name])) == found.params
    except (KeyError, InputError):
        return False
