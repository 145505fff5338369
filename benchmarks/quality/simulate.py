"""A search on a simulated clock: the real searcher and the real scheduler, told of trainings that a world answers."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np
from ray.tune.schedulers import TrialScheduler

from benchmarks.quality.best_share import BestShare
from benchmarks.quality.first_edition import FirstSearcher
from benchmarks.quality.methods import Method, judged
from benchmarks.quality.world import World, coordinates
from benchmarks.simulated import made_up
from tune_fmnist.store.jobs import JOB, METRIC, RESULT, TrialJob
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.searcher import OptunaSearcher

START_SECONDS: Final = 0.1
"""From the end of a trial to the first step of the next one in its slot."""


class Found(NamedTuple):
    """What a search would hand to its retrain at some moment, and what it had spent until then.

    Attributes:
        epochs: of all trials, the baseline's too.
        seconds: simulated.
        started: trials begun.
        number: of the trial whose configuration ranks first.
        truth: about that configuration.
    """

    epochs: int
    seconds: float
    started: int
    number: int
    truth: float


@dataclass
class _Trial:
    """A trial of a simulated search: its job, what its training will report, the seconds of an epoch, the truth.

    Its name is another one each time that it is issued, as in Ray.
    """

    name: str
    job: TrialJob
    accuracies: list[float]
    seconds: float
    truth: float
    epochs: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.epochs == self.job.max_epochs


class Search:
    """A simulated search.

    Args:
        method: how configurations are proposed, when trials stop, and what they are judged by.
        world: answers for the trainings.
        trials: how many, the baseline included.
        slots: trials at once.
        seed: of the search and its trainings.
    """

    def __init__(self, method: Method, world: World, *, trials: int, slots: int, seed: int) -> None:
        self._method, self._world, self._count, self._slots, self._seed = method, world, trials, slots, seed
        self._trials: list[_Trial] = []
        self._scheduler, self._rungs = method.stopping(world.horizon)
        self._pauses = isinstance(self._scheduler, BestShare)
        if self._pauses:
            self._scheduler.expect(trials)
        self._events: list[tuple[float, int, _Trial]] = []
        self._order, self._names = itertools.count(), itertools.count()

    def run(self) -> list[Found]:
        """Run all trials; return what would be handed on, when a trial has reached the last epoch and at the end."""
        # Journals are synchronised to the disk often, for which there may be a folder in memory.
        memory = Path("/dev/shm")  # noqa: S108 -- a new folder is made in it
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            self._searcher = self._make_searcher(Path(folder))
            return list(self._run())

    @property
    def origins(self) -> Counter[str]:
        """How many trials each origin proposed."""
        return Counter(trial.job.origin or "unknown" for trial in self._trials)

    def _make_searcher(self, folder: Path) -> OptunaSearcher | FirstSearcher:
        space, horizon = self._world.space, self._world.horizon
        if self._method.propose is None:
            return FirstSearcher(space, self._seed, horizon)
        return OptunaSearcher(
            space,
            self._method.propose(space, self._seed),
            seed=self._seed,
            max_epochs=horizon,
            journal=folder / "optuna.journal",
            name="simulated",
            count=self._count,
            audit=Audit(0.0, self._seed),
            rungs=self._rungs,
        )

    def _run(self) -> Iterator[Found]:
        free, epochs = self._slots, 0
        free = self._fill(free, 0.0)
        while self._events:
            now, _, trial = heapq.heappop(self._events)
            epochs += 1
            if self._report(trial):
                self._push(now, trial)
                continue
            free = self._fill(free + 1, now + START_SECONDS)
            if trial.complete or not self._events:
                best = max((trial for trial in self._trials if trial.complete), key=self._score)
                yield Found(epochs, now, len(self._trials), best.job.number, best.truth)

    def _fill(self, free: int, now: float) -> int:
        """Let paused trials go on in the free slots, and begin new ones; return how many slots stay free."""
        while free:
            paused = self._scheduler.promoted() if self._pauses else None
            if paused is not None:
                self._push(now, self._trials[int(paused)])
            elif (trial := self._issued()) is not None:
                self._push(now, trial)
            else:
                break
            free -= 1
        return free

    def _score(self, trial: _Trial) -> float:
        return judged(self._method.chosen_by, trial.accuracies[: trial.epochs])

    def _issued(self) -> _Trial | None:
        """Return the trial that the searcher issues now, a new one or one that has waited; None if there is none."""
        name, wanted = str(next(self._names)), len(self._trials) < self._count
        if not wanted and isinstance(self._searcher, FirstSearcher):
            return None
        # The clock stands still while the searcher draws.
        while (suggested := self._searcher.suggest(name)) is None and wanted:
            pass
        if not isinstance(suggested, dict):
            return None
        job: TrialJob = suggested[JOB]
        if job.number == len(self._trials):
            self._begin(name, job)
        self._trials[job.number].name = name
        return self._trials[job.number]

    def _begin(self, name: str, job: TrialJob) -> None:
        values = self._world.space.values(job.config)
        assert values is not None
        training = self._world.train(values, np.random.default_rng([self._seed, job.number]))
        truth = self._world.truth(coordinates(self._world.space, values)[None])
        averaged = self._method.averaged
        accuracies = (training.average if averaged else training.weights).tolist()
        true = float((truth.average if averaged else truth.weights)[0])
        trial = _Trial(name, job, accuracies, training.seconds, true)
        self._trials.append(trial)
        if not self._pauses:
            self._scheduler.on_trial_add(None, _named(trial))

    def _push(self, now: float, trial: _Trial) -> None:
        heapq.heappush(self._events, (now + trial.seconds, next(self._order), trial))

    def _report(self, trial: _Trial) -> bool:
        """Tell of a trial's next epoch, as Ray does; return whether the trial goes on at once."""
        trial.epochs += 1
        accuracies = trial.accuracies[: trial.epochs]
        told = {
            "epoch": trial.epochs,
            METRIC: judged(self._method.judge, accuracies),
            RESULT: made_up(trial.epochs, accuracies[-1]),
        }
        action = self._scheduler.on_trial_result(None, _named(trial), told)
        if action != TrialScheduler.STOP and not trial.complete:
            self._searcher.on_trial_result(trial.name, told)
            return bool(action == TrialScheduler.CONTINUE)
        if not self._pauses:
            self._scheduler.on_trial_complete(None, _named(trial), told)
        self._searcher.on_trial_complete(trial.name, told)
        return False


def _named(trial: _Trial) -> Any:
    """Return all that the scheduler reads of Ray's trial."""
    return SimpleNamespace(config={JOB: trial.job}, trial_id=str(trial.job.number))
