"""``search.json``: read, checked, written, resumed and closed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.records import STARTED, make_record
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import SCHEMA_VERSION
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord, now


@pytest.fixture
def paths(tmp_path: Path) -> SearchPaths:
    return SearchPaths(tmp_path / "x")


def test_what_is_written_is_read(paths: SearchPaths) -> None:
    record = make_record(
        resumed_at=[STARTED + timedelta(hours=1)],
        finished_at=STARTED + timedelta(hours=2),
        searcher={"name": "tpe", "n_startup_trials": 10},
        placement={"cpus": 1.0, "gpus": 0.5, "slots": 4, "nodes": 2, "most": 3},
        slot_seconds=1.5,
        utilisation=0.97,
        limit_train=100,
        storage="s3://bucket/x",
        versions={"torch": "2.15.0"},
        hardware={"cores": 2, "gpus": []},
        gpu_sharing={"trials_per_gpu": 3},
        retrain={"top_k": 3, "seconds": 9.5},
    )
    record.write(paths)
    assert SearchRecord.read(paths) == record
    values = json.loads(paths.search.read_text())
    assert values["schema_version"] == SCHEMA_VERSION
    assert values["started_at"] == "2026-01-02T03:04:05Z"
    assert values["searcher"] == {"name": "tpe", "n_startup_trials": 10}
    assert [file.name for file in paths.folder.iterdir()] == ["search.json"]


def test_keys_that_this_release_does_not_know_are_kept(paths: SearchPaths) -> None:
    values = make_record().model_dump(mode="json")
    values |= {"colour": "red", "placement": {"cpus": 1.0, "gpus": 0.0, "slots": 2, "rack": 7}}
    SearchRecord.parse(json.dumps(values).encode(), "a file").write(paths)
    again = json.loads(paths.search.read_text())
    assert (again["colour"], again["placement"]["rack"]) == ("red", 7)


def test_a_record_that_was_changed_is_one_line_until_its_checksum_is_removed(paths: SearchPaths) -> None:
    make_record().write(paths)
    paths.search.write_text(paths.search.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError) as caught:
        SearchRecord.read(paths)
    hint = "restore the file, or remove the key 'checksum' if you changed it yourself"
    assert str(caught.value) == f"{paths.search}: checksum: content does not match its checksum; {hint}"
    values = json.loads(paths.search.read_text())
    del values["checksum"]
    paths.search.write_text(json.dumps(values))
    record = SearchRecord.read(paths)
    assert record.seed == 1
    record.write(paths)
    assert SearchRecord.read(paths) == record


def test_the_order_of_keys_and_the_spaces_between_them_are_no_change(paths: SearchPaths) -> None:
    make_record(search_seconds=0.1).write(paths)
    values = json.loads(paths.search.read_text())
    turned = json.dumps(dict(reversed(values.items())), separators=(",", ":"))
    assert SearchRecord.parse(turned.encode(), "a file") == SearchRecord.read(paths)


def content(**changes: Any) -> bytes:
    """Return a record's JSON; ``...`` removes a key."""
    values = make_record().model_dump(mode="json") | changes
    return json.dumps({key: value for key, value in values.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (b'{"schema_version": 2, "na', "some.json: cannot be read (JSONDecodeError("),
        (b"[" * 100_000, "some.json: cannot be read (RecursionError("),
        (b"\xff", "some.json: cannot be read (UnicodeDecodeError("),
        (b"[1]", "some.json: holds a list, not an object; restore the file or search again"),
        (b"{}", "some.json: schema_version: unsupported version None; this release reads versions 1 to 2: "),
        (content(schema_version=3), "some.json: schema_version: unsupported version 3; this release reads versions 1"),
        (content(schema_version=0), "some.json: schema_version: unsupported version 0; "),
        (content(schema_version="2"), "some.json: schema_version: unsupported version '2'; "),
        (content(search_id=...), "some.json: search_id: missing; restore the file or search again"),
        (content(retrain_plan={"wanted": True, "top_k": 3}), "some.json: retrain_plan.seeds: missing; "),
        (content(model="rnn"), "some.json: model: invalid value 'rnn': must be 'ann' or 'cnn', or MODULE:CLASS"),
        (content(state="done"), "some.json: state: invalid value 'done': must be 'running', 'finished', 'interrupted'"),
        (content(trials=0), "some.json: trials: invalid value 0: must be at least 1; "),
        (content(trials="six"), "some.json: trials: invalid value 'six': must be a valid integer; "),
        (content(seed=2**32), "some.json: seed: invalid value 4294967296: must be at most 4294967295; "),
        (content(searcher=["tpe"]), "some.json: searcher: invalid value a list: must be a valid dictionary"),
        (content(started_at="yesterday"), "some.json: started_at: invalid value 'yesterday': must be a valid datetime"),
        (content(started_at="2026-01-02T03:04:05"), "some.json: started_at: invalid value '2026-01-02T03:04:05': "),
        (content(search_seconds=-1.0), "some.json: search_seconds: invalid value -1.0: must be at least 0; "),
        (content(search_seconds=float("nan")), "some.json: search_seconds: invalid value nan: must be a finite number"),
    ],
)
def test_a_record_that_cannot_be_used_is_one_line(wrong: bytes, line: str) -> None:
    with pytest.raises(InputError) as caught:
        SearchRecord.parse(wrong, "some.json")
    assert str(caught.value).startswith(line)
    assert len(str(caught.value).splitlines()) == 1


