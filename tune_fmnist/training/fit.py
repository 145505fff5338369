"""The one training loop: ``fit(config, ...)`` trains a model, the same for a trial, a retrain and a run without Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tune_fmnist.base.vocabulary import Precision
from tune_fmnist.data.fashion_mnist import Images
from tune_fmnist.models.config import Config
from tune_fmnist.models.networks import CLASS_COUNT, build
from tune_fmnist.training.cuda_graph import CapturedSteps
from tune_fmnist.training.optimizer import Weights

EVAL_BATCH = 500
"""Images a forward pass in validation and test: larger ones leave the processor's cache (measured, 200 to 4000)."""

GPU_EVAL_BATCH = 4000
"""The same on a GPU, which smaller ones leave idle between launches; the founding report's CNN takes 0.3 GB then."""

_CHECK_EVERY = 100
"""Steps between two looks for a loss that is no longer finite: a lost trial ends within an epoch, at no cost."""


State = dict[str, Tensor]
"""What a training is taken up from: the weights and the optimizer's memory, float32, each as one vector."""


class DeviceImages(NamedTuple):
    """Images ready to train on: ``images`` (n, 1, 28, 28) in (-1, 1), in the computing type; ``labels`` (n,) int64."""

    images: Tensor
    labels: Tensor


class EpochResult(NamedTuple):
    """One epoch of training.

    Losses are mean cross entropies in nats, accuracies fractions, times seconds.  Without validation images the
    validation figures are NaN.  A loss that is not finite means that the training diverged in this epoch.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    train_seconds: float
    eval_seconds: float

    @property
    def diverged(self) -> bool:
        return not math.isfinite(self.train_loss)


class Fitted(NamedTuple):
    """A trained model, in evaluation mode, and the result of its last epoch."""

    model: nn.Module
    last: EpochResult


def choose_precision(device: torch.device) -> Precision:
    """Return bfloat16 where the hardware multiplies it natively, else float32.

    The processor is asked, not timed, so that a search gives the same result twice.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return "bfloat16" if native else "float32"


def to_device(data: Images, device: torch.device, precision: Precision) -> DeviceImages:
    """Copy images to a device once, scaled to (-1, 1) in the computing type."""
    pixels = torch.tensor(data.images).to(device).unsqueeze(1)
    scaled = pixels.to(torch.float32).div_(127.5).sub_(1.0)
    return DeviceImages(scaled.to(getattr(torch, precision)), torch.tensor(data.labels).to(device, torch.int64))


