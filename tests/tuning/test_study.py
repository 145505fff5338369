"""A study whose journal is lost, damaged or older than the tables: the search goes on with the trials of the tables.

What Ray does with the searcher and the tables is done here by hand: their files are real.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.records import make_proposer, make_record, make_result, scheduler_settings
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.metrics import DIVERGED_SCORE, score_of
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.models.config import baseline, to_config
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import JOB, EpochResult, TrialJob, told_to_ray
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space import Space
from tune_fmnist.tuning.space_files import from_values

RECORD = make_record(max_epochs=3)
PARAMETERS = {
    "hidden1": {"type": "int", "low": 128, "high": 512, "step": 2},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
    "momentum": {"type": "float", "low": 0.5, "high": 0.99, "when": {"optimizer": "sgd"}},
}
START = [{"dropout": 0.25, "optimizer": "sgd"}, {"hidden1": 300}]
SPACE = from_values({"model": "ann", "parameters": PARAMETERS, "start": START})
# Its baseline, with dropout 0.3, lies outside.
NARROW = from_values({"model": "ann", "parameters": {"dropout": {"type": "float", "low": 0.1, "high": 0.2}}})
STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,
    "running": TrialState.RUNNING,
}


class Search:
    """A search, begun or resumed: its searcher and its tables."""

    def __init__(
        self, paths: SearchPaths, space: Space = SPACE, rungs: Rungs | None = None, audit: float = 0.0, count: int = 100
    ) -> None:
        self.tables = TrialTables(paths, RECORD)
        self.searcher = OptunaSearcher(
            space,
            make_proposer(space, "random"),
            seed=1,
            max_epochs=3,
            journal=paths.journal,
            name="s",
            count=count,
            audit=Audit(audit, 1),
            rungs=rungs or Rungs(),
            trials=self.tables.trials,
            epochs=self.tables.reported(),
        )

    def suggest(self, *, name: str = "ray") -> TrialJob:
        """Begin a trial, or let one go on."""
        job: TrialJob = self.searcher.suggest(name)[JOB]
        self.tables.start(job)
        return job

    def tell(self, job: TrialJob, ends: str) -> None:
        """Let the trial that was suggested last complete, be stopped, diverge, fail, or be cut off with the search."""
        last = {"completed": 3, "stopped": 2, "diverged": 2, "failed": 1, "running": 2}[ends]
        results: list[EpochResult] = []
        for epoch in range(1, last + 1):
            loss = math.nan if (ends, epoch) == ("diverged", 2) else 0.5
            told = make_result(epoch, 0.5 + job.number / 100 - epoch / 1000, train_loss=loss)
            results.append(told)
            result = told_to_ray(results)
            self.tables.add(job.number, told)
            if epoch < last or ends not in ("completed", "stopped"):
                self.searcher.on_trial_result("ray", result)
        if ends == "failed":
            self.searcher.on_trial_complete("ray", error=True)
            self.searcher.fail(job.number, "RuntimeError: lost")
            self.tables.fail(job.number, "RuntimeError: lost")
        elif ends != "running":
            self.searcher.on_trial_complete("ray", result)
            self.tables.end(job.number)

    def go_on(self, trials: int) -> list[TrialJob]:
        """Run trials to their end until there are as many as given."""
        jobs = []
        while len(self.tables.trials) < trials or self.tables.running:
            jobs.append(self.suggest())
            self.tell(jobs[-1], "completed")
        self.tables.publish(now=True)
        return jobs


ENDS = ["completed", "stopped", "diverged", "failed", "completed", "running"]


def interrupted(folder: Path, space: Space = SPACE, ends: list[str] = ENDS) -> SearchPaths:
    """Return a search that was cut off after trials that ended like this, each with its rows on the disk."""
    paths = SearchPaths(folder)
    search = Search(paths, space)
    for end in ends:
        search.tell(search.suggest(), end)
    search.tables.publish(now=True)
    return paths


def rows_of(paths: SearchPaths) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tables.read(paths.trials, tables.TRIALS).to_pylist()
    return rows


def trials_of(paths: SearchPaths) -> list[optuna.trial.FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    return optuna.load_study(study_name="s", storage=storage).trials


def attributes_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a trial's user attributes are by its row."""
    names = ("origin", "seed") if row["status"] == "running" else ("origin", "seed", "status", "reason")
    return {name: row[name] for name in names}


