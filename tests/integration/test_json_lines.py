"""The events of a search that is interrupted and goes on say what its tables say."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter

from tests.integration.conftest import tune
from tune_fmnist.reporting.events import EVENTS, Event, Finished, Interrupted
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.store.paths import SearchPaths

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
SMALL = ("--model", "ann", "--trials", "4", "--max-epochs", "3", "--limit-train", "2000", "--json-lines")


def read(line: str) -> Event:
    event = EVENT.validate_json(line)
    assert event.model_dump_json() == line.strip(), "nothing is lost or added"
    return event


def of(kind: str, events: list[Event], *names: str) -> list[tuple[Any, ...]]:
    """Return these fields of all events of a kind, in the order of their values."""
    return sorted(tuple(getattr(event, name) for name in names) for event in events if event.event == kind)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, list[Event], list[Event]]:
    """The results, what was told until Ctrl-C came during the first epochs, and afterwards."""
    results_dir = tmp_path_factory.mktemp("results")
    place = ("--results-dir", str(results_dir), "--name", "x")
    more = ("--grace", "1", "--confirm", "1", "--retrain-seeds", "2")
    command = [sys.executable, "-m", "tune_fmnist.search", *SMALL, *place, *more]
    before = []
    # Into a pipe, Python writes only what fills its buffer, if it is not told to.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            before.append(read(line))
            if before[-1].event == "epoch" and process.poll() is None and len(of("epoch", before, "epoch")) == 1:
                process.send_signal(signal.SIGINT)
        errors = process.stderr.read().splitlines()
    assert process.returncode == 130, errors
    assert [line.split()[0] for line in errors] == ["interrupted;", "next:"]
    done = tune("search", "--resume", "--json-lines", *place)
    assert (done.returncode, done.stderr) == (0, "")
    return Results(SearchPaths(results_dir / "x")), before, [read(line) for line in done.stdout.splitlines()]


def test_every_event_comes_in_its_place(told: tuple[Results, list[Event], list[Event]]) -> None:
    _, before, after = told
    # Whether the first trial that waits does so before another one ends depends on their speed.
    kinds = [event.event for event in after if event.event != "trial_paused"]
    assert list(dict.fromkeys(kinds)) == [
        "started", "trial_started", "epoch", "trial_ended", "confirmation", "retrain", "finished",
    ]  # fmt: skip
    assert {event.event for event in (*before, *after)} == {event.model_fields["event"].default for event in EVENTS}
    assert [event.time for event in after] == sorted(event.time for event in after)
    assert of("started", [*before, *after], "resumed", "name") == [(False, "x"), (True, "x")]
    last = before[-1]
    assert isinstance(last, Interrupted)
    assert last.resume.startswith("python -m tune_fmnist.search --resume ")
    assert last.epochs == len(of("epoch", before, "number"))


def test_the_events_are_the_rows_of_the_tables(told: tuple[Results, list[Event], list[Event]]) -> None:
    results, before, after = told
    events = [*before, *after]
    numbers = dict(zip(results.trials["trial_id"], results.trials["number"], strict=True))
    names = ["epoch", "val_accuracy", "val_loss", "train_loss", "learning_rate"]
    rows = results.epochs.assign(number=results.epochs["trial_id"].map(numbers))[["number", *names]]
    assert of("epoch", events, "number", *names) == sorted(rows.itertuples(index=False, name=None))
    names = ["number", "status", "reason", "epochs", "score"]
    assert of("trial_ended", events, *names) == sorted(results.trials[names].itertuples(index=False, name=None))
    assert [ended for (ended,) in of("trial_ended", events, "ended")] == [1, 2, 3, 4]
    confirmed, retrained = (
        ("confirmation", results.confirmations, "score"),
        ("retrain", results.retrains, "test_accuracy"),
    )
    for kind, frame, figure in (confirmed, retrained):
        names = ["config_id", "seed", "epochs", figure]
        assert of(kind, events, *names) == sorted(frame[names].itertuples(index=False, name=None))
        assert of(kind, events, "ended", "total") == [(ended, len(frame)) for ended in range(1, len(frame) + 1)]


def test_the_last_event_is_the_answer(told: tuple[Results, list[Event], list[Event]]) -> None:
    results, _, after = told
    last = after[-1]
    assert isinstance(last, Finished)
    summary = tune("show", results.paths.folder).stdout
    assert last.answer is not None
    assert " ".join(summary.split()).startswith(last.answer)
    best = results.retrains.loc[results.retrains["rank"] == 1, "config_id"].iloc[0]
    (row,) = rows_of(results.comparison[results.comparison["config_id"] == best])
    assert (last.config_id, last.seeds) == (best, 2)
    for name in ("low", "high", "difference", "p_value"):  # the last two are missing where the baseline is the best
        assert getattr(last, name) == (None if math.isnan(row[name]) else row[name])
    assert last.test_accuracy == row["mean"]
    assert last.config is not None
    trial = rows_of(results.trials[results.trials["config_id"] == best])[0]
    assert last.config["learning_rate"] == trial["config_learning_rate"]
    assert last.page.is_file()
