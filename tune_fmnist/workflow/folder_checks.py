"""The files of one search: whether each is whole and readable, and whether they agree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import UNFINISHED
from tune_fmnist.models import saved
from tune_fmnist.store import tables
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.confirmation_table import hits
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.workflow.findings import HERE, Finding, State, judged, refused

Rows = list[dict[str, Any]]
Key = tuple[str, int]
"""Of a retrain: the name of its configuration, and its seed."""

_RETRAIN_AGAIN: Final = "`tune-fmnist retrain` runs again what is missing"
_TABLES: Final = {
    "trials": (tables.TRIALS, ["search_id", "trial_id", "number", "status", "epochs"]),
    "epochs": (tables.EPOCHS, ["search_id", "trial_id", "epoch"]),
    "confirmations": (tables.CONFIRMATIONS, ["search_id", "number", "config_id", "seed", "score", "correct"]),
    "retrains": (tables.RETRAINS, ["search_id", "config_id", "seed", "rank", "epochs", "test_accuracy"]),
    "retrain_epochs": (tables.RETRAIN_EPOCHS, ["search_id", "config_id", "seed", "epoch"]),
    "predictions": (tables.PREDICTIONS, ["search_id", "config_id", "seed", "index", "label", "predicted"]),
    "test_reads": (tables.TEST_READS, ["search_id", "config_id", "seed"]),
}
"""The tables of a search, and the columns in which they must agree."""


def examine(paths: SearchPaths) -> Iterator[Finding]:
    """Check a search's files, and yield what is found; nothing is changed."""
    try:
        record = SearchRecord.read(paths)
    except InputError as error:
        yield refused("search.json", error)
        return
    yield Finding("search.json", HERE, "ok", f"search {record.search_id}, {record.state}")
    found: dict[str, Rows] = {}
    for name, (schema, columns) in _TABLES.items():
        file: Path = getattr(paths, name)
        if not file.exists() and name not in ("trials", "epochs"):
            continue
        try:
            found[name] = tables.read(file, schema).select(columns).to_pylist()
        except InputError as error:
            yield refused(file.name, error)
            continue
        others = {row["search_id"] for row in found[name]} - {record.search_id}
        counted, what = f"{len(found[name])} rows", f"rows of another search, {', '.join(sorted(others))}"
        hint = "restore the table or search again"
        yield judged(file.name, HERE, what if others else counted, bad=bool(others), state="failure", hint=hint)
    if "trials" in found and "epochs" in found:
        yield _trials(found["trials"], found["epochs"], finished=record.state == "finished")
        yield from _checkpoints(paths, found["trials"])
    if "confirmations" in found:
        yield _confirmations(found, record.validation_size)
    if "retrains" in found:
        yield _retrains(found, finished=record.state == "finished")
        yield _model(paths, found["retrains"], finished=record.state == "finished")
    yield _journal(paths.journal)
    yield from _pictures(paths, finished=record.state == "finished")


def _trials(trials: Rows, epochs: Rows, *, finished: bool) -> Finding:
    """Compare the trials with their epochs: epochs are written first, so that a search cut off may have more."""
    check, hint = "trials and epochs", "restore both tables, of the same moment, or search again"
    told = Counter(row["trial_id"] for row in epochs)
    counted, numbers = {row["trial_id"]: row["epochs"] for row in trials}, [row["number"] for row in trials]
    if len(set(numbers)) < len(numbers) or len({(row["trial_id"], row["epoch"]) for row in epochs}) < len(epochs):
        return Finding(check, HERE, "failure", "a row stands there twice", hint)
    if lost := [name for name, count in counted.items() if count > told[name]]:
        return Finding(check, HERE, "failure", f"epochs of trial {lost[0]} are missing", hint)
    if more := [name for name, count in told.items() if count > counted.get(name, 0)]:
        state: State = "failure" if finished else "warning"
        hint = hint if finished else "--resume counts them"
        return Finding(check, HERE, state, f"trial {more[0]} has more epochs than its row says", hint)
    return Finding(check, HERE, "ok", "each trial has the epochs that its row says")


def _checkpoints(paths: SearchPaths, trials: Rows) -> Iterator[Finding]:
    """Check what trials in progress, or that wait, go on from; one that has just begun has none."""
    for number in (row["number"] for row in trials if row["status"] in UNFINISHED):
        folder = paths.checkpoints / f"{number:05d}"
        if any(folder.glob("*.safetensors")) and Checkpoints(paths.checkpoints, number).newest() is None:
            found = f"none of trial {number} is whole"
            yield Finding("checkpoints", HERE, "warning", found, "--resume trains it from its start")


