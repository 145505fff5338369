"""What a search records and what a trial tells, made by one function each: a test names only what it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tune_fmnist.base.vocabulary import SchedulerName, SearcherName
from tune_fmnist.models.config import Ann, Config
from tune_fmnist.store.jobs import EpochResult, TrialJob
from tune_fmnist.store.record import SchedulerSettings, SearcherSettings, SearchRecord
from tune_fmnist.tuning.methods import SAMPLER_ARGUMENTS
from tune_fmnist.tuning.proposals import Searching
from tune_fmnist.tuning.space import Space

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_record(**changes: Any) -> SearchRecord:
    """Return the record of a small search of the ANN that runs; ``changes`` are keys of ``search.json``."""
    values: dict[str, Any] = {
        "name": "x",
        "search_id": "abc",
        "state": "running",
        "command": "python -m tune_fmnist.search --model ann --name x",
        "started_at": STARTED,
        "model": "ann",
        "seed": 0,
        "split_seed": 0,
        "trials": 6,
        "max_epochs": 3,
        "limit_train": None,
        "searcher": {"name": "tpe"},
        "scheduler": {"name": "asha"},
        "retrain_plan": {"wanted": True, "top_k": 3, "seeds": 3},
        "space": {"model": "ann"},
        "dataset": "fashion-mnist",
        "data": "cache",
        "images": 60_000,
        "train_size": 48_000,
        "validation_size": 12_000,
        "split_hash": "cd5dee351280b418",
        "scored_epochs": 3,
    }
    return SearchRecord.model_validate(values | changes)


def make_job(number: int, config: Config | None = None, **changes: Any) -> TrialJob:
    """Return what the searcher suggests: another configuration for each number."""
    values = {"seed": 1000 + number, "config": config or Ann(hidden1=100 + number), "max_epochs": 3}
    return TrialJob(number=number, **(values | changes))


def make_result(epoch: int, accuracy: float = 0.8, **changes: Any) -> EpochResult:
    """Return what a trial tells after an epoch of 1.11 s."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": 0.5,
        "train_accuracy": 0.7,
        "val_loss": 1 - accuracy,
        "val_accuracy": accuracy,
        "learning_rate": 1e-3,
        "train_seconds": 1.0,
        "eval_seconds": 0.1,
        "overhead_seconds": 0.01,
        "reported_at": 2e9,
        "node": "here",
        "device": "cpu",
        "precision": "float32",
        "parameters": 235_146,
    }
    return EpochResult(**(values | changes))


def make_proposer(space: Space, searcher: SearcherName, *, seed: int = 1, startup: int = 3) -> Searching:
    """Return one of the package's proposers, as a search makes it."""
    settings = SearcherSettings(name=searcher, n_startup_trials=startup, **SAMPLER_ARGUMENTS[searcher])
    return Searching.of(settings, space, seed)


def scheduler_settings(name: SchedulerName, grace: int = 1) -> SchedulerSettings:
    """Return the settings of a scheduler that lets one trial in three go on."""
    if name == "fifo":
        return SchedulerSettings(name=name)
    return SchedulerSettings(name=name, grace=grace, reduction_factor=3)
