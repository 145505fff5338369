"""The tables of a search while it runs: rows come in, and reach the disk within seconds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from tune_fmnist.config import config_id, to_config
from tune_fmnist.names import COMPLETED, DIVERGED, FAILED, RUNNING, STOPPED, Status
from tune_fmnist.paths import SearchPaths
from tune_fmnist.tables import EPOCHS, TRIALS, config_columns, to_table, write

PUBLISH_SECONDS: Final = 1.0
"""Least time between two publications of the running tables."""

_PUBLISH_SHARE: Final = 0.02
"""Largest share of the driver's time that publishing may take as tables grow."""


class Ledger:
    """Trials and epochs of one search, as rows.

    Args:
        paths: where the tables go.
        search_id: what the trials' names begin with.
        max_epochs: the length of a trial that is not stopped.
    """

    def __init__(self, paths: SearchPaths, search_id: str, max_epochs: int) -> None:
        self._paths, self._search_id, self.max_epochs = paths, search_id, max_epochs
        self.trials: dict[int, dict[str, Any]] = {}
        self._new_epochs: list[dict[str, Any]] = []
        self._epochs = to_table([], EPOCHS)
        self._dirty = True
        self._published = -math.inf
        self._publishing_took = 0.0

    def start(self, job: Mapping[str, Any]) -> None:
        """Note that a trial has begun; ``job`` is what the searcher suggested."""
        config = to_config(job["config"])
        self.trials[job["number"]] = {
            "trial_id": f"{self._search_id}-{job['number']:05d}",
            "number": job["number"],
            "status": RUNNING,
            "reason": "in progress",
            "epochs": 0,
            "seconds": 0.0,
            "seed": job["seed"],
            "started_at": datetime.now(UTC),
            "config_id": config_id(config),
            **config_columns(config),
        }
        self._dirty = True

    def report(self, number: int, report: Mapping[str, Any]) -> None:
        """Note a trial's epoch; ``report`` is what ``run_trial`` reported."""
        trial = self.trials[number]
        at = datetime.fromtimestamp(report["reported_at"], UTC)
        self._new_epochs.append(
            {name: report[name] for name in EPOCHS.names if name in report}
            | {"trial_id": trial["trial_id"], "reported_at": at}
        )
        trial |= {name: report[name] for name in ("val_accuracy", "val_loss", "node", "device", "precision")}
        trial |= {"epochs": report["epoch"], "seconds": (at - trial["started_at"]).total_seconds()}
        if not report["diverged"] and report["val_accuracy"] > trial.get("best_val_accuracy", -math.inf):
            trial |= {"best_val_accuracy": report["val_accuracy"], "best_epoch": report["epoch"]}
        if report["diverged"]:
            trial |= {"reason": f"training loss {report['train_loss']} in epoch {report['epoch']}", "status": DIVERGED}
        self._dirty = True

    def end(self, number: int, reason: str | None = None) -> None:
        """Note that a trial has ended by itself, or was stopped for ``reason`` (ASHA's, if not given)."""
        trial = self.trials[number]
        if trial["status"] == DIVERGED:
            return
        if trial["epochs"] >= self.max_epochs:
            self._settle(trial, COMPLETED, f"reached {self.max_epochs} epochs")
        else:
            stopped = f"by ASHA: {trial.get('val_accuracy', math.nan):.4f} after epoch {trial['epochs']} is too low"
            self._settle(trial, STOPPED, reason or stopped)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial raised an error or lost its process."""
        self._settle(self.trials[number], FAILED, reason)

    def _settle(self, trial: dict[str, Any], status: Status, reason: str) -> None:
        trial |= {"status": status, "reason": reason}
        self._dirty = True

    def publish(self, *, now: bool = False) -> None:
        """Write both tables if they changed and it is time, or ``now``."""
        wait = max(PUBLISH_SECONDS, self._publishing_took / _PUBLISH_SHARE)
        started = time.monotonic()
        if not self._dirty or (not now and started - self._published < wait):
            return
        self._epochs = pa.concat_tables([self._epochs, to_table(self._new_epochs, EPOCHS)])
        self._new_epochs.clear()
        write(to_table([self.trials[number] for number in sorted(self.trials)], TRIALS), self._paths.trials)
        write(self._epochs, self._paths.epochs)
        self._dirty = False
        self._published = time.monotonic()
        self._publishing_took = self._published - started

    @property
    def epochs(self) -> int:
        """Return how many epochs have been reported."""
        return sum(trial["epochs"] for trial in self.trials.values())

    @property
    def counts(self) -> Counter[str]:
        """Return how many trials have each status."""
        return Counter(trial["status"] for trial in self.trials.values())

    @property
    def best(self) -> dict[str, Any] | None:
        """Return the trial with the highest validation accuracy so far."""
        ranked = self.ranked
        return ranked[0] if ranked else None

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """Return the trials that have a validation accuracy, best first; the earlier of equal ones comes first."""
        scored = [t for t in self.trials.values() if "best_val_accuracy" in t and t["status"] not in (DIVERGED, FAILED)]
        return sorted(scored, key=lambda trial: (-trial["best_val_accuracy"], trial["number"]))
