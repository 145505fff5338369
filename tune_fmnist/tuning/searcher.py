"""The searcher behind Ray's interface: it tries what is proposed, and tells an Optuna study how each trial ended."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import optuna
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import COMPLETED, FAILED, RUNNING, STOPPED, Origin, Status
from tune_fmnist.models.config import Config, baseline
from tune_fmnist.store.endings import divergence, ending
from tune_fmnist.store.jobs import JOB, METRIC, RESULT, TrialJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.estimates import estimates
from tune_fmnist.tuning.proposals import Outcome, Proposal, Proposer, Values, suggest
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.study import ORIGIN, REASON, SEED, STATUS, is_outside, open_study, told_by_tables

_PATIENCE_SECONDS: Final = 0.05
"""How long running trials may have to wait for a draw; a Gaussian process of hundreds of trials takes half a second."""


class OptunaSearcher(Searcher):
    """Tries what a proposer proposes, and tells an Optuna study how each trial really ended.

    The study is the truth: each epoch is a step with the score after it; a trial that reached the last epoch is
    COMPLETE with its last step's score, one that ended earlier is PRUNED with it, also one that diverged, whose last
    score is the worst; one that failed is FAIL, one that waits RUNNING.  Who proposed a trial, its seed, and its status
    and reason, once it has ended, are the study's user attributes.  Ray's own ``OptunaSearch`` tells all of them
    COMPLETE.  The proposer does not learn from the study, but from the outcomes, in which stopped trials count as much
    as others.

    Trial 0 is the baseline.  If it lies outside the space, the study holds it as a FAIL without parameters, and no
    proposer learns of it.

    Args:
        space: where configurations come from.
        propose: proposes one, given the outcomes so far.
        seed: with a trial's number, of the trial.
        max_epochs: the length of a trial that is not stopped.
        journal: the file of the study, made if it is not there, and made anew if it is not of these trials.
        name: the study's name.
        count: trials of the search.
        audit: knows which trials run on although they were stopped.
        rungs: know which trials wait, and which of them goes on next.
        trials: of an interrupted search, as rows of ``trials.parquet`` by number.  One that has not ended there is
            issued again; one that waits, when it may go on.
        epochs: of the same, as ``TrialTables.reported`` returns them.

    Attributes:
        audit: as given.
        rungs: as given.
        study: Optuna's.
        rebuilt: why the study was made anew from the tables, in words; None if it was not.

    Raises:
        InputError: the trials are not those of this seed.
    """

    def __init__(
        self,
        space: Space,
        propose: Proposer,
        *,
        seed: int,
        max_epochs: int,
        journal: Path,
        name: str,
        count: int,
        audit: Audit,
        rungs: Rungs,
        trials: Mapping[int, Mapping[str, Any]] | None = None,
        epochs: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self._space, self._propose, self._seed, self._max_epochs = space, propose, seed, max_epochs
        self._count, self.audit, self.rungs = count, audit, rungs
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        told = told_by_tables(trials or {}, epochs, seed=seed, file=SearchPaths(journal.parent).trials)
        self.study, self._journal, self.rebuilt = open_study(journal, name, space, told)
        known = self.study.get_trials(deepcopy=False)
        self._running: dict[str, _Running] = {}
        self._paused: dict[int, _Running] = {}
        self._failed: dict[int, _Running] = {}
        self._aside = ThreadPoolExecutor(1, "proposals")
        self._drawing: Future[Proposal] | None = None
        self._origins: dict[int, Origin | None] = {trial.number: trial.user_attrs.get(ORIGIN) for trial in known}
        self._origins |= {number: row.get("origin") for number, row in (trials or {}).items()}
        configs = {0: baseline(space.model)} | {number: trial.config for number, trial in told.items()}
        self._outside = {number: config for number, config in configs.items() if is_outside(config, space)}
        self._seen: dict[int, _Seen] = {}
        for number, trial in told.items():
            values = space.values(trial.config)
            if values is not None and trial.status != FAILED:
                self._seen[number] = _Seen(values, dict(trial.steps))
        self._planned = [trial.number for trial in known if trial.state is TrialState.WAITING]
        for number in rungs.waiting:
            self._paused[number] = self._take(number)
        # What the tables lack is told once more from its checkpoint, even if the study knows how the trial ended: the
        # journal may be seconds ahead of the tables.
        self._unfinished = [
            trial.number
            for trial in known
            if trial.state is not TrialState.WAITING
            and (trial.number not in told or told[trial.number].status == RUNNING)
        ]

    # The type that Ray gives leaves out FINISHED.
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next trial's job, in what Ray takes for its configuration.

        First come trials that were cut off, then one that has waited and may go on, then new ones.  None if Ray is to
        ask again soon, FINISHED if no trial will come any more.
        """
        if self._unfinished and self._unfinished[0] in self._outside:
            number = self._unfinished.pop(0)
            return {JOB: self._job(number, self._outside[number])}
        if self._unfinished:
            running: _Running | None = self._take(self._unfinished.pop(0))
        elif (waiting := self._promoted()) is not None:
            running = self._paused.pop(waiting)
        elif not self._is_new_wanted:
            return None if self._running else str(Searcher.FINISHED)
        else:
            running = self._next()
        if running is None:
            return None
        config = self._space.sample(lambda name, parameter: suggest(running.trial, name, parameter))
        self._running[trial_id] = running
        self._seen.setdefault(running.trial.number, _Seen(dict(running.trial.params), {}))
        # A trial that is in the tables must have its parameters in the study, whatever happens to this machine.
        self._journal.sync()
        return {JOB: self._job(running.trial.number, config, running)}

    def _take(self, number: int) -> _Running:
        """Return a trial that was cut off or that waits, as the study has it."""
        frozen = self.study.get_trials(deepcopy=False)[number]
        trial = optuna.trial.Trial(self.study, frozen._trial_id)
        return _Running(trial, dict(frozen.intermediate_values), frozen.state)

    def _promoted(self) -> int | None:
        """Return a trial that has waited and goes on now; None if there is none.

        Who would wait for ever is stopped, and the audit may let it run on; that is known when nothing else is left.
        """
        number = self.rungs.candidate()
        if number is None and not self._is_new_wanted and not self._is_open:
            waiting = sorted(self.rungs.waiting.items())
            number = next((number for number, epoch in waiting if self.audit.spares(number, epoch)), None)
        if number is not None:
            self.rungs.promote(number)
        return number

    @property
    def _is_open(self) -> bool:
        """Whether a trial is running on whose score it depends who goes on: one that is still to reach a rung."""
        return any(
            running.trial.number not in (0, *self.audit.stopped_at)
            and max(running.steps, default=0) < self.rungs.highest
            for running in self._running.values()
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is left to run: what waits does so because others were better, not because time was up."""
        nothing_runs = not (self._unfinished or self._running)
        return nothing_runs and not self._is_new_wanted and self.rungs.candidate() is None

    @property
    def _is_new_wanted(self) -> bool:
        return self._new_number < self._count

    @property
    def _new_number(self) -> int:
        """The number of the next new trial: a planned one, or the next of the study."""
        return self._planned[0] if self._planned else len(self.study.get_trials(deepcopy=False))

    def _next(self) -> _Running | None:
        """Return a new trial: the next one that is planned, or else what is proposed; None while it is being drawn."""
        number = self._new_number
        # A start may leave parameters open.
        planned = self._planned_origin(number)
        proposal = Proposal({}, planned) if planned else self._drawn(number)
        if proposal is None:
            return None
        self._planned = self._planned[1:]
        self._origins[number] = proposal.origin
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            others = RandomSampler(seed=derived_seed(self._seed, number))
            self.study.sampler = PartialFixedSampler(dict(proposal.values), others)
        trial = self.study.ask()
        trial.set_user_attr(ORIGIN, proposal.origin)
        trial.set_user_attr(SEED, derived_seed(self._seed, number))
        return _Running(trial, {})

    def _drawn(self, number: int) -> Proposal | None:
        """Return a proposal; None while a thread draws it, so that running trials need not wait to be heard."""
        if self._drawing is None:
            self._drawing = self._aside.submit(self._propose, number, self._outcomes())
        try:
            proposal = self._drawing.result(_PATIENCE_SECONDS if self._running else None)
        except TimeoutError:
            return None
        self._drawing = None
        return proposal

    def _planned_origin(self, number: int) -> Origin | None:
        if number == 0:
            return "baseline"
        return "start" if number <= len(self._space.start) else None

    def _outcomes(self) -> list[Outcome]:
        """Return all trials that did not fail, in order of issue, with estimates of their scores at the last epoch."""
        told = [number for number, seen in sorted(self._seen.items()) if seen.steps]
        curves = [self.audit.counted(number, self._seen[number].steps) for number in told]
        estimated = dict(zip(told, estimates(curves), strict=True))
        return [Outcome(seen.values, estimated.get(number)) for number, seen in sorted(self._seen.items())]

    def _job(self, number: int, config: Config, known: _Running | None = None) -> TrialJob:
        """Return a trial's job; epoch ``judged`` is the last that was told so far, at which it may have ``ended``."""
        return TrialJob(
            number=number,
            seed=derived_seed(self._seed, number),
            config=config,
            max_epochs=self._max_epochs,
            origin=self._origins.get(number, self._planned_origin(number)),
            judged=max(known.steps, default=0) if known else 0,
            ended=known is not None and known.state in (TrialState.PRUNED, TrialState.COMPLETE),
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch that is not the trial's last."""
        if trial_id in self._running:
            self._report(self._running[trial_id], result)

    def _report(self, running: _Running, result: Mapping[str, Any]) -> None:
        # A trial that was cut off reports what it had reported before once more.
        epoch, score = result["epoch"], result[METRIC]
        self._seen[running.trial.number].steps[epoch] = score
        if epoch not in running.steps and not running.ended:
            running.steps[epoch] = score
            running.trial.report(score, epoch)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the study how a trial ended; ``result`` is what it reported last."""
        if trial_id not in self._running:
            return
        running = self._running.pop(trial_id)
        if error or not result:
            del self._seen[running.trial.number]
        if running.trial.number in self.rungs.waiting and result and not error:
            self._report(running, result)
            self._paused[running.trial.number] = running
        elif running.ended:
            return
        elif error:
            self._failed[running.trial.number] = running
        elif not result:
            self._tell(running, TrialState.FAIL, FAILED, "reported no epoch")
        else:
            self._report(running, result)
            self._tell(running, *self._ending(running, result))

    def _ending(self, running: _Running, result: Mapping[str, Any]) -> tuple[TrialState, Status, str]:
        epoch, audited_at = result["epoch"], self.audit.stopped_at.get(running.trial.number)
        if result[RESULT].diverged:
            return TrialState.PRUNED, *divergence(epoch, result[RESULT].train_loss)
        ended = ending(epoch, self._max_epochs, result[METRIC], audited_at=audited_at)
        return (TrialState.COMPLETE if ended.status == COMPLETED else TrialState.PRUNED), *ended

    def fail(self, number: int, reason: str) -> None:
        """Tell the study why a trial failed, after Ray has told that it did: only then is the error known."""
        if number in self._failed:
            self._tell(self._failed.pop(number), TrialState.FAIL, FAILED, reason)

    def _tell(self, running: _Running, state: TrialState, status: Status, reason: str) -> None:
        """Tell the study how a trial ended; nothing can be added afterwards."""
        running.trial.set_user_attr(STATUS, status)
        running.trial.set_user_attr(REASON, reason)
        if state is TrialState.COMPLETE:
            self.study.tell(running.trial, running.steps[max(running.steps)])
        else:
            self.study.tell(running.trial, state=state)
        self._journal.sync()

    def finish(self, begun: Container[int], reason: str | None) -> None:
        """Close the trials that wait, and those that were cut off with the search.

        Args:
            begun: the numbers of the trials that have a row; one that was issued and never began is none to close.
            reason: why, in words; None if only trials are left that wait, which were not among the best.
        """
        for running in self._paused.values():
            if not running.ended:
                last = max(running.steps)
                ended = ending(last, self._max_epochs, running.steps[last])
                self._tell(running, TrialState.PRUNED, ended.status, reason or ended.reason)
        self._paused.clear()
        for running in self._running.values():
            if not running.ended and running.trial.number in begun:
                state = TrialState.PRUNED if running.steps else TrialState.FAIL
                self._tell(running, state, STOPPED, reason or "the search ended")
        self._running.clear()
        self._journal.sync()
        self._aside.shutdown(wait=False, cancel_futures=True)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the journal holds all that the study knows, and Ray's pickles would run code when loaded."""

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a search resumes from its journal and its tables, never from Ray's snapshot."""
        raise NotImplementedError("a search resumes from its journal and tables")


class _Seen(NamedTuple):
    """A trial that did not fail: the values of its parameters, and its scores by epoch."""

    values: Values
    steps: dict[int, float]


class _Running(NamedTuple):
    """A trial that has been suggested, the scores reported for it by epoch, and its state when it was."""

    trial: optuna.Trial
    steps: dict[int, float]
    state: TrialState = TrialState.RUNNING

    @property
    def ended(self) -> bool:
        return self.state.is_finished()