def check(
    paths: SearchPaths, space: Space, *, trials: int, before: list[dict[str, Any]], attributes: bool = True
) -> None:
    """Assert that each number is once in the tables and the study, that these agree, and that no old row changed."""
    rows, study = rows_of(paths), trials_of(paths)
    assert [row["number"] for row in rows] == [trial.number for trial in study] == list(range(trials))
    epochs = tables.read(paths.epochs, tables.EPOCHS).to_pylist()
    keys = [(row["trial_id"], row["epoch"]) for row in epochs]
    assert len(set(keys)) == len(keys) == sum(row["epochs"] for row in rows)
    for row, trial in zip(rows, study, strict=True):
        assert row["seed"] == derived_seed(1, row["number"])
        params = space.values(to_config(tables.config_values(row)))
        assert trial.params == (params or {})
        assert trial.state is (STATES.get(row["status"], TrialState.FAIL) if params else TrialState.FAIL)
        own = sorted(
            (epoch["epoch"], epoch["val_accuracy"]) for epoch in epochs if epoch["trial_id"] == row["trial_id"]
        )
        told = {epoch: score_of([accuracy for _, accuracy in own[:epoch]]) for epoch, _ in own}
        if attributes:
            assert trial.user_attrs == attributes_of(row) if params else trial.user_attrs["reason"]
        if row["status"] == "diverged":
            told[row["epochs"]] = DIVERGED_SCORE
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            assert trial.intermediate_values == told
            assert trial.value == told[row["epochs"]]
    kept = [row for row in before if row["status"] != "running"]
    assert [repr(rows[row["number"]]) for row in kept] == [repr(row) for row in kept]
    running = [row["number"] for row in before if row["status"] == "running"]
    assert [rows[number]["config_id"] for number in running] == [before[number]["config_id"] for number in running]


Damage = Callable[[bytes], bytes]


def without(code: int, key: str = "op_code") -> Damage:
    """Take the first record of an operation that has a key out of a journal."""

    def damage(content: bytes) -> bytes:
        listed = content.splitlines(keepends=True)
        records = [json.loads(line) for line in listed]
        listed.pop(next(place for place, one in enumerate(records) if one["op_code"] == code and one.get(key)))
        return b"".join(listed)

    return damage


def changed(old: str, new: str) -> Damage:
    def damage(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode())

    return damage


