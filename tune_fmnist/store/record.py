"""``search.json``, a search's record: read and checked, written, and the times that are computed for it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import SCHEMA_VERSION, ModelName, SchedulerName, SearcherName
from tune_fmnist.store.paths import SearchPaths, publish

if TYPE_CHECKING:
    import pandas as pd

    from tune_fmnist.reporting.results import Results


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


def write_info(paths: SearchPaths, info: dict[str, Any]) -> None:
    """Publish ``search.json``."""
    with publish(paths.search) as partial:
        partial.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **info}, indent=2) + "\n", encoding="utf-8")


def take_up(info: dict[str, Any], results: Results, *, searches: bool) -> None:
    """Put into a record that its search goes on now.

    A run that was killed could not record how long it searched: until its last epoch, of which there is a row.

    Args:
        info: the record.
        results: the search's tables; that of epochs is read after such an end only.
        searches: whether trials will be run, and not retrains only.
    """
    if info["state"] == "running" and results.paths.epochs.exists():
        began = datetime.fromisoformat([info["started_at"], *info["resumed_at"]][-1])
        lost = max(0.0, round(float((results.epochs["reported_at"].max() - began).total_seconds()), 1))
        info["search_seconds"] += lost
        if "slot_seconds" in info:
            info["slot_seconds"] += lost * info["placement"]["slots"]
    info["resumed_at"].append(now())
    if searches:
        info.pop("utilisation", None)


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def utilisation(info: dict[str, Any], trials: pd.DataFrame, epochs: pd.DataFrame) -> dict[str, float | None]:
    """Return training and evaluation seconds over slots x wall seconds: over the search, and until the last start.

    The second is None for a search that was interrupted: its starts lie on both sides of a gap.

    Args:
        info: the record.
        trials: the table of trials.
        epochs: the table of epochs.
    """
    slot_seconds = info.get("slot_seconds", info["placement"]["slots"] * info["search_seconds"])
    # Nodes may have come and gone: their mean.
    slots = slot_seconds / info["search_seconds"]
    busy = epochs["train_seconds"] + epochs["eval_seconds"]
    first = trials["started_at"].min()
    starts, ends = ((when - first).dt.total_seconds() for when in (trials["started_at"], epochs["reported_at"]))
    waited = utilisation_while_trials_wait(starts, ends, busy, slots)
    return {
        "utilisation": round(float(busy.sum() / slot_seconds), 4),
        "utilisation_while_trials_wait": None if info["resumed_at"] or math.isnan(waited) else round(waited, 4),
    }


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


def close(paths: SearchPaths, state: str, seconds: float) -> None:
    """Record how a run of a search ended.

    Args:
        paths: the search's.
        state: ``finished``, ``interrupted`` or ``failed``.
        seconds: how long it ran.
    """
    info = read_info(paths)
    wall = round(info.get("wall_seconds", 0.0) + seconds, 1)
    write_info(paths, info | {"state": state, "finished_at": now(), "wall_seconds": wall})
