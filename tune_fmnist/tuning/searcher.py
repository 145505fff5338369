"""Optuna behind Ray's Searcher interface: it learns how each trial really ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import RUNNING, Origin, SearcherName
from tune_fmnist.models.config import Config, baseline
from tune_fmnist.store.jobs import JOB, METRIC, RESULT, TrialJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.tuning.methods import SEARCHER_ARGUMENTS
from tune_fmnist.tuning.space import CategoricalParameter, IntParameter, Parameter, Space, Value
from tune_fmnist.tuning.study import is_outside, open_study, told_by_tables

SAMPLERS: Final[dict[SearcherName, Callable[..., BaseSampler]]] = {
    "tpe": TPESampler,
    "gp": GPSampler,
    "random": RandomSampler,
}


class OptunaSearcher(Searcher):
    """Suggests configurations of a space from an Optuna study, and tells the study how each trial really ended.

    Each epoch is a step with the score after it.  A trial that reached the last epoch is COMPLETE with its last step's
    score, one that ended earlier is PRUNED with it, one that diverged or failed is FAIL.  Ray's own ``OptunaSearch``
    tells all of them COMPLETE.

    Trial 0 is the baseline.  If it lies outside the space, the study holds it as a FAIL without
    parameters, the one state that no sampler learns from.

    Args:
        space: where configurations come from.
        searcher: which sampler.
        seed: of the sampler and, with a trial's number, of each trial.
        max_epochs: the length of a trial that is not stopped.
        journal: the file of the study, made if it is not there, and made anew if it is not of these trials.
        name: the study's name.
        trials: of an interrupted search, as rows of ``trials.parquet`` by number.  One that has not ended there is
            issued again.
        epochs: of the same, as ``TrialTables.reported`` returns them.

    Attributes:
        study: Optuna's.
        rebuilt: why the study was made anew from the tables, in words; None if it was not.

    Raises:
        InputError: the trials are not those of this seed.
    """

    def __init__(
        self,
        space: Space,
        searcher: SearcherName,
        *,
        seed: int,
        max_epochs: int,
        journal: Path,
        name: str,
        trials: Mapping[int, Mapping[str, Any]] | None = None,
        epochs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._space, self._searcher, self._seed, self._max_epochs = space, searcher, seed, max_epochs
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        told = told_by_tables(trials or {}, epochs, seed=seed, file=SearchPaths(journal.parent).trials)
        self.study, self._journal, self.rebuilt = open_study(journal, name, space, told)
        known = self.study.get_trials(deepcopy=False)
        self.study.sampler = self._sampler(len(known) if any(trial.params for trial in known) else 0)
        self._running: dict[str, _Running] = {}
        configs = {0: baseline(space.model)} | {number: trial.config for number, trial in told.items()}
        self._outside = {number: config for number, config in configs.items() if is_outside(config, space)}
        # What the tables lack is told once more from its checkpoint, even if the study knows how the trial ended: the
        # journal may be seconds ahead of the tables.
        self._unfinished = [
            trial.number
            for trial in known
            if trial.state is not TrialState.WAITING
            and (trial.number not in told or told[trial.number].status == RUNNING)
        ]

    def _sampler(self, known: int) -> BaseSampler:
        arguments = SEARCHER_ARGUMENTS[self._searcher]
        if self._searcher == "tpe" and self._space.conditional():
            arguments = {**arguments, "group": True}
        # A resumed search must not draw once more what it drew before.
        seed = derived_seed(self._seed, known) if known else self._seed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[self._searcher](seed=seed, **arguments)

    def _take(self, number: int) -> _Running:
        frozen = self.study.get_trials(deepcopy=False)[number]
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        return _Running(trial, dict(frozen.intermediate_values), frozen.state)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's job, in what Ray takes for its configuration."""
        if self._unfinished and self._unfinished[0] in self._outside:
            number = self._unfinished.pop(0)
            return {JOB: self._job(number, self._outside[number], self._origin(number))}
        running = self._take(self._unfinished.pop(0)) if self._unfinished else _Running(self.study.ask(), {})
        config = self._space.sample(lambda name, parameter: _suggest(running.trial, name, parameter))
        self._running[trial_id] = running
        # A trial that is in the tables must have its parameters in the study, whatever happens to this machine.
        self._journal.sync()
        return {JOB: self._job(running.trial.number, config, self._origin(running.trial.number), running)}

    def _origin(self, number: int) -> Origin | None:
        """Return who proposed a trial; a sampler does not tell its random draws from those of its model."""
        if number == 0:
            return "baseline"
        if number <= len(self._space.start):
            return "start"
        return "random" if self._searcher == "random" else None

    def _job(self, number: int, config: Config, origin: Origin | None, known: _Running | None = None) -> TrialJob:
        """Return a trial's job; the scheduler let it go on after epoch ``judged``, or ``ended`` it there."""
        return TrialJob(
            number=number,
            seed=derived_seed(self._seed, number),
            config=config,
            max_epochs=self._max_epochs,
            origin=origin,
            judged=max(known.steps, default=0) if known else 0,
            ended=known is not None and known.state in (TrialState.PRUNED, TrialState.COMPLETE),
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch that is not the trial's last."""
        if trial_id in self._running:
            self._running[trial_id].report(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how a trial ended; ``result`` is what it reported last."""
        if trial_id not in self._running:
            return
        running = self._running.pop(trial_id)
        if running.ended:
            return
        if error or not result or result[RESULT].diverged:
            self.study.tell(running.trial, state=TrialState.FAIL)
        else:
            running.report(result)
            if result["epoch"] < self._max_epochs:
                self.study.tell(running.trial, state=TrialState.PRUNED)
            else:
                self.study.tell(running.trial, running.steps[max(running.steps)])
        self._journal.sync()

    def finish(self) -> None:
        """Close the trials that were cut off with the search: samplers learn from one that stays RUNNING."""
        for running in self._running.values():
            if not running.ended:
                self.study.tell(running.trial, state=TrialState.PRUNED if running.steps else TrialState.FAIL)
        self._running.clear()
        self._journal.sync()

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal holds all that the study knows, and Ray's pickles would run code when loaded."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a search resumes from its journal and its tables, never from Ray's snapshot."""
        raise NotImplementedError("a search resumes from its journal and tables")


class _Running(NamedTuple):
    """A trial that has been suggested, the scores reported for it by epoch, and its state when it was."""

    trial: optuna.Trial
    steps: dict[int, float]
    state: TrialState = TrialState.RUNNING

    @property
    def ended(self) -> bool:
        return self.state.is_finished()

    def report(self, result: Mapping[str, Any]) -> None:
        # A trial that was cut off reports what it had reported before once more.
        epoch, score = result["epoch"], result[METRIC]
        if epoch not in self.steps and not self.ended:
            self.steps[epoch] = score
            self.trial.report(score, epoch)


def _suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Draw one parameter's value; types and bounds are Optuna's."""
    if isinstance(parameter, CategoricalParameter):
        return cast(Value, trial.suggest_categorical(name, parameter.choices))
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