DAMAGES: dict[str, tuple[Damage | None, str]] = {
    "deleted": (None, "not found"),
    "empty": (lambda content: b"", "cannot be read (KeyError: "),
    "cut in half": (lambda content: content[: len(content) // 2], "older than the tables, without trial 3"),
    "no trial": (without(4), ""),
    "no parameter": (without(5), "its trial 0 is not that of the tables"),
    "no end": (without(6, "values"), "its trial 0 is not that of the tables"),
    "no epoch": (without(7), "its trial 0 is not that of the tables"),
    "garbage": (lambda content: content.replace(b"\n", b"\n?\xff\n", 1), "cannot be read (Unicode"),
    "garbage at the end": (lambda content: content + b"garbage\n", "cannot be read (JSONDecodeError: "),
    "no line": (lambda content: content.replace(b"\n", b""), "cannot be read (KeyError: "),
    "no object": (lambda content: b"7\n" + content, "line 1 is not an object"),
    "renamed keys": (changed('"op_code"', '"code"'), "cannot be read (KeyError: 'op_code')"),
    "another parameter": (changed('_internal":0.25', '_internal":0.2'), "its trial 1 is not that of the tables"),
    "another accuracy": (changed('_value":0.509', '_value":0.609'), "its trial 1 is not that of the tables"),
    "another range": (changed('\\"high\\": 0.5', '\\"high\\": 0.6'), "its trial 0 is not that of the tables"),
    "another direction": (changed('"directions":[2]', '"directions":[1]'), "direction is MINIMIZE"),
    "another study": (changed('"study_name":"s"', '"study_name":"t"'), "cannot be read (KeyError: "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_study_that_is_not_the_tables_is_rebuilt_from_them(name: str, tmp_path: Path) -> None:
    damage, says = DAMAGES[name]
    paths = interrupted(tmp_path / "x")
    before = rows_of(paths)
    damaged = damage(paths.journal.read_bytes()) if damage else None
    paths.journal.unlink()
    if damaged is not None:
        paths.journal.write_bytes(damaged)
    search = Search(paths)
    assert search.searcher.rebuilt is not None
    assert search.searcher.rebuilt.startswith("optuna.journal is rebuilt from the tables: ")
    assert says in search.searcher.rebuilt
    assert len(search.searcher.rebuilt.splitlines()) == 1
    kept = paths.journal.with_name("optuna.journal.damaged")
    assert (kept.read_bytes() if kept.exists() else None) == damaged
    # What the study holds is what it would have held.
    found = search.searcher.study.trials
    assert [trial.state for trial in found] == [STATES.get(end, TrialState.FAIL) for end in ENDS]
    jobs = search.go_on(8)
    assert [job.number for job in jobs] == [5, 6, 7]
    check(paths, SPACE, trials=8, before=before)
    assert Search(paths).searcher.rebuilt is None


def reach_a_rung(search: Search, rungs: Rungs, job: TrialJob, accuracy: float) -> None:
    """Let a trial tell its first epoch, after which it waits."""
    told = make_result(1, accuracy)
    search.tables.add(job.number, told)
    assert rungs.waits(job.number, 1, accuracy, for_good=False)
    search.searcher.on_trial_complete("ray", told_to_ray([told]))
    search.tables.pause(job.number)


@pytest.mark.parametrize("fails", [False, True], ids=["as it is left", "told to have failed"])
def test_a_trial_that_had_not_begun_when_the_time_was_up_waits_and_goes_on_like_others(
    tmp_path: Path, *, fails: bool
) -> None:
    paths = SearchPaths(tmp_path / "x")
    search = Search(paths)
    search.tell(search.suggest(), "completed")
    # Its process was still starting.
    search.searcher.suggest("late")
    search.searcher.finish(search.tables.trials, "the time budget was used up")
    search.tables.publish(now=True)
    assert trials_of(paths)[1].state is TrialState.RUNNING
    if fails:
        search.searcher.study.tell(1, state=TrialState.FAIL)
    rungs = Rungs([1], 3)
    search = Search(paths, rungs=rungs)
    assert search.searcher.rebuilt is None
    for accuracy in (0.7, 0.6, 0.5):
        reach_a_rung(search, rungs, search.suggest(), accuracy)
    assert search.suggest().number == 1, "the best of three goes on"
    search.tables.publish(now=True)
    assert Search(paths, rungs=Rungs([1], 3, {}, {2: 1, 3: 1})).searcher.rebuilt is None


def test_a_trial_that_waited_when_the_search_was_interrupted_goes_on_from_there(tmp_path: Path) -> None:
    paths, rungs = SearchPaths(tmp_path / "x"), Rungs([1], 3)
    search = Search(paths, rungs=rungs)
    search.tell(search.suggest(), "completed")
    for accuracy in (0.6, 0.7):
        reach_a_rung(search, rungs, search.suggest(), accuracy)
    search.tables.publish(now=True)
    settings = scheduler_settings("promotion").model_copy(update={"reduction_factor": 3})
    tables_now = TrialTables(paths, RECORD)
    again = Rungs.resumed(settings, 3, tables_now.trials, tables_now.reported())
    search = Search(paths, rungs=again)
    assert search.searcher.rebuilt is None
    new = search.suggest()
    assert new.number == 3, "of two nobody goes on"
    reach_a_rung(search, again, new, 0.5)
    job = search.suggest()
    assert (job.number, job.judged, job.ended) == (2, 1, False)
    assert search.tables.trials[2]["status"] == "running"
    assert search.tables.trials[1]["status"] == "paused"


def test_the_audit_takes_who_would_wait_for_ever_when_no_other_can_get_to_a_rung(tmp_path: Path) -> None:
    paths, rungs = SearchPaths(tmp_path / "x"), Rungs([1], 3)
    search = Search(paths, rungs=rungs, audit=1.0, count=4)
    search.tell(search.suggest(), "completed")
    for accuracy in (0.6, 0.5):
        reach_a_rung(search, rungs, search.suggest(), accuracy)
    last = search.suggest()
    assert search.searcher.suggest("early") is None, "the last one may still be better than both"
    assert not search.searcher.is_exhausted
    reach_a_rung(search, rungs, last, 0.4)
    assert search.suggest().number == 1, "the best of three"
    assert search.suggest(name="audited").number == 2


def test_a_study_that_has_closed_what_waits_by_the_tables_is_rebuilt(tmp_path: Path) -> None:
    paths, rungs = SearchPaths(tmp_path / "x"), Rungs([1], 3)
    search = Search(paths, rungs=rungs)
    search.tell(search.suggest(), "completed")
    reach_a_rung(search, rungs, search.suggest(), 0.7)
    search.tables.publish(now=True)
    # The machine is lost before the table says so as well.
    search.searcher.finish(search.tables.trials, None)
    again = Search(paths, rungs=Rungs([1], 3, {1: {1: 0.7}}, {1: 1}))
    assert "its trial 1 is not that of the tables" in (again.searcher.rebuilt or "")
    assert trials_of(paths)[1].state is TrialState.RUNNING


def test_a_journal_of_an_earlier_time_is_rebuilt(tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x", ends=["completed", "running"])
    earlier = paths.journal.read_bytes()
    Search(paths).go_on(5)
    before = rows_of(paths)
    paths.journal.write_bytes(earlier)
    search = Search(paths)
    assert "without trial 3" in (search.searcher.rebuilt or "")
    assert [job.number for job in search.go_on(7)] == [5, 6]
    check(paths, SPACE, trials=7, before=before)


def test_start_trials_that_were_not_drawn_yet_are_drawn_from_a_rebuilt_study(tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x", ends=["completed"])
    paths.journal.unlink()
    search = Search(paths)
    jobs = search.go_on(4)
    assert [(job.number, job.origin) for job in jobs] == [(1, "start"), (2, "start"), (3, "random")]
    assert (jobs[0].config.dropout, jobs[0].config.optimizer, jobs[1].config.model_dump()["hidden1"]) == (
        0.25,
        "sgd",
        300,
    )
    check(paths, SPACE, trials=4, before=[])


@pytest.mark.parametrize("end", ["completed", "running"])
def test_a_baseline_outside_the_space_keeps_its_row(end: str, tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x", NARROW, [end])
    before = rows_of(paths)
    paths.journal.unlink()
    search = Search(paths, NARROW)
    numbers = [job.number for job in search.go_on(3)]
    assert numbers == ([1, 2] if end == "completed" else [0, 1, 2])
    check(paths, NARROW, trials=3, before=before)
    assert to_config(tables.config_values(rows_of(paths)[0])) == baseline("ann")


def test_a_number_that_no_row_has_is_drawn(tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x", ends=["completed"] * 6)
    table = tables.read(paths.trials, tables.TRIALS)
    tables.write(table.filter([number != 4 for number in range(6)]), paths.trials)
    paths.journal.unlink()
    jobs = Search(paths).go_on(7)
    assert [job.number for job in jobs] == [4, 6]
    check(paths, SPACE, trials=7, before=[row for row in rows_of(paths) if row["number"] not in (4, 6)])


def test_tables_of_another_seed_are_one_line(tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x")
    rows = rows_of(paths)
    tables.write(tables.to_table([row | {"seed": 7} for row in rows], tables.TRIALS), paths.trials)
    with pytest.raises(InputError) as caught:
        Search(paths)
    expected = f"trial 0 has seed 7, and {derived_seed(1, 0)} by the seed 1 of search.json"
    assert str(caught.value).startswith(f"{paths.trials}: seed: {expected}; restore ")


def test_a_study_that_agrees_is_kept(tmp_path: Path) -> None:
    paths = interrupted(tmp_path / "x")
    assert [trial.user_attrs for trial in trials_of(paths)[: len(ENDS)]] == [
        attributes_of(row) for row in rows_of(paths)
    ]
    content = paths.journal.read_bytes()
    assert Search(paths).searcher.rebuilt is None
    assert paths.journal.read_bytes() == content


@given(st.data())
@settings(max_examples=40)
def test_any_change_of_a_journal_costs_no_row(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    paths = interrupted(tmp_path_factory.mktemp("x"))
    before, listed = rows_of(paths), paths.journal.read_bytes().splitlines(keepends=True)
    kind = data.draw(st.sampled_from(["line lost", "cut", "bit", "lines swapped", "line twice"]))
    place = data.draw(st.integers(0, len(listed) - 2))
    if kind == "line lost":
        del listed[place]
    elif kind == "lines swapped":
        listed[place], listed[place + 1] = listed[place + 1], listed[place]
    elif kind == "line twice":
        listed.insert(place, listed[place])
    content = bytearray(b"".join(listed))
    if kind == "bit":
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        content[bit // 8] ^= 1 << bit % 8
    elif kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    paths.journal.write_bytes(content)
    Search(paths).go_on(8)
    # Nothing depends on a user attribute, so that a journal without one is not made anew.
    check(paths, SPACE, trials=8, before=before, attributes=False)
