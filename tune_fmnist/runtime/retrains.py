"""The loop over a search's retrains on Ray: training on all images, then the test.  The only reader of the test set."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import ray

from tune_fmnist import data
from tune_fmnist.base import signals
from tune_fmnist.base.metrics import class_accuracy
from tune_fmnist.base.vocabulary import FASHION_MNIST
from tune_fmnist.runtime.slots import Placement, Slots
from tune_fmnist.store.jobs import RetrainJob, RetrainResult
from tune_fmnist.store.retrain_tables import RetrainTables

if TYPE_CHECKING:
    from tune_fmnist.training.fit import EpochMetrics


def train_and_test(
    job: RetrainJob, train: data.Images, sealed: list[ray.ObjectRef[Any]], gpu: bool, threads: int
) -> RetrainResult:
    """Train one job on all training images and test it once; runs as a Ray task.

    Args:
        job: what to train.
        train: all training images.
        sealed: holds the reference to the test images, which is opened only after the training.
        gpu: whether to train on the GPU that this process sees.
        threads: processor threads, 1 or more.
    """
    # The driver imports this module and never trains: Torch takes two seconds to import.
    from tune_fmnist.training import device, fit

    started = time.perf_counter()
    processor, precision = device.use_device(gpu=gpu, threads=threads)
    epochs: list[EpochMetrics] = []
    fitted = fit.fit(
        job.config,
        device.to_device(train, processor, precision),
        None,
        epochs=job.epochs,
        horizon=job.horizon,
        seed=job.seed,
        on_epoch=lambda metrics, state: epochs.append(metrics),
    )
    test = ray.get(sealed[0])
    read_at = datetime.now(UTC)
    # In float32, so that whoever loads the saved weights gets these very predictions.
    images = device.to_device(test, processor, "float32")
    logits = fit.predict(fitted.model, images)
    loss, accuracy = fit.score(logits, images.labels)
    confidence, predicted = (part.cpu().numpy() for part in logits.softmax(1).max(1))
    return RetrainResult(
        epochs=[metrics._asdict() for metrics in epochs],
        train_size=len(train.labels),
        train_loss=fitted.last.train_loss,
        test_accuracy=accuracy,
        test_loss=loss,
        class_accuracy=class_accuracy(test.labels, predicted, len(FASHION_MNIST.classes)).tolist(),
        seconds=time.perf_counter() - started,
        parameters=sum(weight.numel() for weight in fitted.model.parameters()),
        node=platform.node(),
        device=processor.type,
        precision=precision,
        read_at=read_at,
        predicted=predicted.astype("int8"),
        confidence=confidence,
        weights={name: value.cpu().numpy() for name, value in fitted.model.state_dict().items()},
    )


def run_retrains(
    tables: RetrainTables,
    train: data.Images,
    source: data.Source,
    placement: Placement,
    slots: Slots,
    *,
    on_step: Callable[[RetrainJob | None, RetrainResult | None], None],
) -> None:
    """Run the retrains that are pending in the slots of Ray's cluster; their rows are in ``tables`` as each ends.

    Args:
        tables: say which retrains there are, and get the rows.
        train: all training images of the search.
        source: where the test images lie; they are read once, and given to each retrain when it has trained.
        placement: what a retrain occupies.
        slots: how many run at once.
        on_step: called a few times per second with None, and with each retrain that has ended and its result.
    """
    test = data.read_test(source)
    # Ray runs one that was lost with its node again, on another.
    task = ray.remote(train_and_test).options(
        num_cpus=placement.cpus, num_gpus=placement.gpus, scheduling_strategy="SPREAD"
    )
    train_ref, test_ref = ray.put(train), ray.put(test)
    threads = max(1, int(placement.cpus))
    # The longest first: a long one that starts last would leave the other slots idle.
    waiting = sorted(tables.pending, key=lambda job: -job.expected_seconds)
    running: dict[ray.ObjectRef[Any], RetrainJob] = {}
    while waiting or running:
        slots.count()
        while waiting and len(running) < slots.wanted:
            job = waiting.pop(0)
            running[task.remote(job, train_ref, [test_ref], placement.gpus > 0, threads)] = job
        ended, _ = ray.wait(list(running), timeout=0.25)
        for ref in ended:
            job, result = running.pop(ref), ray.get(ref)
            tables.add(job, result, test.labels)
            on_step(job, result)
        on_step(None, None)
        signals.check()
