"""The search methods that are compared, and with how many trials: fixed before the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from benchmarks.quality.best_share import BestShare
from benchmarks.quality.first_edition import FirstAsha
from tune_fmnist.base.metrics import score_of
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import SchedulerName, SearcherName
from tune_fmnist.store.record import SchedulerSettings, SearcherSettings
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.cube import from_cube, to_cube
from tune_fmnist.tuning.methods import SAMPLER_ARGUMENTS
from tune_fmnist.tuning.proposals import Outcome, Proposal, Proposer, Searching, Values
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.space import CategoricalParameter, Parameter, Space, Value

BUDGETS: Final = (12, 20, 40, 100)
"""Trials of a search, the baseline among them."""

Judge = Literal["score", "last", "best", "average"]
"""What trials are judged by after an epoch: the mean of the last three, the last, the best so far, or the mean of the
last three of the averaged weights."""


class Stopping(NamedTuple):
    """A scheduler, and the rungs at which its trials wait."""

    scheduler: Any
    rungs: Rungs


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        name: as tables have it.
        propose: makes its proposer, given space and seed; None for the first edition's searcher.
        stopping: makes its scheduler, given the epochs of the longest trial.
        judge: what the scheduler and the proposer are told after each epoch.
        chosen_by: what the winner is chosen by.
    """

    name: str
    propose: Callable[[Space, int], Proposer] | None
    stopping: Callable[[int], Stopping]
    judge: Judge = "score"
    chosen_by: Judge = "score"

    @property
    def averaged(self) -> bool:
        """Whether the averaged weights are what is trained, and so what is handed on."""
        return self.judge == "average"


def judged(judge: Judge, accuracies: Sequence[float]) -> float:
    """Return what a trial is judged by after its epochs so far."""
    if judge == "last":
        return accuracies[-1]
    return max(accuracies) if judge == "best" else score_of(accuracies)


def searching(searcher: SearcherName, startup: int = 3) -> Callable[[Space, int], Proposer]:
    """Return what makes one of the package's proposers."""
    settings = SearcherSettings(name=searcher, n_startup_trials=startup, **SAMPLER_ARGUMENTS[searcher])
    return lambda space, seed: Searching.of(settings, space, seed)


def asha(grace: int, factor: int = 3, name: SchedulerName = "asha") -> Callable[[int], Stopping]:
    """Return what makes the package's ASHA, which stops trials for good."""
    return _package(SchedulerSettings(name=name, grace=grace, reduction_factor=factor))


def promotion(grace: int, factor: int = 3) -> Callable[[int], Stopping]:
    """Return what makes the package's ASHA in which trials wait."""
    return asha(grace, factor, "promotion")


def _package(settings: SchedulerSettings) -> Callable[[int], Stopping]:
    def make(max_epochs: int) -> Stopping:
        rungs = Rungs.resumed(settings, max_epochs, {}, [])
        return Stopping(make_scheduler(settings, max_epochs, Audit(0.0, 0), rungs), rungs)

    return make


def _never() -> Callable[[int], Stopping]:
    return _package(SchedulerSettings(name="fifo"))


def _alone(make: Callable[[int], Any]) -> Callable[[int], Stopping]:
    """Return what makes a scheduler without the package's rungs."""
    return lambda max_epochs: Stopping(make(max_epochs), Rungs())


