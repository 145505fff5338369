"""Runs as MLflow's: one for the search, and within it one per trial and one per retrain.

What a server has is asked of the server, by tags that name each run: whoever exports, and however often it was
interrupted, adds what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tune_fmnist.base.errors import FailedError, last_line
from tune_fmnist.reporting.export.runs import Cells, Run, Runs, milliseconds
from tune_fmnist.reporting.export.target import library

_KEY: Final = "tune_fmnist.key"
_SEARCH: Final = "tune_fmnist.search_id"
_PARENT: Final = "mlflow.parentRunId"
_MOST_METRICS: Final = 800
"""MLflow takes 1000 metrics, parameters and tags in a request."""

_STATES: Final = {"running": "RUNNING", "finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
"""MLflow's words for a search's state."""

_WHOLE: Final = ("FINISHED", "FAILED")
"""States of a trial or retrain of which MLflow has everything: the state is set last."""


@dataclass
class _There:
    """What MLflow has of a run.

    Attributes:
        run_id: MLflow's name of it.
        state: in MLflow's words.
        results: whether it has those of the end.
        epochs: the last epoch; None before MLflow has been asked, and before it has been told what the run is.
    """

    run_id: str
    state: str = "RUNNING"
    results: bool = False
    epochs: int | None = None


class Mlflow:
    """An MLflow experiment of the search's name.

    Args:
        into: the tracking URI; that of MLflow's own settings if None.
        name: of the search.

    Raises:
        InputError: MLflow is not installed.
        FailedError: it refuses the tracking URI.
    """

    def __init__(self, into: str | None, name: str) -> None:
        # Else it prints two lines for each run.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        self._mlflow = library("mlflow", "mlflow")
        self._entities = library("mlflow", "mlflow.entities")
        self.view: str = into or self._mlflow.get_tracking_uri()
        with self._refused():
            self._client = self._mlflow.MlflowClient(tracking_uri=self.view)
        self._name = name
        self._experiment: str | None = None
        self._there: dict[str, _There] = {}

    def export(self, runs: Runs) -> int:
        """Log what MLflow lacks."""
        with self._refused():
            if self._experiment is None:
                self._experiment = self._open(runs.record.search_id)
            search = self._search(runs)
            changed = [self._bring_up(run, search.run_id, runs) for run in runs.runs]
            self._close(search, _STATES[runs.state], runs.record.finished_at)
        return sum(changed)

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Tell what MLflow raises in the block as the error of a command."""
        try:
            yield
        except self._mlflow.exceptions.MlflowException as error:
            raise FailedError(f"--to mlflow: {self.view}: {last_line(error)}") from error

    def _open(self, search_id: str) -> str:
        """Find the experiment, or make it, and learn what it has of the search."""
        found = self._client.get_experiment_by_name(self._name)
        experiment: str = found.experiment_id if found else self._client.create_experiment(self._name)
        query, token = f"tags.`{_SEARCH}` = '{search_id}'", None
        while True:
            page = self._client.search_runs([experiment], query, max_results=1000, page_token=token)
            for run in page:
                there = _There(run.info.run_id, run.info.status, "seconds" in run.data.metrics)
                self._there[run.data.tags[_KEY]] = there
            token = page.token
            if not token:
                return experiment

    def _search(self, runs: Runs) -> _There:
        """Return the MLflow run of the search itself."""
        record = runs.record
        about: Cells = {"kind": "search", "model": record.model, "dataset": record.dataset, "command": record.command}
        return self._run(record.search_id, record.name, record.started_at, record.search_id, about)

    def _run(self, key: str, name: str, began: datetime, search_id: str, tags: Cells) -> _There:
        """Return the MLflow run of a key; one that is not there is made, with the tags that tell whose it is."""
        if key not in self._there:
            made = self._client.create_run(
                self._experiment,
                start_time=milliseconds(began),
                run_name=name,
                tags={_KEY: key, _SEARCH: search_id, **{name: str(value) for name, value in tags.items()}},
            )
            self._there[key] = _There(made.info.run_id)
        return self._there[key]

    def _bring_up(self, run: Run, search: str, runs: Runs) -> bool:
        """Log what MLflow lacks of a run; return whether it lacked something."""
        about: Cells = {"kind": run.kind, **run.begun_with, _PARENT: search}
        new = run.key not in self._there
        there = self._run(run.key, run.name, run.began, runs.record.search_id, about)
        if there.state in _WHOLE:
            return False
        params = []
        if there.epochs is None:
            params = [self._entities.Param(name, str(value)) for name, value in run.config.items()]
            there.epochs = 0 if new else self._last_epoch(there, run)
        fresh = [epoch for epoch in run.epochs if epoch.number > there.epochs]
        metrics = [self._metrics(epoch.metrics, epoch.at, epoch.number) for epoch in fresh]
        if run.ended and not there.results:
            metrics.append(self._metrics(run.results, run.ended, len(run.epochs)))
        tags = [self._entities.RunTag(name, str(value)) for name, value in run.ended_with.items()]
        for batch in _batches(metrics):
            self._client.log_batch(there.run_id, metrics=batch, params=params)
            params = []
        if params or tags:
            self._client.log_batch(there.run_id, params=params, tags=tags)
        there.epochs = max([there.epochs, *(epoch.number for epoch in fresh)])
        if run.ended is None:
            # In a search that has ended, a trial is in progress in the tables only.
            self._close(there, _STATES[runs.state], None)
            return new or bool(fresh)
        self._close(there, "FINISHED" if run.succeeded else "FAILED", run.ended)
        return True

    def _last_epoch(self, there: _There, run: Run) -> int:
        """Return the last epoch that MLflow has, 0 for none: all metrics of an epoch came in one request."""
        names = [name for epoch in run.epochs[:1] for name in epoch.metrics]
        told = self._client.get_metric_history(there.run_id, names[0]) if names else []
        return max((metric.step for metric in told), default=0)

    def _metrics(self, values: dict[str, float], at: datetime, step: int) -> list[Any]:
        return [self._entities.Metric(name, value, milliseconds(at), step) for name, value in values.items()]

    def _close(self, there: _There, state: str, at: datetime | None) -> None:
        """Set the state of a run, and when it ended."""
        if there.state == state:
            return
        if state == "RUNNING":
            self._client.update_run(there.run_id, status=state)
        else:
            self._client.set_terminated(there.run_id, state, milliseconds(at) if at else None)
        there.state = state


def _batches(groups: Iterable[list[Any]]) -> Iterator[list[Any]]:
    """Yield metrics in lists for one request each; those of a group stay together."""
    batch: list[Any] = []
    for group in groups:
        if batch and len(batch) + len(group) > _MOST_METRICS:
            yield batch
            batch = []
        batch += group
    if batch:
        yield batch
