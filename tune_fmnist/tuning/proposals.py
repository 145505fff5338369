"""Who proposes the next configuration: random draws, or a model of the trials so far, both by Optuna's samplers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, Self, cast

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from tune_fmnist.base.importing import blame
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import Origin
from tune_fmnist.store.record import SearcherSettings
from tune_fmnist.tuning.own_sampler import OPTION, own_sampler
from tune_fmnist.tuning.space import CategoricalParameter, FloatParameter, IntParameter, Parameter, Space, Value
from tune_fmnist.tuning.study import distribution_of

Values = Mapping[str, Value]
"""The values of the parameters that exist in a configuration, by name."""


class Outcome(NamedTuple):
    """A trial as a model sees it.

    Attributes:
        values: of its parameters.
        estimate: of its score at the last epoch (``tuning.estimates``); None before its first epoch.
    """

    values: Values
    estimate: float | None


class Proposal(NamedTuple):
    """A configuration to try, and who proposed it."""

    values: Values
    origin: Origin


class Proposer(Protocol):
    """Proposes a configuration, given the number of its trial and the outcomes of those before, in order of issue."""

    def __call__(self, number: int, outcomes: Sequence[Outcome]) -> Proposal: ...


SAMPLERS: Final[dict[str, Callable[..., BaseSampler]]] = {
    "tpe": TPESampler,
    "gp": GPSampler,
    "random": RandomSampler,
}


_TRIED_ONE_BY_ONE: Final = 16
"""Of an integer with at most so many values, Optuna's Gaussian process compares all."""


@dataclass(frozen=True)
class Searching:
    """Random draws until ``n_startup_trials`` trials have an epoch, then those of a sampler's model.

    The model is told all outcomes as COMPLETE with their estimates: in the study of what happened, Optuna's TPE would
    rank every COMPLETE trial above every PRUNED one, and its Gaussian process would not see the latter.

    Each draw has a seed of its own, by the search's seed and the trial's number, so that a search with one slot goes
    on after an interruption as it would have without.

    Attributes:
        space: where values come from.
        searcher: the sampler's name; of the user's own, ``MODULE:FUNCTION``.
        seed: of the search.
        n_startup_trials: how many trials must have an epoch; of no matter to the random searcher.
        arguments: of the sampler.
    """

    space: Space
    searcher: str
    seed: int
    n_startup_trials: int
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, settings: SearcherSettings, space: Space, seed: int) -> Self:
        """Return the proposer of a search with these settings, space and seed."""
        return cls(space, settings.name, seed, settings.n_startup_trials, settings.model_extra or {})

    def __call__(self, number: int, outcomes: Sequence[Outcome]) -> Proposal:
        # Another one than that of the trial's weights.
        seed = derived_seed(derived_seed(self.seed, number), 1)
        if (
            self.searcher == "random"
            or sum(outcome.estimate is not None for outcome in outcomes) < self.n_startup_trials
        ):
            return Proposal(drawn(self.space, RandomSampler(seed=seed), []), "random")
        if self.searcher not in SAMPLERS:
            return Proposal(self._drawn_by_own(seed, outcomes), "model")
        if self.searcher == "gp":
            outcomes = with_liars(outcomes)
        return Proposal(drawn(self.space, self._sampler(seed), outcomes), "model")

    def _drawn_by_own(self, seed: int, outcomes: Sequence[Outcome]) -> Values:
        make = own_sampler(self.searcher)
        try:
            return drawn(self.space, make(seed), outcomes)
        except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
            raise blame(error, make, OPTION, "in a draw") from None

    def _sampler(self, seed: int) -> BaseSampler:
        arguments = {**self.arguments, "n_startup_trials": 0}
        if self.searcher == "tpe" and self.space.conditional():
            arguments["group"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[self.searcher](seed=seed, **arguments)


def with_liars(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes in which trials without an epoch have the median of the others' estimates.

    So a model that does not know of trials under way does not propose the same for several slots (Ginsbourger, Le Riche
    & Carraro 2010, the constant liar).
    """
    median = float(np.median([outcome.estimate for outcome in outcomes if outcome.estimate is not None]))
    return [Outcome(values, median if estimate is None else estimate) for values, estimate in outcomes]


def drawn(space: Space, sampler: BaseSampler, outcomes: Sequence[Outcome]) -> Values:
    """Return what a sampler suggests after these outcomes; one without an estimate is a trial under way.

    To the Gaussian process an integer of many values is a real number, which is rounded.  Its model is the same, and so
    is the best point by it; but Optuna follows the gradient to it, where it would try integers along a line one by one,
    which is most of the time of a draw.
    """
    smooth = _smooth(space) if isinstance(sampler, GPSampler) else {}
    distributions = {name: distribution_of(parameter) for name, parameter in (space.parameters | smooth).items()}
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for values, estimate in outcomes:
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING if estimate is None else TrialState.COMPLETE,
                value=estimate,
                params=dict(values),
                distributions={name: distributions[name] for name in values},
            )
        )
    trial = study.ask()
    chosen: dict[str, Value] = {}

    def choose(name: str, parameter: Parameter) -> Value:
        if isinstance(parameter, IntParameter) and name in smooth:
            chosen[name] = _nearest(parameter, float(suggest(trial, name, smooth[name])))
        else:
            chosen[name] = suggest(trial, name, parameter)
        return chosen[name]

    space.sample(choose)
    return chosen


def _smooth(space: Space) -> dict[str, FloatParameter]:
    """Return the integers of many values as real numbers, with half a step more at both ends."""
    found = {}
    for name, parameter in space.parameters.items():
        if isinstance(parameter, IntParameter) and _count(parameter) > _TRIED_ONE_BY_ONE:
            low, high = parameter.low - parameter.step / 2, parameter.high + parameter.step / 2
            found[name] = FloatParameter(type="float", low=low, high=high, log=parameter.log)
    return found


def _count(parameter: IntParameter) -> int:
    return (parameter.high - parameter.low) // parameter.step + 1


def _nearest(parameter: IntParameter, number: float) -> int:
    place = round((number - parameter.low) / parameter.step)
    return parameter.low + parameter.step * min(max(place, 0), _count(parameter) - 1)


def suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Draw one parameter's value; types and bounds are Optuna's."""
    if isinstance(parameter, CategoricalParameter):
        return cast(Value, trial.suggest_categorical(name, parameter.choices))
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
