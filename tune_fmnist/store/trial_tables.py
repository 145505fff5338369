"""``trials.parquet`` and ``epochs.parquet`` of a search while it runs: rows come in, and reach the disk in seconds."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import STORAGE_PATIENCE_SECONDS, is_full
from tune_fmnist.base.metrics import DIVERGED_SCORE, score_of
from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, PAUSED, RUNNING, STOPPED, UNFINISHED, Status
from tune_fmnist.models.config import config_id, family
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.endings import divergence, ending
from tune_fmnist.store.jobs import EpochResult, TrialJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import counts, ranked
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.store.tables import EPOCHS, TRIALS, config_columns, read, to_table, with_config, write

PUBLISH_SECONDS: Final = 1.0
"""Least time between two publications of the tables."""

_PUBLISH_SHARE: Final = 0.02
"""Largest share of the driver's time that publishing may take as tables grow."""

Row = dict[str, Any]
"""A row of ``trials.parquet`` or ``epochs.parquet``, by column; a cell that is null is left out."""


class TrialTables:
    """Trials and epochs of one search, as rows; those that are on the disk are read first.

    Attributes:
        record: of the search.
        trials: the rows of trials, by number.
        counts: how many trials have each status.
        epochs: how many epochs were reported.
        best: the trial that ranks first, so far.
        trouble: why the tables cannot be written at the moment.

    Args:
        paths: where the tables are.
        record: of the search.
        discard: called with a trial's number when its end is in the table; removes its checkpoints if None.
    """

    def __init__(self, paths: SearchPaths, record: SearchRecord, discard: Callable[[int], None] | None = None) -> None:
        self._discard = discard or self._remove_checkpoints
        self._paths, self.record, self.max_epochs = paths, record, record.max_epochs
        self._same: Row = {
            "search_id": record.search_id,
            "max_epochs": record.max_epochs,
            "dataset": record.dataset,
            "train_size": record.train_size,
            "split_hash": record.split_hash,
        }
        self.trials: dict[int, Row] = {}
        self.counts: Counter[str] = Counter()
        self.epochs = 0
        self.best: Row | None = None
        self._accuracies: defaultdict[int, list[float]] = defaultdict(list)
        self.trouble: str | None = None
        self._schema = with_config(TRIALS, family(record.model))
        self._settled, self._epochs = to_table([], self._schema), to_table([], EPOCHS)
        self._new_epochs: list[Row] = []
        self._open: set[int] = set()
        self._ended: list[int] = []
        self._dirty = True
        self._published = self._trouble_since = -math.inf
        self._publishing_took = 0.0
        if paths.trials.exists():
            self._read()

    def _read(self) -> None:
        """Read the tables; epochs count only if their trial was published too.

        The scores are made of the epochs once more: those of earlier releases were the best epoch's accuracy.
        """
        rows = [
            {name: value for name, value in row.items() if value is not None}
            for row in read(self._paths.trials, TRIALS).to_pylist()
        ]
        for number, count in Counter(row["number"] for row in rows).items():
            if count > 1:
                what, hint = f"trial {number} found {count} times", "restore the table or search again"
                raise InputError(what, file=self._paths.trials, key="number", hint=hint)
        self.trials = {row["number"]: row | {"epochs": 0, "seconds": 0.0} for row in rows}
        numbers = {row["trial_id"]: row["number"] for row in rows}
        epochs = read(self._paths.epochs, EPOCHS).sort_by("epoch")
        self._epochs = epochs.filter(pa.array([name in numbers for name in epochs["trial_id"].to_pylist()], pa.bool_()))
        for row in self._epochs.to_pylist():
            self._add(self.trials[numbers[row["trial_id"]]], row)
        for told in rows:
            trial = self.trials[told["number"]]
            if trial["status"] == PAUSED and trial["epochs"] > told["epochs"]:
                # Epochs are written first: it has gone on since.
                trial |= {"status": RUNNING, "reason": "in progress"}
            self.counts[trial["status"]] += 1
            if trial["status"] in UNFINISHED:
                self._open.add(trial["number"])
            else:
                self._ended.append(trial["number"])
        self._rank(self.trials.values())

    def reported(self) -> list[Row]:
        """Return the epochs read from the disk, in the order of their reports.

        Each has its number, epoch and the score after it.
        """
        numbers = {trial["trial_id"]: number for number, trial in self.trials.items()}
        accuracies: defaultdict[int, list[float]] = defaultdict(list)
        told = []
        # The clocks of two nodes may differ: a trial's epochs are scored by their number.
        rows = self._epochs.sort_by("epoch").to_pylist()
        for row in rows:
            number, finite = numbers[row["trial_id"]], math.isfinite(row["train_loss"])
            if finite:
                accuracies[number].append(row["val_accuracy"])
            score = score_of(accuracies[number]) if finite else DIVERGED_SCORE
            told.append({"number": number, "epoch": row["epoch"], "score": score})
        order = sorted(range(len(rows)), key=lambda place: rows[place]["reported_at"])
        return [told[place] for place in order]

    @property
    def last_report(self) -> datetime | None:
        """When the last of the epochs that were read from the disk was reported, UTC."""
        latest: datetime | None = pc.max(self._epochs["reported_at"]).as_py()
        return latest

    @property
    def running(self) -> list[Row]:
        """The trials in progress, in order of issue."""
        return [trial for trial in self.unfinished if trial["status"] == RUNNING]

    @property
    def unfinished(self) -> list[Row]:
        """The trials in progress and those that wait, in order of issue."""
        return [self.trials[number] for number in sorted(self._open)]

    def start(self, job: TrialJob) -> None:
        """Note that a trial has begun, or goes on.

        Raises:
            InputError: there is a trial of this number with another configuration or seed, or one that has ended.
        """
        new = {
            **self._same,
            "trial_id": f"{self._same['search_id']}-{job.number:05d}",
            "number": job.number,
            "epochs": 0,
            "seconds": 0.0,
            "seed": job.seed,
            "started_at": datetime.now(UTC),
            "config_id": config_id(job.config),
            **config_columns(job.config),
        }
        if job.origin is not None:
            new["origin"] = job.origin
        trial = self.trials.setdefault(job.number, new)
        self._check_is_of(job, trial)
        self._settle(trial, RUNNING, "in progress")

    def _check_is_of(self, job: TrialJob, trial: Row) -> None:
        """Refuse what would be a second row for a number, or a row that tells of two trials."""
        ours, theirs = (config_id(job.config), job.seed), (trial["config_id"], trial["seed"])
        if ours != theirs:
            what = f"trial {job.number} is {theirs[0]} with seed {theirs[1]}, not {ours[0]} with seed {ours[1]}"
        elif trial.get("status", RUNNING) not in (*UNFINISHED, DIVERGED):
            what = f"trial {job.number} has {trial['status']} and cannot begin again"
        else:
            return
        raise InputError(what, file=self._paths.trials, key="number", hint="start the search again with --resume")

    def add(self, number: int, result: EpochResult) -> None:
        """Note a trial's epoch, once."""
        trial = self.trials[number]
        if result.epoch > trial["epochs"]:
            row = {name: value for name, value in result.model_dump().items() if name in EPOCHS.names}
            row["reported_at"] = datetime.fromtimestamp(result.reported_at, UTC)
            row |= {"search_id": trial["search_id"], "trial_id": trial["trial_id"]}
            self._new_epochs.append(row)
            self._add(trial, row)
        trial |= {
            "node": result.node,
            "device": result.device,
            "precision": result.precision,
            "parameters": result.parameters,
        }
        if result.multiply_adds is not None:
            trial["multiply_adds"] = result.multiply_adds
        if result.diverged:
            self._settle(trial, *divergence(result.epoch, result.train_loss))

    def _add(self, trial: Row, row: Mapping[str, Any]) -> None:
        """Count an epoch's row in its trial's."""
        trial |= {"val_accuracy": row["val_accuracy"], "val_loss": row["val_loss"], "epochs": row["epoch"]}
        self.epochs += 1
        trial["seconds"] += row["train_seconds"] + row["eval_seconds"] + row["overhead_seconds"]
        if math.isfinite(row["train_loss"]):
            accuracy, known = row["val_accuracy"], self._accuracies[trial["number"]]
            known.append(accuracy)
            trial["score"] = score_of(known)
            if accuracy > trial.get("best_val_accuracy", -math.inf):
                trial |= {"best_val_accuracy": accuracy, "best_epoch": row["epoch"]}
            self._promote(trial)
        self._dirty = True

    def audit(self, number: int, epoch: int) -> None:
        """Note that a trial was stopped after an epoch, and runs on outside of the search."""
        trial = self.trials[number]
        if "audited_at" not in trial:
            trial["audited_at"], self._dirty = epoch, True
            self._rank(self.trials.values())

    def end(self, number: int, reason: str | None = None) -> None:
        """Note that a trial has ended by itself, or was stopped for ``reason``: at a rung, if not given."""
        trial = self.trials[number]
        score = trial.get("score", math.nan)
        ended = ending(trial["epochs"], self.max_epochs, score, audited_at=trial.get("audited_at"))
        ends_it = "audited_at" not in trial and ended.status == STOPPED
        self._settle(trial, ended.status, reason if reason and ends_it else ended.reason)

    def pause(self, number: int) -> None:
        """Note that a trial waits at its last epoch, until it is among the best there and a slot is free."""
        trial = self.trials[number]
        reason = f"score {trial['score']:.4f} after epoch {trial['epochs']} is not among the best there yet"
        self._settle(trial, PAUSED, reason)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial raised an error or lost its process."""
        self._settle(self.trials[number], FAILED, reason)

    def _settle(self, trial: Row, status: Status, reason: str) -> None:
        """Change a trial's status; what has diverged stays so, whatever becomes of its process afterwards."""
        if trial.get("status") == DIVERGED:
            return
        if "status" in trial:
            self.counts[trial["status"]] -= 1
        self.counts[status] += 1
        trial |= {"status": status, "reason": reason}
        if status in UNFINISHED:
            self._open.add(trial["number"])
        else:
            self._open.discard(trial["number"])
            self._ended.append(trial["number"])
        if status == COMPLETED:
            self._promote(trial)
        elif trial is self.best and not counts(trial):
            self._rank(self.trials.values())
        self._dirty = True

    def _promote(self, trial: Row) -> None:
        """Let a trial be the best if it ranks first now: more epochs never cost a trial its place."""
        self._rank([trial] if self.best is None else [trial, self.best])

    def _rank(self, trials: Iterable[Row]) -> None:
        self.best = next(iter(ranked(trials)), None)

    def publish(self, *, now: bool = False) -> None:
        """Write both tables if they changed and it is time, or ``now``.

        A storage that fails is tried again for five minutes, unless ``now``; what is on it stays readable.

        Raises:
            OSError: the storage is full, or has failed for too long.
        """
        wait = max(PUBLISH_SECONDS, self._publishing_took / _PUBLISH_SHARE)
        started = time.monotonic()
        if not self._dirty or (not now and started - self._published < wait):
            return
        try:
            self._write()
        except OSError as error:
            self._trouble_since = started if self.trouble is None else self._trouble_since
            self.trouble = f"the tables cannot be written, trying again: {error}"
            if now or is_full(error) or started - self._trouble_since > STORAGE_PATIENCE_SECONDS:
                raise
        else:
            self._dirty, self.trouble = False, None
        self._published = time.monotonic()
        self._publishing_took = self._published - started

    def _write(self) -> None:
        self._epochs = pa.concat_tables([self._epochs, to_table(self._new_epochs, EPOCHS)])
        self._new_epochs.clear()
        # The rows of trials that have ended are converted once, not each time.
        ended = [self.trials[number] for number in self._ended]
        settled = pa.concat_tables([self._settled, to_table(ended, self._schema)])
        write(self._epochs, self._paths.epochs)
        write(
            pa.concat_tables([settled, to_table(self.unfinished, self._schema)]).sort_by("number"), self._paths.trials
        )
        self._settled = settled
        # Only now does a trial that has ended no longer need its checkpoints.
        for number in self._ended:
            self._discard(number)
        self._ended.clear()

    def _remove_checkpoints(self, number: int) -> None:
        Checkpoints(self._paths.checkpoints, number).remove()