def test_a_record_that_is_not_there_is_one_line(paths: SearchPaths) -> None:
    with pytest.raises(InputError, match=r"search\.json: file not found; name the folder of a search"):
        SearchRecord.read(paths)
    paths.search.mkdir(parents=True)
    with pytest.raises(InputError, match=r"search\.json: cannot be read"):
        SearchRecord.read(paths)


def test_a_value_that_is_not_allowed_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="state"):
        make_record().state = "done"  # type: ignore[assignment]


def test_closing_says_how_a_run_ended_and_adds_its_time(paths: SearchPaths) -> None:
    record = make_record(wall_seconds=10.0)
    before = now()
    record.close(paths, "interrupted", 5.04)
    read = SearchRecord.read(paths)
    assert read == record
    assert (read.state, read.wall_seconds) == ("interrupted", 15.0)
    assert before <= (read.finished_at or before) <= datetime.now(UTC)
    record.close(paths, "finished", 0.5)
    assert (SearchRecord.read(paths).state, SearchRecord.read(paths).wall_seconds) == ("finished", 15.5)


LAST = STARTED + timedelta(minutes=1, seconds=40)
PLACEMENT = {"cpus": 1.0, "gpus": 0.0, "slots": 3}


def test_a_killed_runs_time_is_counted_until_its_last_epoch() -> None:
    record = make_record(search_seconds=7.0, slot_seconds=30.0, placement=PLACEMENT)
    before = now()
    record.resume(LAST, searches=True)
    assert (record.search_seconds, record.slot_seconds) == (107.0, 330.0)
    (resumed,) = record.resumed_at
    assert before <= resumed <= datetime.now(UTC)


def test_a_killed_run_that_was_resumed_is_counted_from_its_own_start() -> None:
    record = make_record(resumed_at=[STARTED + timedelta(seconds=90)], search_seconds=7.0)
    record.resume(LAST, searches=True)
    assert record.search_seconds == 17.0
    assert record.slot_seconds is None
    assert len(record.resumed_at) == 2


@pytest.mark.parametrize(
    ("state", "resumed_at", "last"),
    [
        ("interrupted", [], LAST),
        ("finished", [], LAST),
        ("running", [], None),
        # Killed before its first epoch: the last row is of the run before.
        ("running", [LAST + timedelta(seconds=5)], LAST),
    ],
)
def test_no_time_is_added_where_none_was_lost(state: str, resumed_at: list[datetime], last: datetime | None) -> None:
    record = make_record(state=state, resumed_at=resumed_at, search_seconds=7.0, slot_seconds=9.0, placement=PLACEMENT)
    record.resume(last, searches=True)
    assert (record.search_seconds, record.slot_seconds) == (7.0, 9.0)


@pytest.mark.parametrize(("searches", "utilisation"), [(True, None), (False, 0.97)])
def test_the_utilisation_stays_where_no_trial_will_run(searches: bool, utilisation: float | None) -> None:
    record = make_record(state="finished", utilisation=0.97, utilisation_while_trials_wait=0.97)
    record.resume(LAST, searches=searches)
    assert record.utilisation == record.utilisation_while_trials_wait == utilisation


def test_the_time_is_utc_to_the_second() -> None:
    assert now().utcoffset() == timedelta(0)
    assert now().microsecond == 0
