"""What a search tells programs while it runs (``--json-lines``): one JSON object per event, on a line of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tune_fmnist.base.vocabulary import PAUSED, Origin, Status
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult, EpochResult, RetrainJob, RetrainResult, TrialJob
from tune_fmnist.store.trial_tables import TrialTables

_Command = Annotated[Literal["search", "retrain"], Field(description="which command runs")]
_Name = Annotated[str, Field(description="the search's name")]
_Folder = Annotated[Path, Field(description="the search's folder, as an absolute path")]
_Number = Annotated[int, Field(description="the trial's number; 0 is the baseline")]
_Seed = Annotated[int, Field(description="of weights, order and dropout")]
_Config = Annotated[dict[str, Any], Field(description="what is trained: every parameter with its value")]
_ConfigId = Annotated[str, Field(description="the configuration's name, as in the tables")]
_Epochs = Annotated[int, Field(description="epochs trained")]
_Score = Annotated[float | None, Field(description="mean validation accuracy of the last epochs; null if it diverged")]
_Ended = Annotated[int, Field(description="how many of these have ended, this one included")]
_Total = Annotated[int, Field(description="how many of these there will be")]


class _Event(BaseModel):
    """An event: what cannot be told as a number of JSON, such as a loss that is not finite, is null."""

    # Built when the first event is: what is only looked at need not wait for it.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    event: str
    time: AwareDatetime = Field(
        default_factory=lambda: datetime.now(UTC), description="when it was told, ISO 8601, UTC"
    )


class Started(_Event):
    """A search or its retrains begin, or go on."""

    event: Literal["started"] = "started"
    command: _Command
    name: _Name
    folder: _Folder
    search_id: Annotated[str, Field(description="the search's name in the tables, no other search's")]
    resumed: Annotated[bool, Field(description="whether the search goes on with what an earlier run has left")]
    model: Annotated[str, Field(description="ann, cnn or MODULE:CLASS")]
    dataset: Annotated[str, Field(description="its name, a folder or MODULE:FUNCTION")]
    trials: Annotated[int, Field(description="how many trials the search has")]
    max_epochs: Annotated[int, Field(description="epochs of the longest trial")]
    searcher: Annotated[str, Field(description="what proposes configurations")]
    scheduler: Annotated[str, Field(description="which trials wait or stop")]
    seed: Annotated[int, Field(description="the search's")]


class TrialStarted(_Event):
    """A trial begins, or goes on after a wait, an interruption or the loss of its process."""

    event: Literal["trial_started"] = "trial_started"
    number: _Number
    origin: Annotated[Origin | None, Field(description="who proposed it; null if not known")]
    seed: _Seed
    epochs: Annotated[int, Field(description="epochs trained before, if it goes on")]
    config_id: _ConfigId
    config: _Config


class Epoch(_Event):
    """An epoch of a trial has ended; each is told once."""

    event: Literal["epoch"] = "epoch"
    number: _Number
    epoch: Annotated[int, Field(description="from 1")]
    score: _Score
    train_loss: Annotated[float | None, Field(description="mean cross entropy, nats")]
    train_accuracy: Annotated[float | None, Field(description="a fraction")]
    val_loss: Annotated[float | None, Field(description="mean cross entropy, nats")]
    val_accuracy: Annotated[float | None, Field(description="a fraction")]
    learning_rate: Annotated[float, Field(description="in the epoch's last step")]
    seconds: Annotated[float, Field(description="of training and evaluation")]


class TrialPaused(_Event):
    """A trial waits until it is among the best at its last epoch; it goes on, or ends with the search."""

    event: Literal["trial_paused"] = "trial_paused"
    number: _Number
    epochs: _Epochs
    score: _Score


class TrialEnded(_Event):
    """A trial has ended."""

    event: Literal["trial_ended"] = "trial_ended"
    number: _Number
    status: Annotated[Status, Field(description="completed, stopped, diverged or failed")]
    reason: Annotated[str, Field(description="why, in words")]
    epochs: _Epochs
    score: _Score
    best: Annotated[int | None, Field(description="the number of the trial that ranks first so far")]
    best_score: Annotated[float | None, Field(description="its score")]
    ended: _Ended
    total: _Total


class Confirmation(_Event):
    """A configuration was trained again with another seed."""

    event: Literal["confirmation"] = "confirmation"
    number: Annotated[int, Field(description="of the trial whose configuration it is")]
    config_id: _ConfigId
    seed: _Seed
    status: Annotated[Status, Field(description="completed or diverged")]
    epochs: _Epochs
    score: _Score
    ended: _Ended
    total: _Total


class Retrain(_Event):
    """A configuration was trained on all training images, and tested."""

    event: Literal["retrain"] = "retrain"
    rank: Annotated[int | None, Field(description="its rank by validation; null for one that is there to compare with")]
    is_baseline: Annotated[bool, Field(description="whether it is the baseline")]
    is_start: Annotated[bool, Field(description="whether it is the search space's first start")]
    config_id: _ConfigId
    seed: _Seed
    epochs: _Epochs
    test_accuracy: Annotated[float, Field(description="a fraction")]
    ended: _Ended
    total: _Total


class Interrupted(_Event):
    """Ctrl-C or a signal has ended the search or its retrains; the exit status is 130."""

    event: Literal["interrupted"] = "interrupted"
    name: _Name
    folder: _Folder
    trials: Annotated[int, Field(description="how many the tables hold")]
    epochs: Annotated[int, Field(description="how many the tables hold")]
    resume: Annotated[str, Field(description="the command that goes on, for a shell")]


class Finished(_Event):
    """All is done; what was not tested is null.  Accuracies and differences are fractions."""

    event: Literal["finished"] = "finished"
    name: _Name
    folder: _Folder
    page: Annotated[Path, Field(description="the page, as an absolute path")]
    answer: Annotated[str | None, Field(description="what was found, in words")]
    config_id: Annotated[str | None, Field(description="the best configuration's name; null where no trial counts")]
    config: Annotated[dict[str, Any] | None, Field(description="every parameter of it with its value")]
    validation: Annotated[float | None, Field(description="its mean score in the confirmations, or its trial's score")]
    seeds: Annotated[int | None, Field(description="how often it was retrained and tested")]
    test_accuracy: Annotated[float | None, Field(description="mean over these")]
    low: Annotated[float | None, Field(description="lower end of its 95 % interval, over seeds and images")]
    high: Annotated[float | None, Field(description="upper end of it")]
    difference: Annotated[float | None, Field(description="its test accuracy minus the retrained baseline's")]
    difference_low: Annotated[float | None, Field(description="lower end of the 95 % interval of the difference")]
    difference_high: Annotated[float | None, Field(description="upper end of it")]
    p_value: Annotated[float | None, Field(description="how easily chance alone makes such a difference")]


Event = Annotated[
    Started | TrialStarted | Epoch | TrialPaused | TrialEnded | Confirmation | Retrain | Interrupted | Finished,
    Field(discriminator="event"),
]
EVENTS: Final[tuple[type[_Event], ...]] = get_args(get_args(Event)[0])
"""All events, in the order in which they come."""


class TrialEvents:
    """Makes the events of trials from their tables."""

    def __init__(self, tables: TrialTables, total: int, tell: Callable[[Event], None]) -> None:
        self._tables, self._total, self._tell = tables, total, tell

    def started(self, job: TrialJob) -> None:
        """Tell that a trial begins or goes on, of which there is a row already."""
        row, config = self._tables.trials[job.number], job.config.model_dump()
        config_id, epochs = row["config_id"], row["epochs"]
        self._tell(
            TrialStarted(
                number=job.number, origin=job.origin, seed=job.seed, epochs=epochs, config_id=config_id, config=config
            )
        )

    def epoch(self, number: int, result: EpochResult) -> None:
        """Tell that an epoch has ended, which has its row."""
        columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
        seconds = result.train_seconds + result.eval_seconds
        score = None if result.diverged else self._tables.trials[number]["score"]
        figures = {name: getattr(result, name) for name in columns}
        self._tell(Epoch(number=number, score=score, seconds=seconds, **figures))

    def ended(self, number: int) -> None:
        """Tell that a trial has ended, or waits."""
        row, best = self._tables.trials[number], self._tables.best
        if row["status"] == PAUSED:
            self._tell(TrialPaused(number=number, epochs=row["epochs"], score=row["score"]))
            return
        self._tell(
            TrialEnded(
                number=number,
                status=row["status"],
                reason=row["reason"],
                epochs=row["epochs"],
                score=row.get("score"),
                best=None if best is None else best["number"],
                best_score=None if best is None else best["score"],
                ended=len(self._tables.trials) - len(self._tables.unfinished),
                total=self._total,
            )
        )


def confirmation(job: ConfirmationJob, result: ConfirmationResult, ended: int, total: int) -> Confirmation:
    """Return the event of a confirmation, the ``ended``-th of ``total``."""
    config_id, seed = job.key
    return Confirmation(
        number=job.number,
        config_id=config_id,
        seed=seed,
        status=result.status,
        epochs=result.epochs,
        score=None if result.val_accuracy is None else result.score,
        ended=ended,
        total=total,
    )


def retrain(job: RetrainJob, result: RetrainResult, ended: int, total: int) -> Retrain:
    """Return the event of a retrain, the ``ended``-th of ``total``."""
    config_id, seed = job.key
    return Retrain(
        rank=job.rank,
        is_baseline=job.is_baseline,
        is_start=job.is_start,
        config_id=config_id,
        seed=seed,
        epochs=len(result.epochs),
        test_accuracy=result.test_accuracy,
        ended=ended,
        total=total,
    )
