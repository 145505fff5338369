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

from tune_fmnist.base.datasets import KNOWN_SHAPE, DataShape
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import blame
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import Origin
from tune_fmnist.store.record import SearcherSettings
from tune_fmnist.tuning.capacity import Excess, excess_of
from tune_fmnist.tuning.cube import from_cube, to_cube
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
        excess: above 0 if its network is too large for the space; it was not trained then.
    """

    values: Values
    estimate: float | None
    excess: float = 0.0


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


_MODEL_TRIES: Final = 8
_RANDOM_TRIES: Final = 1000
"""How often a proposer may propose what is too large, before chance takes its place, and before the search gives up."""

_TRIED_ONE_BY_ONE: Final = 16
"""Of an integer with at most so many values, Optuna's Gaussian process compares all."""


_SHARE: Final = FloatParameter(type="float", low=0.0, high=1.0)
"""A place in a range, on its scale."""


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
        excess: by how much a configuration is larger than the space allows (``capacity``), if there is such a limit.
    """

    space: Space
    searcher: str
    seed: int
    n_startup_trials: int
    arguments: Mapping[str, Any]
    excess: Excess | None = None

    @classmethod
    def of(cls, settings: SearcherSettings, space: Space, seed: int, shape: DataShape = KNOWN_SHAPE) -> Self:
        """Return the proposer of a search with these settings, space and seed, on images of this shape."""
        arguments = settings.model_extra or {}
        return cls(space, settings.name, seed, settings.n_startup_trials, arguments, excess_of(space, shape))

    def __call__(self, number: int, outcomes: Sequence[Outcome]) -> Proposal:
        # Another one than that of the trial's weights.
        seed = derived_seed(derived_seed(self.seed, number), 1)
        if (
            self.searcher == "random"
            or sum(outcome.estimate is not None for outcome in outcomes) < self.n_startup_trials
        ):
            return Proposal(self._at_random(seed), "random")
        if self.searcher not in SAMPLERS:
            return self._by_own(seed, outcomes)
        if self.searcher == "gp":
            outcomes = with_liars(outcomes)
        return self._by_model(seed, outcomes, self._sampler)

    def _at_random(self, seed: int) -> Values:
        """Return the first of random draws that is not too large.

        Raises:
            InputError: none of a thousand is.
        """
        sampler = RandomSampler(seed=seed)
        for _ in range(_RANDOM_TRIES):
            values = drawn(self.space, sampler, [])
            if self._excess(values) <= 0:
                return values
        what = f"none of {_RANDOM_TRIES} random configurations has at most {self.space.max_parameters} parameters"
        raise InputError(what, key="max_parameters", hint="raise it, or lower the bounds of layers and channels")

    def _by_model(self, seed: int, outcomes: Sequence[Outcome], make: Callable[[int], BaseSampler]) -> Proposal:
        """Return what the model proposes; if it is too large the model is told so, and asked again a few times."""
        told = [Outcome(outcome.values, outcome.estimate, self._excess(outcome.values)) for outcome in outcomes]
        worst = min((outcome.estimate for outcome in outcomes if outcome.estimate is not None), default=0.0)
        for attempt in range(_MODEL_TRIES):
            values = drawn(self.space, make(derived_seed(seed, attempt) if attempt else seed), told)
            if (excess := self._excess(values)) <= 0:
                return Proposal(values, "model")
            told.append(Outcome(values, worst, excess))
        return Proposal(self._at_random(seed), "random")

    def _excess(self, values: Values) -> float:
        return 0.0 if self.excess is None else self.excess(values)

    def _by_own(self, seed: int, outcomes: Sequence[Outcome]) -> Proposal:
        make = own_sampler(self.searcher)
        try:
            return self._by_model(seed, outcomes, make)
        except InputError:
            raise
        except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
            raise blame(error, make, OPTION, "in a draw") from None

    def _sampler(self, seed: int) -> BaseSampler:
        # What exists in some trials only is drawn by itself: the documentation says so, and no line for each draw.
        arguments = {"warn_independent_sampling": False, **self.arguments, "n_startup_trials": 0}
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
    return [outcome._replace(estimate=median) if outcome.estimate is None else outcome for outcome in outcomes]


def drawn(space: Space, sampler: BaseSampler, outcomes: Sequence[Outcome]) -> Values:
    """Return what a sampler suggests after these outcomes; one without an estimate is a trial under way.

    To the Gaussian process an integer of many values is a real number, which is rounded.  Its model is the same, and so
    is the best point by it; but Optuna follows the gradient to it, where it would try integers along a line one by one,
    which is most of the time of a draw.  The ranges of one setting, of which one exists in each trial, are one range to
    it: of what does not exist in all trials it would learn nothing.
    """
    by_process = isinstance(sampler, GPSampler)
    shared = {
        name: parameter.setting for name, parameter in space.parameters.items() if by_process and parameter.setting
    }
    smooth = _smooth(space) if by_process else {}
    known = space.parameters | smooth | dict.fromkeys(shared.values(), _SHARE)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for outcome in outcomes:
        values = {shared.get(name, name): value for name, value in outcome.values.items()}
        values |= {
            of: to_cube(space.parameters[name], outcome.values[name])
            for name, of in shared.items()
            if name in outcome.values
        }
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING if outcome.estimate is None else TrialState.COMPLETE,
                value=outcome.estimate,
                params=values,
                distributions={name: distribution_of(known[name]) for name in values},
                constraints=None if space.max_parameters is None else {"parameters": outcome.excess},
            )
        )
    trial = study.ask()
    chosen: dict[str, Value] = {}

    def choose(name: str, parameter: Parameter) -> Value:
        if name in shared:
            chosen[name] = from_cube(parameter, float(suggest(trial, shared[name], _SHARE)))
        elif isinstance(parameter, IntParameter) and name in smooth:
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
