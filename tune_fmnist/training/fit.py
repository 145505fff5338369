"""The one training loop: ``fit(config, ...)`` trains a model, the same for a trial, a retrain and a run without Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.models.config import Config
from tune_fmnist.models.networks import build, computes_in_copy, judged, trains_on_one_image
from tune_fmnist.training.augmentation import Augmentation
from tune_fmnist.training.cuda_graph import CapturedSteps
from tune_fmnist.training.device import DeviceImages, autocast
from tune_fmnist.training.optimizer import Optimizer, share_of_average

EVAL_BATCH = 500
"""Images per forward pass in validation and test: larger ones leave the processor's cache (measured, 200 to 4000)."""

GPU_EVAL_BATCH = 4000
"""The same on a GPU, which smaller ones leave idle between launches; the baseline CNN takes 0.3 GB then."""

_CHECK_EVERY = 100
"""Steps between two checks that the loss is finite: a diverged trial ends within an epoch, at no cost."""


State = dict[str, Tensor]
"""What a training resumes from: the weights, their average if it is taken, and the optimizer's memory, float32, each as
one vector, and buffers."""

_BUFFER = "buffer."
"""Before the name of a buffer of the network, such as a batch norm's running mean."""


class EpochMetrics(NamedTuple):
    """What one epoch of training measured.

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
    """A trained model, in evaluation mode, the result of its last epoch, and how many parameters were trained.

    Its weights are the averaged ones if the configuration asks for an average.
    """

    model: nn.Module
    last: EpochMetrics
    parameters: int


def fit(
    config: Config,
    train: DeviceImages,
    validation: DeviceImages | None,
    *,
    epochs: int,
    horizon: int,
    seed: int,
    on_epoch: Callable[[EpochMetrics, State], None] = lambda metrics, state: None,
    on_validation: Callable[[Tensor], None] = lambda logits: None,
    after: int = 0,
    state: Mapping[str, Tensor | NDArray[Any]] | None = None,
) -> Fitted:
    """Train a model of ``config`` for ``epochs`` epochs, or until its loss is no longer finite.

    Each epoch draws from a generator of its own, seeded with ``seed`` and the epoch's number, so that the weights, the
    optimizer's memory and the network's buffers are all that a training needs to resume: on a processor to the bit, on
    a GPU how nearly has not been measured.  A network that draws random numbers draws them from PyTorch, or they are
    not the same again.

    Args:
        config: what to train and how.
        train: the training images; their device and type decide where and in which precision it is computed.
        validation: evaluated after each epoch if given.
        epochs: how long to train.
        horizon: the epochs over which a learning rate schedule runs; at least ``epochs``.
        seed: of the weights, dropout, the order of the images and their augmentation; 32 bits.
        on_epoch: called with each epoch's metrics and the state after it; the state changes with the next step.
        on_validation: called before it with the logits (n, classes) of the validation images, if there are any.
        after: the epochs trained before, less than ``epochs``.
        state: what ``on_epoch`` was given then.
    """
    if not 0 <= after < epochs <= horizon:
        raise ValueError(f"epochs {after} to {epochs} are not in 0..{horizon}")
    device = train.images.device
    # Epoch 0 draws the weights.
    torch.manual_seed(derived_seed(seed, 0))
    model = build(config, train.shape).to(device).to(memory_format=torch.channels_last)
    optimizer = Optimizer(model, config, train.images.dtype if computes_in_copy(model) else torch.float32)
    if state is not None:
        optimizer.restore(state)
        for name, buffer in _buffers(model).items():
            buffer.copy_(torch.as_tensor(state[name]))
    steps_per_epoch = math.ceil(len(train.labels) / config.batch_size)
    loop = _EpochLoop(config, model, optimizer, train)
    decay = 0.5 ** (1 / (config.average * steps_per_epoch)) if config.average else 0.0
    for epoch in range(after + 1, epochs + 1):
        started = time.perf_counter()
        torch.manual_seed(derived_seed(seed, epoch))
        first_step = (epoch - 1) * steps_per_epoch
        paces = [
            (_learning_rate(config, step, horizon * steps_per_epoch), share_of_average(decay, step + 1))
            for step in range(first_step, first_step + steps_per_epoch)
        ]
        loss, accuracy = loop.run(epoch, paces)
        trained = time.perf_counter()
        val_loss, val_accuracy = math.nan, math.nan
        if validation is not None:
            with optimizer.averaged():
                logits = predict(judged(model, config), validation)
            val_loss, val_accuracy = score(logits, validation.labels)
            on_validation(logits)
        metrics = EpochMetrics(
            epoch=epoch,
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=paces[-1][0],
            train_seconds=trained - started,
            eval_seconds=time.perf_counter() - trained,
        )
        on_epoch(metrics, optimizer.state() | _buffers(model))
        if metrics.diverged:
            break
    optimizer.release()
    return Fitted(model.eval(), metrics, optimizer.state()["weights"].numel())


def _buffers(model: nn.Module) -> State:
    """Return what a network remembers besides its weights, as far as it is saved with them.

    Asked for each time: a network may put another tensor in the place of one.
    """
    saved = model.state_dict()
    return {_BUFFER + name: buffer for name, buffer in model.named_buffers() if name in saved}


def forward(model: nn.Module, images: Tensor) -> Tensor:
    """Return a network's logits for images in the computing type; see ``computes_in_copy``."""
    logits: Tensor
    if computes_in_copy(model):
        logits = model(images)
    else:
        with autocast(images):
            logits = model(images.float())
    return logits