@dataclass(frozen=True)
class Neighbours:
    """Random draws at first, then neighbours of the best outcome, as PriorBand's incumbent (Mallik et al. 2023).

    Attributes:
        space: where values come from.
        seed: of the search.
        startup: trials with an epoch before neighbours are drawn.
        around_baseline: share of the draws before that which are neighbours of the baseline.
        spread: standard deviation of a change, as a share of a range.
        share: chance of each parameter to change.
    """

    space: Space
    seed: int
    startup: int = 3
    around_baseline: float = 0.0
    spread: float = 0.25
    share: float = 0.5

    def __call__(self, number: int, outcomes: Sequence[Outcome]) -> Proposal:
        rng = np.random.default_rng(derived_seed(derived_seed(self.seed, number), 1))
        known = [outcome for outcome in outcomes if outcome.estimate is not None]
        if len(known) >= self.startup:
            best = max(known, key=lambda outcome: outcome.estimate or 0.0)
            return Proposal(self._near(best.values, rng), "model")
        if rng.random() < self.around_baseline:
            return Proposal(self._near(outcomes[0].values, rng), "random")
        return Proposal(self._near({}, rng), "random")

    def _near(self, center: Values, rng: np.random.Generator) -> Values:
        def draw(name: str, parameter: Parameter) -> Value:
            if name not in center:
                return from_cube(parameter, rng.random())
            if rng.random() >= self.share:
                return center[name]
            if isinstance(parameter, CategoricalParameter):
                return from_cube(parameter, rng.random())
            at = abs(rng.normal(to_cube(parameter, center[name]), self.spread)) % 2.0
            return from_cube(parameter, 2.0 - at if at > 1.0 else at)

        return self.space.values(self.space.sample(draw)) or {}


@dataclass(frozen=True)
class Mixture:
    """Draws of one proposer or the other, by chance."""

    one: Proposer
    other: Proposer
    share: float
    seed: int

    def __call__(self, number: int, outcomes: Sequence[Outcome]) -> Proposal:
        rng = np.random.default_rng(derived_seed(derived_seed(self.seed, number), 2))
        return (self.one if rng.random() < self.share else self.other)(number, outcomes)


def _mixed(share: float) -> Callable[[Space, int], Proposer]:
    gp = searching("gp")
    return lambda space, seed: Mixture(gp(space, seed), Neighbours(space, seed), share, seed)


METHODS: Final[dict[str, Method]] = {
    method.name: method
    for method in (
        Method("first edition", None, _alone(FirstAsha), "last", "best"),
        Method("random, ASHA 1", searching("random"), asha(1), "last", "best"),
        Method("random, ASHA 3", searching("random"), asha(3)),
        Method("random, none stopped", searching("random"), _never()),
        Method("TPE, ASHA 3", searching("tpe"), asha(3)),
        Method("neighbours, ASHA 3", Neighbours, asha(3)),
        Method("prior, ASHA 3", lambda space, seed: Neighbours(space, seed, around_baseline=0.5), asha(3)),
        Method("GP, ASHA 3", searching("gp"), asha(3)),
        Method("GP, ASHA 1", searching("gp"), asha(1)),
        Method("GP, ASHA 2", searching("gp"), asha(2)),
        Method("GP, ASHA 5", searching("gp"), asha(5)),
        Method("GP, ASHA 3, factor 2", searching("gp"), asha(3, 2)),
        Method("GP, ASHA 3, factor 4", searching("gp"), asha(3, 4)),
        Method("GP, none stopped", searching("gp"), _never()),
        Method("GP, ASHA 3, last epoch", searching("gp"), asha(3), "last", "last"),
        Method("GP, ASHA 3, best epoch", searching("gp"), asha(3), "best", "best"),
        Method("GP, ASHA 3, averaged weights", searching("gp"), asha(3), "average", "average"),
        Method("GP and neighbours, ASHA 3", _mixed(0.5), asha(3)),
        Method("random, promotion 3", searching("random"), promotion(3)),
        Method("GP, promotion 3", searching("gp"), promotion(3)),
        Method("GP, promotion 3, factor 2", searching("gp"), promotion(3, 2)),
        Method("random, best quarter after 1", searching("random"), _alone(lambda epochs: BestShare(0.25))),
        Method("GP after 5, ASHA 3", searching("gp", 5), asha(3)),
        Method("GP after 8, ASHA 3", searching("gp", 8), asha(3)),
    )
}
