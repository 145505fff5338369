"""The tables of a search while it runs: rows come in, and reach the disk within seconds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, FAILED, RUNNING, STOPPED, Status
from tune_fmnist.models.config import config_id, to_config
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.paths import STORAGE_PATIENCE_SECONDS, SearchPaths, is_full
from tune_fmnist.store.tables import EPOCHS, TRIALS, config_columns, read, to_table, write

PUBLISH_SECONDS: Final = 1.0
"""Least time between two publications of the running tables."""

_PUBLISH_SHARE: Final = 0.02
"""Largest share of the driver's time that publishing may take as tables grow."""


class Ledger:
    """Trials and epochs of one search, as rows; takes up the tables that are there.

    Args:
        paths: where the tables are.
        search_id: what the trials' names begin with.
        max_epochs: the length of a trial that is not stopped.
        discard: called with a trial's number when its end is in the table; removes its checkpoints if None.
    """

    def __init__(
        self, paths: SearchPaths, search_id: str, max_epochs: int, discard: Callable[[int], None] | None = None
    ) -> None:
        self._discard = discard or self._remove_checkpoints
        self._paths, self._search_id, self.max_epochs = paths, search_id, max_epochs
        self.trials: dict[int, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.epochs = 0
        self.best: dict[str, Any] | None = None
        self.trouble: str | None = None
        self._settled, self._epochs = to_table([], TRIALS), to_table([], EPOCHS)
        self._new_epochs: list[dict[str, Any]] = []
        self._live: set[int] = set()
        self._ended: list[int] = []
        self._dirty = True
        self._published = self._trouble_since = -math.inf
        self._publishing_took = 0.0
        if paths.trials.exists():
            self._take_up()

    def _take_up(self) -> None:
        """Read the tables; epochs count only if their trial was published too."""
        rows = [
            {name: value for name, value in row.items() if value is not None}
            for row in read(self._paths.trials, TRIALS).to_pylist()
        ]
        self.trials = {row["number"]: row | {"epochs": 0, "seconds": 0.0} for row in rows}
        numbers = {row["trial_id"]: row["number"] for row in rows}
        epochs = read(self._paths.epochs, EPOCHS).sort_by("epoch")
        self._epochs = epochs.filter(pa.array([name in numbers for name in epochs["trial_id"].to_pylist()], pa.bool_()))
        for row in self._epochs.to_pylist():
            self._add(self.trials[numbers[row["trial_id"]]], row)
        for trial in self.trials.values():
            self.counts[trial["status"]] += 1
            (self._live.add if trial["status"] == RUNNING else self._ended.append)(trial["number"])
        self._rank()

    def reported(self) -> list[dict[str, Any]]:
        """Return what was taken up from the table of epochs, as it was reported: number, epoch and val_accuracy."""
        numbers = {trial["trial_id"]: number for number, trial in self.trials.items()}
        rows = self._epochs.sort_by("reported_at").select(["trial_id", "epoch", "val_accuracy"]).to_pylist()
        return [row | {"number": numbers[row["trial_id"]]} for row in rows]

    @property
    def running(self) -> list[dict[str, Any]]:
        """Return the trials in progress, in order of issue."""
        return [self.trials[number] for number in sorted(self._live)]

    def start(self, job: Mapping[str, Any]) -> None:
        """Note that a trial has begun, or goes on; ``job`` is what the searcher suggested."""
        config = to_config(job["config"])
        new = {
            "trial_id": f"{self._search_id}-{job['number']:05d}",
            "number": job["number"],
            "epochs": 0,
            "seconds": 0.0,
            "seed": job["seed"],
            "started_at": datetime.now(UTC),
            "config_id": config_id(config),
            **config_columns(config),
        }
        self._settle(self.trials.setdefault(job["number"], new), RUNNING, "in progress")

    def report(self, number: int, report: Mapping[str, Any]) -> None:
        """Note a trial's epoch, once; ``report`` is what ``run_trial`` reported."""
        trial = self.trials[number]
        if report["epoch"] > trial["epochs"]:
            at = datetime.fromtimestamp(report["reported_at"], UTC)
            row = {name: report[name] for name in EPOCHS.names if name in report}
            row |= {"trial_id": trial["trial_id"], "reported_at": at}
            self._new_epochs.append(row)
            self._add(trial, row)
        trial |= {name: report[name] for name in ("node", "device", "precision")}
        if not math.isfinite(report["train_loss"]):
            self._settle(trial, DIVERGED, f"training loss {report['train_loss']} in epoch {report['epoch']}")

    def _add(self, trial: dict[str, Any], row: Mapping[str, Any]) -> None:
        """Count an epoch's row in its trial's."""
        trial |= {name: row[name] for name in ("val_accuracy", "val_loss")}
        trial["epochs"] = row["epoch"]
        self.epochs += 1
        trial["seconds"] += row["train_seconds"] + row["eval_seconds"] + row["overhead_seconds"]
        finite = math.isfinite(row["train_loss"])
        if finite and row["val_accuracy"] > trial.get("best_val_accuracy", -math.inf):
            trial |= {"best_val_accuracy": row["val_accuracy"], "best_epoch": row["epoch"]}
            if self.best is None or row["val_accuracy"] > self.best["best_val_accuracy"]:
                self.best = trial
        self._dirty = True

    def end(self, number: int, reason: str | None = None) -> None:
        """Note that a trial has ended by itself, or was stopped for ``reason`` (ASHA's, if not given)."""
        trial = self.trials[number]
        if trial["epochs"] >= self.max_epochs:
            self._settle(trial, COMPLETED, f"reached {self.max_epochs} epochs")
        else:
            stopped = f"by ASHA: {trial.get('val_accuracy', math.nan):.4f} after epoch {trial['epochs']} is too low"
            self._settle(trial, STOPPED, reason or stopped)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial raised an error or lost its process."""
        self._settle(self.trials[number], FAILED, reason)

    def _settle(self, trial: dict[str, Any], status: Status, reason: str) -> None:
        """Change a trial's status; what has diverged stays so, whatever becomes of its process afterwards."""
        if trial.get("status") == DIVERGED:
            return
        if "status" in trial:
            self.counts[trial["status"]] -= 1
        self.counts[status] += 1
        trial |= {"status": status, "reason": reason}
        if status == RUNNING:
            self._live.add(trial["number"])
        else:
            self._live.discard(trial["number"])
            self._ended.append(trial["number"])
        if status in (DIVERGED, FAILED) and trial is self.best:
            self._rank()
        self._dirty = True

    def _rank(self) -> None:
        """Find the trial with the highest validation accuracy, the earlier one of two equal ones."""
        usable = [t for t in self.trials.values() if "best_epoch" in t and t["status"] not in (DIVERGED, FAILED)]
        self.best = max(usable, key=lambda trial: (trial["best_val_accuracy"], -trial["number"]), default=None)

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
        settled = pa.concat_tables([self._settled, to_table(ended, TRIALS)])
        write(self._epochs, self._paths.epochs)
        write(pa.concat_tables([settled, to_table(self.running, TRIALS)]).sort_by("number"), self._paths.trials)
        self._settled = settled
        # Only now does a trial that has ended no longer need its checkpoints.
        for number in self._ended:
            self._discard(number)
        self._ended.clear()

    def _remove_checkpoints(self, number: int) -> None:
        Checkpoints(self._paths.checkpoints, number).remove()
