"""The loop over a search's retrains on Ray: training on all images, then the test.  The only reader of the test set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, WorkerCrashedError

from tune_fmnist import data
from tune_fmnist.base.errors import last_line
from tune_fmnist.runtime import head
from tune_fmnist.runtime.slots import Placement, Slots
from tune_fmnist.runtime.tasks import RETRIES, fetched, in_a_slot, run_in_slots
from tune_fmnist.store.jobs import RetrainJob, RetrainResult, Tested, Trained
from tune_fmnist.store.retrain_tables import RetrainTables

_PICTURES: Final = 100
"""Mistakes of the first rank's models of which a picture is kept: the page shows those that most of several made."""

_LOST: Final = (WorkerCrashedError, NodeDiedError, OutOfMemoryError, ObjectLostError)


def run_retrains(
    tables: RetrainTables,
    images: data.Images,
    source: data.Source,
    placement: Placement,
    slots: Slots,
    *,
    on_sealed: Callable[[data.Images], None] = lambda sealed: None,
    on_read: Callable[[], None] = lambda: None,
    on_step: Callable[[RetrainJob | None, RetrainResult | None], None],
) -> None:
    """Run the retrains that are pending in the slots of Ray's cluster; their rows are in ``tables`` as each ends.

    Args:
        tables: say which retrains there are, and get the rows.
        images: all training images of the search.
        source: where the test images lie.
        placement: what a retrain occupies.
        slots: how many run at once.
        on_sealed: given the test images, so that it may refuse them before a model sees one.
        on_read: called when the row of a read is in ``tables``, before the test images are handed out.
        on_step: called a few times per second with None, and with each retrain that has ended and its result.
    """
    sealed = source.read_test(images.shape)
    on_sealed(sealed)
    tasks = _Tasks(images, sealed, placement)

    def go_on(stage: _Stage, ref: ray.ObjectRef[Any]) -> ray.ObjectRef[Any] | None:
        result = _next(stage, ref)
        if result is None:
            tables.begin_read(stage.job)
            on_read()
            return tasks.test(stage)
        tables.add(stage.job, result, tasks.labels)
        on_step(stage.job, result)
        return None

    # The longest first: a long one that starts last would leave the other slots idle.
    waiting = [_Stage(job) for job in sorted(tables.pending, key=lambda job: -job.expected_seconds)]
    run_in_slots(waiting, slots, tasks.train, go_on, lambda: on_step(None, None))


@dataclass
class _Stage:
    """How far a retrain has come: what was trained, if it was, and how many of its tests were lost."""

    job: RetrainJob
    trained: Trained | None = None
    lost: int = 0


class _Tasks:
    """What Ray runs.  A training that is lost Ray runs again; a test it never does, for each needs a row of its own."""

    def __init__(self, images: data.Images, sealed: data.Images, placement: Placement) -> None:
        self.labels = sealed.labels
        self._images, self._sealed = ray.put(images), ray.put(sealed)
        self._gpu, self._threads = placement.gpus > 0, max(1, int(placement.cpus))
        self._train = in_a_slot("train", placement)
        self._evaluate = in_a_slot("evaluate", placement, gpu=False, retries=0)

    def train(self, stage: _Stage) -> ray.ObjectRef[Any]:
        ref: ray.ObjectRef[Any] = self._train(stage.job, self._images, self._gpu, self._threads)
        return ref

    def test(self, stage: _Stage) -> ray.ObjectRef[Any]:
        assert stage.trained is not None
        pictures = _PICTURES if stage.job.rank == 1 else 0
        ref: ray.ObjectRef[Any] = self._evaluate(
            stage.job.config, stage.trained.weights, self._sealed, self._threads, pictures
        )
        return ref


def _next(stage: _Stage, ref: ray.ObjectRef[Any]) -> RetrainResult | None:
    """Return the result of a retrain whose task has ended, or None if the model is to be tested next, or once more."""
    if stage.trained is None:
        stage.trained = fetched(ref)
        return None
    try:
        tested: Tested = fetched(ref)
    except _LOST as error:
        stage.lost += 1
        # With Ray's own process here the next task would end this program, without a word.
        if stage.lost > RETRIES or not head.answers():
            raise
        what = "a test was lost with its process, and is made again as another read of the test set: %s"
        logging.getLogger(__name__).warning(what, last_line(error))
        return None
    return RetrainResult(**vars(stage.trained), **vars(tested))
