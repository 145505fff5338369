"""Optuna behind Ray's Searcher interface: it learns how each trial really ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import DIVERGED, FAILED, RUNNING, STOPPED, Origin, SearcherName
from tune_fmnist.models.config import Config, baseline
from tune_fmnist.store.jobs import JOB, METRIC, RESULT, EpochResult, TrialJob
from tune_fmnist.tuning.methods import SEARCHER_ARGUMENTS
from tune_fmnist.tuning.optuna_journal import Journal
from tune_fmnist.tuning.space import CategoricalParameter, IntParameter, Parameter, Space, Value

SAMPLERS: Final[dict[SearcherName, Callable[..., BaseSampler]]] = {
    "tpe": TPESampler,
    "gp": GPSampler,
    "random": RandomSampler,
}


class OptunaSearcher(Searcher):
    """Suggests configurations of a space from an Optuna study, and tells the study how each trial really ended.

    A trial that reached the last epoch is COMPLETE with its best validation accuracy, one that ended earlier is PRUNED
    with its last step, one that diverged or failed is FAIL.  Ray's own ``OptunaSearch`` tells all of them COMPLETE.

    Trial 0 is the baseline.  If it lies outside the space, the study holds it as a FAIL without
    parameters, the one state that no sampler learns from.

    Args:
        space: where configurations come from.
        searcher: which sampler.
        seed: of the sampler and, with a trial's number, of each trial.
        max_epochs: the length of a trial that is not stopped.
        journal: the file of the study, made if it is not there.
        name: the study's name.
    """

    def __init__(
        self, space: Space, searcher: SearcherName, *, seed: int, max_epochs: int, journal: Path, name: str
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._space, self._searcher, self._seed, self._max_epochs = space, searcher, seed, max_epochs
        arguments = SEARCHER_ARGUMENTS[searcher]
        if searcher == "tpe" and space.conditional():
            arguments = {**arguments, "group": True}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._journal = Journal(journal)
        self.study = optuna.create_study(
            storage=JournalStorage(self._journal),
            direction="maximize",
            study_name=name,
            load_if_exists=True,
        )
        known = len(self.study.get_trials(deepcopy=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A resumed search must not draw once more what it drew before.
            self.study.sampler = SAMPLERS[searcher](seed=derived_seed(seed, known) if known else seed, **arguments)
        self._running: dict[str, _Running] = {}
        self._unfinished: list[int] = []
        if not known:
            self._begin()
            self._journal.sync()

    def _begin(self) -> None:
        values = self._space.values(baseline(self._space.model))
        if values is None:
            self.study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
            self._unfinished.append(0)
        else:
            self.study.enqueue_trial(values)
        for start in self._space.start:
            self.study.enqueue_trial(start)

    def resume(self, trials: Mapping[int, Mapping[str, Any]]) -> None:
        """Reconcile the study with the trials of an interrupted search, given as rows of ``trials.parquet`` by number.

        A trial that the study holds as RUNNING is told as the table has it if it has ended there.  One that has not is
        issued again, also if it has ended in the study: the journal may be seconds ahead of the tables.
        """
        self._unfinished = []
        for frozen in self.study.get_trials(deepcopy=False):
            row = trials.get(frozen.number)
            if frozen.state is TrialState.WAITING:
                continue
            if row is None or row["status"] == RUNNING:
                # What is missing is told once more from its checkpoint, even if the study knows how the trial ended.
                self._unfinished.append(frozen.number)
            elif frozen.state is TrialState.RUNNING:
                running = self._take(frozen.number)
                if row["status"] in (DIVERGED, FAILED) or not running.steps:
                    self.study.tell(running.trial, state=TrialState.FAIL)
                elif row["status"] == STOPPED:
                    self.study.tell(running.trial, state=TrialState.PRUNED)
                else:
                    self.study.tell(running.trial, row["best_val_accuracy"])
        self._journal.sync()

    def _is_outside(self) -> bool:
        return self._space.values(baseline(self._space.model)) is None

    def _take(self, number: int) -> _Running:
        frozen = self.study.get_trials(deepcopy=False)[number]
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        return _Running(trial, dict(frozen.intermediate_values), frozen.state)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Return the next trial's job, in what Ray takes for its configuration."""
        if self._unfinished and self._unfinished[0] == 0 and self._is_outside():
            self._unfinished.pop(0)
            return {JOB: self._job(0, baseline(self._space.model), "baseline")}
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
            self._running[trial_id].report(result[RESULT])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how a trial ended; ``result`` is what it reported last."""
        if trial_id not in self._running:
            return
        running = self._running.pop(trial_id)
        if running.ended:
            return
        last: EpochResult | None = result[RESULT] if result else None
        if error or last is None or last.diverged:
            self.study.tell(running.trial, state=TrialState.FAIL)
        else:
            running.report(last)
            if last.epoch < self._max_epochs:
                self.study.tell(running.trial, state=TrialState.PRUNED)
            else:
                self.study.tell(running.trial, max(running.steps.values()))
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
    """A trial that has been suggested, the validation accuracies reported for it, and its state when it was."""

    trial: optuna.Trial
    steps: dict[int, float]
    state: TrialState = TrialState.RUNNING

    @property
    def ended(self) -> bool:
        return self.state.is_finished()

    def report(self, result: EpochResult) -> None:
        # A trial that was cut off reports what it had reported before once more.
        if result.epoch not in self.steps and not self.ended:
            self.steps[result.epoch] = result.val_accuracy
            self.trial.report(result.val_accuracy, result.epoch)


def _suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Draw one parameter's value; types and bounds are Optuna's."""
    if isinstance(parameter, CategoricalParameter):
        return cast(Value, trial.suggest_categorical(name, parameter.choices))
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    return trial.suggest_float(name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
