"""One retrain: a model trained on all training images, then tested once."""

from __future__ import annotations

import platform
import time

from tune_fmnist.base.metrics import class_accuracy
from tune_fmnist.base.vocabulary import FASHION_MNIST
from tune_fmnist.data.images import Images
from tune_fmnist.models import networks
from tune_fmnist.models.config import Config
from tune_fmnist.models.saved import Arrays
from tune_fmnist.store.jobs import RetrainJob, Tested, Trained
from tune_fmnist.training import device, fit


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
        parameters=sum(weight.numel() for weight in fitted.model.parameters()),
        node=platform.node(),
        device=processor.type,
        precision=precision,
        weights={name: value.cpu().numpy() for name, value in fitted.model.state_dict().items()},
    )


def evaluate(config: Config, weights: Arrays, sealed: Images, threads: int) -> Tested:
    """Test one trained model, as whoever loads it would get it: float32, on a processor.

    Args:
        config: of the model.
        weights: of the model.
        sealed: the test images.
        threads: processor threads, 1 or more.
    """
    started = time.perf_counter()
    processor, _ = device.use_device(gpu=False, threads=threads)
    images = device.to_device(sealed, processor, "float32")
    logits = fit.predict(networks.restored(config, weights), images)
    loss, accuracy = fit.score(logits, images.labels)
    confidence, predicted = (part.numpy() for part in logits.softmax(1).max(1))
    return Tested(
        test_accuracy=accuracy,
        test_loss=loss,
        class_accuracy=class_accuracy(sealed.labels, predicted, len(FASHION_MNIST.classes)).tolist(),
        test_seconds=time.perf_counter() - started,
        predicted=predicted.astype("int8"),
        confidence=confidence,
    )
