"""A search's results in Python: its tables as data frames, its record and its best model."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from tune_fmnist import tables
from tune_fmnist.errors import InputError
from tune_fmnist.names import SCHEMA_VERSION, ModelName, SchedulerName, SearcherName
from tune_fmnist.paths import SearchPaths, publish

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tune_fmnist.models import AnnModel, CnnModel


@dataclass(frozen=True)
class Results:
    """What a search left in its folder; each table is read when it is first asked for."""

    paths: SearchPaths

    @cached_property
    def info(self) -> dict[str, Any]:
        """``search.json``: the command, versions, hardware, seeds, split hash, space and timings."""
        return read_info(self.paths)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial."""
        return self._frame(self.paths.trials, tables.TRIALS)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row a trial's epoch."""
        return self._frame(self.paths.epochs, tables.EPOCHS)

    @cached_property
    def retrains(self) -> pd.DataFrame:
        """One row a configuration retrained with one seed."""
        return self._frame(self.paths.retrains, tables.RETRAINS)

    @cached_property
    def retrain_epochs(self) -> pd.DataFrame:
        """One row a retrain's epoch."""
        return self._frame(self.paths.retrain_epochs, tables.RETRAIN_EPOCHS)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row a test image under one retrain."""
        return self._frame(self.paths.predictions, tables.PREDICTIONS)

    @cached_property
    def tested_predictions(self) -> pd.DataFrame:
        """The predictions of those retrains that have their row, which comes last: others may be on their way."""
        return self.predictions.merge(self.retrains[["config_id", "seed"]])

    @cached_property
    def test_reads(self) -> pd.DataFrame:
        """One row a read of the test set."""
        return self._frame(self.paths.test_reads, tables.TEST_READS)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """One row a retrained configuration: test accuracy with its interval, and the difference to the report's."""
        from tune_fmnist.statistics import summarise

        baselines = self.retrains.loc[self.retrains["is_baseline"], "config_id"]
        return summarise(self.tested_predictions, baselines.iloc[0] if len(baselines) else None)

    def best_model(self) -> AnnModel | CnnModel:
        """Return the retrained model of the configuration that was best in validation, in evaluation mode."""
        from tune_fmnist.models import load

        return load(self.paths.best)

    @staticmethod
    def _frame(path: Path, schema: pa.Schema) -> pd.DataFrame:
        frame: pd.DataFrame = tables.read(path, schema).to_pandas()
        return frame


_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(ge=0.0)]
_Moment = Annotated[AwareDatetime, Field(strict=False)]


class _Searcher(TypedDict):
    name: SearcherName


class _Scheduler(TypedDict):
    name: SchedulerName


class _RetrainPlan(TypedDict):
    wanted: bool
    top_k: _Count
    seeds: _Count


@with_config(ConfigDict(extra="allow", strict=True, allow_inf_nan=False))
class _Record(TypedDict, total=False):
    """The keys of ``search.json`` that a command computes with."""

    name: str
    model: ModelName
    search_id: str
    state: str
    seed: Annotated[int, Field(ge=0)]
    trials: _Count
    max_epochs: _Count
    limit_train: _Count | None
    images: _Count
    train_size: _Count
    split_hash: str
    searcher: _Searcher
    scheduler: _Scheduler
    retrain_plan: _RetrainPlan
    space: dict[str, Any]
    started_at: _Moment
    resumed_at: list[_Moment]
    search_seconds: _Seconds
    slot_seconds: _Seconds
    storage: str | None
    wall_seconds: _Seconds


_GATE = TypeAdapter(_Record)


def read_info(paths: SearchPaths, *needs: str) -> dict[str, Any]:
    """Read ``search.json``.

    Args:
        needs: keys that must be there.

    Raises:
        InputError: it is missing, is not JSON, is of a newer version, lacks a key or has a value of a wrong type.
    """
    try:
        info = json.loads(paths.search.read_text(encoding="utf-8"))
        version = info["schema_version"]
    except FileNotFoundError:
        raise InputError("there is no such file", file=paths.search, mend="name the folder of a search") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"cannot be read ({error!r})", file=paths.search, mend="restore it or search again") from None
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise InputError(
            f"{version!r} is not a version this program reads (1 to {SCHEMA_VERSION})",
            file=paths.search,
            key="schema_version",
            mend="use the release that wrote it",
        )
    try:
        _GATE.validate_python(info)
    except ValidationError as error:
        first = error.errors()[0]
        key, given = ".".join(str(part) for part in first["loc"]), first["input"]
        shown = f"a {type(given).__name__}" if isinstance(given, dict | list) else repr(given)
        what = "is missing" if first["type"] == "missing" else f"{shown} is refused: {first['msg'].lower()}"
        raise InputError(what, file=paths.search, key=key, mend="restore it or search again") from None
    if missing := [key for key in needs if key not in info]:
        raise InputError("is missing", file=paths.search, key=missing[0], mend="restore it or search again")
    checked: dict[str, Any] = info
    return checked


def utilisation_while_trials_wait(
    starts: pd.Series[float], ends: pd.Series[float], busy: pd.Series[float], slots: float
) -> float:
    """Return the share of the slots' time in training and evaluation between the first and the last trial's start.

    Args:
        starts: when each trial began, in seconds by any clock.
        ends: when each epoch was reported, by the same one.
        busy: seconds of each epoch in training and evaluation.
        slots: how many there were, 1 or more, in the mean.

    Returns:
        0 to 1; NaN where all trials began at once.
    """
    last = starts.max()
    window = last - starts.min()
    # An epoch that straddles the last start counts by the share of it that lies before.
    before = (busy - (ends - last).clip(lower=0.0)).clip(lower=0.0).sum()
    return float(before / (slots * window)) if window > 0 else math.nan


def write_info(paths: SearchPaths, info: dict[str, Any]) -> None:
    """Publish ``search.json``."""
    with publish(paths.search) as partial:
        partial.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **info}, indent=2) + "\n", encoding="utf-8")
