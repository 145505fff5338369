"""What is computed beside the trials: a confirmation, a retrain, and the test of a retrained model."""

from __future__ import annotations

import platform
import time

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tune_fmnist.base.metrics import DIVERGED_SCORE, SCORED_EPOCHS, class_accuracy, score_of
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED
from tune_fmnist.data.images import Images, Split
from tune_fmnist.data.thumbnails import thumbnail
from tune_fmnist.models import networks
from tune_fmnist.models.config import Config
from tune_fmnist.models.saved import Arrays
from tune_fmnist.store.confirmation_table import packed
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult, RetrainJob, Tested, Trained
from tune_fmnist.training import device, fit


def confirm(job: ConfirmationJob, split: Split, gpu: bool, threads: int) -> ConfirmationResult:
    """Train one job on the training images and score it on the validation images.

    Args:
        job: what to train.
        split: the images of the search's trials.
        gpu: whether to train on the GPU that this process sees.
        threads: processor threads, 1 or more.
    """
    started = time.perf_counter()
    processor, precision = device.use_device(gpu=gpu, threads=threads)
    train, validation = (device.to_device(part, processor, precision) for part in (split.train, split.validation))
    epochs: list[fit.EpochMetrics] = []
    correct: list[bytes] = []

    def note(logits: Tensor) -> None:
        correct.append(packed((logits.argmax(1) == validation.labels).cpu().numpy()))

    fitted = fit.fit(
        job.config,
        train,
        validation,
        epochs=job.epochs,
        horizon=job.epochs,
        seed=job.seed,
        on_epoch=lambda metrics, state: epochs.append(metrics),
        on_validation=note,
    )
    diverged = fitted.last.diverged
    return ConfirmationResult(
        status=DIVERGED if diverged else COMPLETED,
        epochs=len(epochs),
        score=DIVERGED_SCORE if diverged else score_of([metrics.val_accuracy for metrics in epochs]),
        val_accuracy=None if diverged else fitted.last.val_accuracy,
        correct=[packed(np.zeros(len(validation.labels), np.bool_))] if diverged else correct[-SCORED_EPOCHS:],
        seconds=time.perf_counter() - started,
        parameters=fitted.parameters,
        node=platform.node(),
        device=processor.type,
        precision=precision,
    )


def train(job: RetrainJob, images: Images, gpu: bool, threads: int) -> Trained:
    """Train one job on all training images, without access to the test images.

    Args:
        job: what to train.
        images: all training images.
        gpu: whether to train on the GPU that this process sees.
        threads: processor threads, 1 or more.
    """
    started = time.perf_counter()
    processor, precision = device.use_device(gpu=gpu, threads=threads)
    epochs: list[fit.EpochMetrics] = []
    fitted = fit.fit(
        job.config,
        device.to_device(images, processor, precision),
        None,
        epochs=job.epochs,
        horizon=job.horizon,
        seed=job.seed,
        on_epoch=lambda metrics, state: epochs.append(metrics),
    )
    return Trained(
        epochs=[metrics._asdict() for metrics in epochs],
        train_size=len(images.labels),
        train_loss=fitted.last.train_loss,
        train_seconds=time.perf_counter() - started,
        parameters=fitted.parameters,
        node=platform.node(),
        device=processor.type,
        precision=precision,
        weights={name: value.cpu().numpy() for name, value in fitted.model.state_dict().items()},
    )


def evaluate(config: Config, weights: Arrays, sealed: Images, threads: int, pictures: int = 0) -> Tested:
    """Test one trained model, as whoever loads it would get it: float32, on a processor.

    Args:
        config: of the model.
        weights: of the model.
        sealed: the test images.
        threads: processor threads, 1 or more.
        pictures: of how many mistakes a picture is kept, of those that the model was surest of.
    """
    started = time.perf_counter()
    processor, _ = device.use_device(gpu=False, threads=threads)
    images = device.to_device(sealed, processor, "float32")
    logits = fit.predict(networks.restored(config, images.shape, weights), images)
    loss, accuracy = fit.score(logits, images.labels)
    confidence, predicted = (part.numpy() for part in logits.softmax(1).max(1))
    return Tested(
        test_accuracy=accuracy,
        test_loss=loss,
        class_accuracy=class_accuracy(sealed.labels, predicted, sealed.classes).tolist(),
        test_seconds=time.perf_counter() - started,
        predicted=predicted.astype("int16"),
        confidence=confidence,
        pictures=_pictures(sealed, predicted, confidence, pictures),
    )


def _pictures(
    sealed: Images, predicted: NDArray[np.int64], confidence: NDArray[np.float32], count: int
) -> dict[int, bytes]:
    wrong = np.flatnonzero(predicted != sealed.labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return {int(index): thumbnail(sealed.images[index]) for index in surest}