def predict(model: nn.Module, data: DeviceImages) -> Tensor:
    """Return the logits (n, classes), float32, of every image; computed in the type of ``data.images``."""
    model.eval()
    size = EVAL_BATCH if data.images.device.type == "cpu" else GPU_EVAL_BATCH
    with torch.inference_mode(), autocast(data.images):
        return torch.cat([forward(model, batch) for batch in torch.split(data.images, size)]).float()


def score(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return mean cross entropy and accuracy of logits (n, classes) against labels (n,)."""
    hits = logits.argmax(1) == labels
    return functional.cross_entropy(logits, labels).item(), hits.sum().item() / len(labels)


def _learning_rate(config: Config, step: int, horizon_steps: int) -> float:
    if config.schedule == "constant":
        return config.learning_rate
    rising = config.warm_up * horizon_steps
    if step < rising:
        return config.learning_rate * (step + 1) / (rising + 1)
    return config.learning_rate * (1 + math.cos(math.pi * (step - rising) / (horizon_steps - rising))) / 2


class _EpochLoop:
    """The epochs of a training, step by step on a processor, as a captured graph on a GPU."""

    def __init__(self, config: Config, model: nn.Module, optimizer: Optimizer, train: DeviceImages) -> None:
        self._config, self._model, self._optimizer, self._train = config, model, optimizer, train
        self._augmentation = Augmentation(config, train.images)
        self._takes_one = trains_on_one_image(model)
        whole = len(train.labels) // config.batch_size
        captured = whole > 0 and _can_be_captured(config, train.images.device) and computes_in_copy(model)
        device = train.images.device
        self._captured = CapturedSteps(whole, config.batch_size, train.classes, device) if captured else None

    def run(self, epoch: int, paces: list[tuple[float, float]]) -> tuple[float, float]:
        """Train one epoch, or until the loss is no longer finite.

        Args:
            epoch: from 1.
            paces: each step's learning rate, and share in the average of the weights.

        Returns:
            The mean loss and the accuracy over the epoch's steps.
        """
        self._model.train()
        order = torch.randperm(len(self._train.labels), device=self._train.labels.device)
        labels = self._train.labels[order]
        targets = functional.one_hot(labels, self._train.classes).float()
        if smoothing := self._config.label_smoothing:
            targets.mul_(1 - smoothing).add_(smoothing / targets.shape[1])
        self._augmentation.begin(epoch)
        logits: list[Tensor] = []
        done = steps = 0
        if self._captured is not None:
            given = torch.tensor(paces, device=order.device)
            logits.append(self._captured.run(self._step, order, targets, given, _diverged))
            done, steps = len(logits[0]), self._captured.count
        size = self._config.batch_size
        if done == steps * size:
            # Where nothing is left, the split gives one empty batch, for which there is no pace.
            batches = zip(
                paces[steps:], torch.split(order[done:], size), torch.split(targets[done:], size), strict=False
            )
            for step, (pace, batch, of_batch) in enumerate(batches):
                if len(batch) == 1 < size and not self._takes_one:
                    # A batch norm cannot train on one image.
                    break
                logits.append(self._step(batch, of_batch, pace))
                if _diverged(step, logits[-1]):
                    break
        seen = torch.cat(logits).float()
        return score(seen, labels[: len(seen)])

    def _step(self, batch: Tensor, targets: Tensor, pace: tuple[float, float] | Tensor) -> Tensor:
        rate, share = pace
        images = self._train.images.index_select(0, batch)
        if self._augmentation.is_needed:
            images = self._augmentation(images, batch)
        output = forward(self._model, images)
        logits: Tensor = output.detach()
        # The gradient of the mean cross entropy, written out: through autograd it takes a tenth of the ANN's step.
        gradient = torch.softmax(logits, 1, dtype=torch.float32).sub_(targets).div_(len(batch))
        self._optimizer.step(output, gradient.to(output.dtype), rate)
        self._optimizer.average(share)
        return logits


def _can_be_captured(config: Config, device: torch.device) -> bool:
    """Return whether a step can be captured: ``shift`` draws its offset on the CPU, which a graph cannot replay."""
    return device.type == "cuda" and not config.shift


def _diverged(step: int, logits: Tensor) -> bool:
    """Return, every hundred steps, whether the logits are no longer finite."""
    return step % _CHECK_EVERY == _CHECK_EVERY - 1 and not logits.isfinite().all()