def _confirmations(found: dict[str, Rows], images: int) -> Finding:
    """Compare the score of each confirmation with the images that it had right, and look for its trial."""
    check, trials = "confirmations", {row["number"] for row in found.get("trials", [])}
    for key, rows in _by_key(found, "confirmations").items():
        row, by_images = rows[0], float(hits(rows[0], images).mean())
        if len(rows) > 1:
            what = "stands there twice"
        elif abs(by_images - row["score"]) > 1e-9:
            what = f"has a score of {row['score']:.4f}, but {by_images:.4f} by its images"
        elif trials and row["number"] not in trials:
            what = f"is of trial {row['number']}, which has no row"
        else:
            continue
        return Finding(check, HERE, "failure", f"{key[0]} with seed {key[1]} {what}", "restore the table")
    return Finding(check, HERE, "ok", "each has the score that its images give")


def _retrains(found: dict[str, Rows], *, finished: bool) -> Finding:
    """Compare the retrains, whose rows come last, with what must have been written before."""
    check, epochs, predictions = "retrains", _by_key(found, "retrain_epochs"), _by_key(found, "predictions")
    reads, done = _by_key(found, "test_reads"), _by_key(found, "retrains")
    for key, rows in done.items():
        row, name, own = rows[0], f"{key[0]} with seed {key[1]}", predictions.get(key, [])
        right = sum(one["label"] == one["predicted"] for one in own)
        if len(rows) > 1:
            what = "stands there twice"
        elif sorted(one["index"] for one in own) != list(range(len(own))) or not own:
            what = "has not one prediction per test image"
        elif abs(right / len(own) - row["test_accuracy"]) > 1e-9:
            what = f"has a test accuracy of {row['test_accuracy']:.4f}, but {right / len(own):.4f} by its predictions"
        elif len(epochs.get(key, [])) != row["epochs"]:
            what = f"has {len(epochs.get(key, []))} of {row['epochs']} epochs"
        elif key not in reads:
            what = "is in no row of test_reads.parquet"
        else:
            continue
        return Finding(check, HERE, "failure", f"{name} {what}", "restore the tables, of the same moment")
    if cut_off := predictions.keys() - done.keys():
        state: State = "failure" if finished else "warning"
        return Finding(check, HERE, state, f"{min(cut_off)[0]} was cut off as its rows were written", _RETRAIN_AGAIN)
    return Finding(check, HERE, "ok", "each has its epochs, predictions and test read")


def _by_key(found: dict[str, Rows], name: str) -> dict[Key, Rows]:
    grouped: dict[Key, Rows] = {}
    for row in found.get(name, []):
        grouped.setdefault((row["config_id"], row["seed"]), []).append(row)
    return grouped


def _model(paths: SearchPaths, retrains: Rows, *, finished: bool) -> Finding:
    """Check that the model that is kept is whole, and of the configuration that ranks first."""
    if not paths.best.exists() and not finished:
        return Finding("best", HERE, "ok", "no model yet: other retrains have ended first")
    try:
        found_id = saved.proven_id(paths.best)
    except InputError as error:
        return refused("best", error)
    first = {row["config_id"] for row in retrains if row["rank"] == 1}
    found, bad = f"the model of configuration {found_id}", bool(first) and found_id not in first
    what = f"{found}, which does not rank first" if bad else found
    return judged("best", HERE, what, bad=bad, state="warning", hint=_RETRAIN_AGAIN)


def _journal(file: Path) -> Finding:
    """Check that the study is there, and that each of its lines is a record; a last one without its end is cut off.

    The tables hold all that it does.
    """
    hint = "--resume makes it anew from the tables"
    try:
        *lines, _ = file.read_bytes().split(b"\n")
        bad = next((place for place, line in enumerate(lines, 1) if "op_code" not in json.loads(line)), None)
    except (OSError, ValueError, TypeError) as error:
        return Finding(file.name, HERE, "warning", f"cannot be read ({error})", hint)
    found = f"{len(lines)} records" if bad is None else f"line {bad} is no record"
    return judged(file.name, HERE, found, bad=bad is not None, state="warning", hint=hint)


def _pictures(paths: SearchPaths, *, finished: bool) -> Iterator[Finding]:
    files = [file for file in (paths.page, *paths.pictures) if file.exists()]
    empty = [str(file.relative_to(paths.folder)) for file in files if not file.stat().st_size]
    found, bad = f"{len(files)} files", bool(empty) or (finished and paths.page not in files)
    what = f"{empty[0]} is empty" if empty else "is missing"
    hint = "`tune-fmnist report` makes page and figures again"
    if files or bad:
        yield judged("report.html", HERE, what if bad else found, bad=bad, state="warning", hint=hint)