def fit(
    config: Config,
    train: DeviceImages,
    validation: DeviceImages | None,
    *,
    epochs: int,
    horizon: int,
    seed: int,
    on_epoch: Callable[[EpochResult, State], None] = lambda result, state: None,
    after: int = 0,
    state: State | None = None,
) -> Fitted:
    """Train a model of ``config`` for ``epochs`` epochs, or until its loss is no longer finite.

    Each epoch draws from a generator of its own, seeded with ``seed`` and the epoch's number, so that the weights and
    the optimizer's memory are all that a training has to be taken up from, to the bit.

    Args:
        config: what to train and how.
        train: the training images; their device and type decide where and in which precision it is computed.
        validation: evaluated after each epoch if given.
        epochs: how long to train.
        horizon: the epochs over which a learning rate schedule runs; at least ``epochs``.
        seed: of the weights, dropout, the order of the images and their augmentation; 32 bits.
        on_epoch: called with each epoch's result and the state after it; the state changes with the next step.
        after: the epoch behind which to go on, less than ``epochs``.
        state: what ``on_epoch`` was given then.
    """
    if not 0 <= after < epochs <= horizon:
        raise ValueError(f"epochs {after} to {epochs} are not in 0..{horizon}")
    device = train.images.device
    torch.manual_seed(_epoch_seed(seed, 0))
    model = build(config).to(device).to(memory_format=torch.channels_last)
    weights = Weights(model, config, train.images.dtype)
    if state is not None:
        weights.restore(state)
    steps_per_epoch = math.ceil(len(train.labels) / config.batch_size)
    training = _Training(config, model, weights, train)
    for epoch in range(after + 1, epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(_epoch_seed(seed, epoch))
        first_step = (epoch - 1) * steps_per_epoch
        rates = [
            _learning_rate(config, step, horizon * steps_per_epoch)
            for step in range(first_step, first_step + steps_per_epoch)
        ]
        loss, accuracy = training.epoch(rates)
        trained = time.perf_counter()
        val_loss, val_accuracy = math.nan, math.nan
        if validation is not None:
            val_loss, val_accuracy = score(predict(model, validation), validation.labels)
        result = EpochResult(
            epoch=epoch,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=rates[-1],
            train_seconds=trained - started,
            eval_seconds=time.perf_counter() - trained,
        )
        on_epoch(result, weights.state())
        if result.diverged:
            break
    weights.release()
    return Fitted(model.eval(), result)


def predict(model: nn.Module, data: DeviceImages) -> Tensor:
    """Return the logits (n, 10), float32, of every image; computed in the type of ``data.images``."""
    model.eval()
    size = EVAL_BATCH if data.images.device.type == "cpu" else GPU_EVAL_BATCH
    with torch.inference_mode(), _autocast(data.images):
        return torch.cat([model(batch) for batch in torch.split(data.images, size)]).float()


def score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross entropy and accuracy of logits (n, 10) against labels (n,)."""
    hits = logits.argmax(1) == labels
    return functional.cross_entropy(logits, labels).item(), hits.sum().item() / len(labels)


def _epoch_seed(seed: int, epoch: int) -> int:
    """Return a seed of 32 bits, all that PyTorch's generator on the processor uses; epoch 0 draws the weights."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _autocast(images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16)


def _learning_rate(config: Config, step: int, horizon_steps: int) -> float:
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * (1 + math.cos(math.pi * step / horizon_steps)) / 2


class _Training:
    """The epochs of a training, step by step on a processor, as a captured graph on a GPU."""

    def __init__(self, config: Config, model: nn.Module, weights: Weights, train: DeviceImages) -> None:
        self._config, self._model, self._weights, self._train = config, model, weights, train
        whole = len(train.labels) // config.batch_size
        captured = whole > 0 and _capturable(config, train.images.device)
        self._captured = CapturedSteps(self._step, whole, config.batch_size, train.images.device) if captured else None

    def epoch(self, rates: list[float]) -> tuple[float, float]:
        """Train one epoch with a learning rate a step, or until the loss is no longer finite.

        Returns:
            The mean loss and the accuracy over the epoch's steps.
        """
        self._model.train()
        order = torch.randperm(len(self._train.labels), device=self._train.labels.device)
        labels = self._train.labels[order]
        targets = functional.one_hot(labels, CLASS_COUNT).float()
        logits: list[Tensor] = []
        done = steps = 0
        if self._captured is not None:
            logits.append(self._captured.run(order, targets, torch.tensor(rates, device=order.device), _lost))
            done, steps = len(logits[0]), self._captured.count
        size = self._config.batch_size
        if done == steps * size:
            # Where nothing is left, the split gives one empty batch, for which there is no rate.
            batches = zip(
                rates[steps:], torch.split(order[done:], size), torch.split(targets[done:], size), strict=False
            )
            for step, (rate, batch, of_batch) in enumerate(batches):
                logits.append(self._step(batch, of_batch, rate))
                if _lost(step, logits[-1]):
                    break
        seen = torch.cat(logits).float()
        return score(seen, labels[: len(seen)])

    def _step(self, batch: Tensor, targets: Tensor, rate: float | Tensor) -> Tensor:
        images = self._train.images.index_select(0, batch)
        if self._config.flip or self._config.shift:
            images = _augment(images, self._config)
        output = self._model(images)
        logits: Tensor = output.detach()
        # The gradient of the mean cross entropy, written out: through autograd it takes a tenth of the ANN's step.
        gradient = torch.softmax(logits, 1, dtype=torch.float32).sub_(targets).div_(len(batch))
        self._weights.step(output, gradient.to(output.dtype), rate)
        return logits


def _capturable(config: Config, device: torch.device) -> bool:
    """Return whether a step can be a graph: how far a batch is moved is decided on the processor, which has no part."""
    return device.type == "cuda" and not config.shift


def _lost(step: int, logits: Tensor) -> bool:
    """Return, every hundred steps, whether the logits are no longer finite."""
    return step % _CHECK_EVERY == _CHECK_EVERY - 1 and not logits.isfinite().all()


def _augment(images: Tensor, config: Config) -> Tensor:
    """Mirror each image with probability one half; move the batch by up to ``shift`` pixels each way."""
    if config.flip:
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if config.shift:
        down, right = torch.randint(0, 2 * config.shift + 1, (2,)).tolist()
        padded = functional.pad(images, [config.shift] * 4, value=-1.0)
        images = padded[:, :, down : down + 28, right : right + 28]
    return images
