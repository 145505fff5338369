"""What goes to a worker and what comes back: trials and retrains as typed values, checked where they are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from tune_fmnist.base.metrics import DIVERGED_SCORE, score_of
from tune_fmnist.base.vocabulary import Origin, Precision, Status
from tune_fmnist.models.config import Config, Strict, baseline, config_id

JOB: Final = "job"
"""The name of the ``TrialJob`` in Ray's configuration of a trial."""

METRIC: Final = "score"
"""What a search maximises: the name in what a trial reports to Ray."""

RESULT: Final = "result"
"""The name of the ``EpochResult`` in what a trial reports to Ray."""

_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(ge=0.0)]


@dataclass(frozen=True)
class TrialJob:
    """One trial for a worker.

    Attributes:
        number: order of issue; 0 is the baseline.
        seed: of weights, dropout and order; 32 bits.
        config: what to train.
        max_epochs: how long, if it is not stopped.
        origin: who proposed it, None if that is not known.
        judged: the last epoch that was told so far, 0 if none: the trial is told it once more if it goes on.
        ended: whether it was decided there that the trial ends.
    """

    number: int
    seed: int
    config: Config
    max_epochs: int
    origin: Origin | None = None
    judged: int = 0
    ended: bool = False

    @property
    def identity(self) -> str:
        """What tells this trial's checkpoints from those of another trial of the same number.

        Nodes write checkpoints to the storage at once, and the study follows seconds later: a search whose head died
        draws its last numbers once more, with other configurations.
        """
        return f"{config_id(self.config)}-{self.seed}"


class EpochResult(Strict):
    """What a trial tells after an epoch.

    Losses are mean cross entropies in nats, accuracies fractions, times seconds, ``reported_at`` seconds since 1970.
    ``overhead_seconds`` is the slot's other time since the last report.  ``parameters`` counts the trained ones,
    ``multiply_adds`` those of an image, forward; it is None in checkpoints of earlier releases.
    ``unsaved`` says why the epoch's checkpoint could not be written.  ``passed`` is true of an epoch that is told once
    more by a trial that had gone on after it: that was decided, and is not decided again.
    """

    # A loss that is no longer finite is a result as well.
    model_config = ConfigDict(allow_inf_nan=True)

    epoch: _Count
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    train_seconds: _Seconds
    eval_seconds: _Seconds
    overhead_seconds: _Seconds
    reported_at: float
    node: str
    device: Literal["cpu", "cuda"]
    precision: Precision
    parameters: _Count
    multiply_adds: _Count | None = None
    unsaved: str | None = None
    passed: bool = False

    @property
    def diverged(self) -> bool:
        return not math.isfinite(self.train_loss)


def told_to_ray(results: Sequence[EpochResult]) -> dict[str, Any]:
    """Return what a trial reports to Ray after an epoch, given the results of all its epochs so far."""
    last = results[-1]
    score = DIVERGED_SCORE if last.diverged else score_of([result.val_accuracy for result in results])
    return {"epoch": last.epoch, METRIC: score, RESULT: last}


@dataclass(frozen=True)
class ConfirmationJob:
    """One confirmation: the configuration of a trial, trained again on the same images with another seed."""

    number: int
    config: Config
    seed: int
    epochs: int
    expected_seconds: float

    @property
    def key(self) -> tuple[str, int]:
        return config_id(self.config), self.seed


@dataclass(frozen=True)
class ConfirmationResult:
    """What a confirmation gave.

    Attributes:
        status: completed or diverged.
        epochs: trained.
        score: as of a trial, a fraction; that of a diverged one is worse than any other.
        val_accuracy: after the last epoch, a fraction; None if it diverged.
        correct: for each scored epoch, which validation images were right, in their order, packed by NumPy.
        seconds: of training and evaluation.
        parameters: trainable ones.
        node: host name.
        device: cpu or cuda.
        precision: of the matrix products.
    """

    status: Status
    epochs: int
    score: float
    val_accuracy: float | None
    correct: list[bytes]
    seconds: float
    parameters: int
    node: str
    device: str
    precision: Precision


@dataclass(frozen=True)
class RetrainJob:
    """One retrain: a configuration, its rank and score in the search (no rank outside of the top), and a seed.

    ``is_start`` says whether it is the space's first start.
    """

    config: Config
    rank: int | None
    seed: int
    epochs: int
    horizon: int
    score: float
    best_val_accuracy: float
    expected_seconds: float
    is_start: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return config_id(self.config), self.seed

    @property
    def is_baseline(self) -> bool:
        return self.config == baseline(self.config.model)


@dataclass(frozen=True)
class Trained:
    """A model that was trained on all training images and has seen no test image.

    Attributes:
        epochs: for each epoch the columns of ``retrain_epochs.parquet`` that training measured.
        train_size: training images.
        train_loss: of the last epoch, nats.
        train_seconds: of the training.
        parameters: trainable ones.
        node: host name.
        device: cpu or cuda.
        precision: in training; the test runs in float32.
        weights: the model's float32 arrays by name.
    """

    epochs: list[dict[str, float]]
    train_size: int
    train_loss: float
    train_seconds: float
    parameters: int
    node: str
    device: str
    precision: Precision
    weights: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Tested:
    """What one read of the test set gave.

    Attributes:
        test_accuracy: a fraction.
        test_loss: nats.
        class_accuracy: accuracy on each class's test images.
        test_seconds: of the test.
        predicted: class of each test image, int16.
        confidence: softmax probability of that class, float32.
        pictures: the images of the surest mistakes as PNG, by their place in the test file.
    """

    test_accuracy: float
    test_loss: float
    class_accuracy: list[float]
    test_seconds: float
    predicted: NDArray[Any]
    confidence: NDArray[Any]
    pictures: dict[int, bytes]


@dataclass(frozen=True)
class RetrainResult(Trained, Tested):
    """A trained and tested model."""
