"""The study of a search that was killed: what its journal may look like, and what it knows that the tables do not."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from tests.faults.harness import Hurt
from tests.faults.inotify import Watch
from tests.records import make_job, make_proposer, make_record, make_result, scheduler_settings
from tests.reliability import Note
from tune_fmnist.base.vocabulary import SchedulerName
from tune_fmnist.store import tables
from tune_fmnist.store.jobs import JOB, METRIC, RESULT
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.optuna_journal import Journal
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import make_scheduler
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.space_files import default_space, read_space

MAX_EPOCHS = 9


def study(file: Path) -> optuna.Study:
    return optuna.create_study(storage=JournalStorage(Journal(file)), study_name="s", load_if_exists=True)


def searcher(paths: SearchPaths) -> OptunaSearcher:
    space, rows = read_space(default_space("ann")), TrialTables(paths, make_record(max_epochs=MAX_EPOCHS)).trials
    return OptunaSearcher(
        space,
        make_proposer(space, "tpe"),
        seed=1,
        max_epochs=MAX_EPOCHS,
        journal=paths.journal,
        name="s",
        count=100,
        audit=Audit(0.0, 1),
        rungs=Rungs(),
        trials=rows,
    )


def result(epoch: int, accuracy: float = 0.5, *, passed: bool = False) -> dict[str, Any]:
    """Return what a trial reports to Ray after an epoch."""
    return {"epoch": epoch, METRIC: accuracy, RESULT: make_result(epoch, accuracy, passed=passed)}


def test_half_a_line_and_a_dead_writers_lock_do_not_spoil_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Note
) -> None:
    # A lock's target is relative if the folder is, as the default is: Optuna would wait for ever.
    monkeypatch.chdir(tmp_path)
    file = Path("a.journal")
    first = study(file)
    first.tell(first.ask(), 1.0)
    with file.open("ab") as opened:
        opened.write(b'{"op_code":4,"study')
    Path("a.journal.lock").symlink_to(file)
    Path("a.journal.lock1234.rename").symlink_to(file)
    second = study(file)
    second.tell(second.ask(), 2.0)
    assert [trial.values for trial in study(file).trials] == [[1.0], [2.0]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.journal"]
    count("journal with half a line and a dead writer's lock", 1, (2, 2, 0, 0))


def test_a_journal_that_is_away_for_a_while_misses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: Note
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    here = study(folder / "a.journal")
    trial = here.ask()
    away = folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    failed = threading.Event()

    class Noticed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failed.set()

    def restore() -> None:
        failed.wait()
        folder.unlink()
        away.rename(folder)

    helper, logger = threading.Thread(target=restore), logging.getLogger("tune_fmnist.tuning.optuna_journal")
    handler = Noticed()
    logger.addHandler(handler)
    helper.start()
    here.tell(trial, 1.0)
    helper.join()
    logger.removeHandler(handler)
    assert "trying again" in caplog.text
    assert [told.values for told in study(folder / "a.journal").trials] == [[1.0]]
    count("journal's folder away", 1, (1, 1, 0, 0))


def test_trials_that_the_tables_have_not_seen_are_issued_again_and_end_where_they_ended(
    tmp_path: Path, count: Note
) -> None:
    paths = SearchPaths(tmp_path)
    first, rows = searcher(paths), TrialTables(paths, make_record(max_epochs=MAX_EPOCHS))
    jobs = [first.suggest(f"ray-{number}")[JOB] for number in range(4)]
    for epoch in range(1, MAX_EPOCHS):
        first.on_trial_result("ray-0", result(epoch))
    first.on_trial_complete("ray-0", result(MAX_EPOCHS))
    first.on_trial_result("ray-1", result(1))
    first.on_trial_complete("ray-1", result(3))
    first.on_trial_complete("ray-2", error=True)
    first.fail(2, "RuntimeError: lost")
    first.on_trial_result("ray-3", result(1))

    # The others' rows did not reach the disk.
    rows.start(jobs[1])
    rows.publish(now=True)
    again = searcher(paths)
    assert again.rebuilt is None
    issued = [again.suggest(f"new-{number}")[JOB] for number in range(5)]
    assert [job.number for job in issued] == [0, 1, 2, 3, 4]
    assert [(job.config, job.seed, job.origin) for job in issued[:4]] == [
        (job.config, job.seed, job.origin) for job in jobs
    ]
    assert [(job.judged, job.ended) for job in issued] == [
        (9, True),
        (3, True),
        (0, False),
        (1, False),
        (0, False),
    ]
    # The study has closed the first three: what they tell now, it knows.
    for number in range(3):
        again.on_trial_result(f"new-{number}", result(4))
        again.on_trial_complete(f"new-{number}", result(5))
    again.on_trial_complete("new-3", result(3))
    again.on_trial_complete("new-4", result(MAX_EPOCHS))
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]
    told = again.study.trials
    assert [trial.state for trial in told] == states
    assert max(told[1].intermediate_values) == 3
    count("study ahead of the tables", 1, (5, len(told), 0, 0))


@pytest.mark.parametrize("name", ["asha", "fifo"])
def test_what_was_judged_once_is_judged_the_same_when_it_is_told_again(name: SchedulerName) -> None:
    scheduler = make_scheduler(scheduler_settings(name), MAX_EPOCHS, Audit(0.0, 1), Rungs())

    # Neither scheduler looks at it.
    controller: Any = None

    def judge(number: int, epoch: int, accuracy: float, *, judged: int, ended: bool, passed: bool = False) -> str:
        trial: Any = SimpleNamespace(config={JOB: make_job(number, judged=judged, ended=ended)})
        if epoch == 1:
            scheduler.on_trial_add(controller, trial)
        return str(scheduler.on_trial_result(controller, trial, result(epoch, accuracy, passed=passed)))

    for number in range(1, 7):
        judge(number, 1, 0.9, judged=0, ended=False)
    # It is far below the others now, and had gone on after epoch 3.
    for epoch in (1, 2, 3):
        assert judge(7, epoch, 0.1, judged=3, ended=False) == TrialScheduler.CONTINUE
    # It had been stopped at epoch 2, and is the best now.
    assert judge(8, 1, 0.99, judged=2, ended=True) == TrialScheduler.CONTINUE
    assert judge(8, 2, 0.99, judged=2, ended=True) == TrialScheduler.STOP
    # Its checkpoint is newer than the study, as after a power cut.
    assert judge(9, 1, 0.1, judged=0, ended=False, passed=True) == TrialScheduler.CONTINUE
    if name == "asha":
        assert judge(10, 1, 0.1, judged=0, ended=False) == TrialScheduler.STOP


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["deleted", "cut in half", "one line missing", "garbage", "older"])
def test_a_search_goes_on_without_its_journal(hurt: Hurt, count: Note, damage: str) -> None:
    hurt.arguments += ("--trials", "3", "--no-retrain")
    assert hurt.start().ended() == 0
    older = hurt.paths.journal.read_bytes()
    hurt.finish("--trials", 5)
    content, before = hurt.paths.journal.read_bytes(), tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()
    lines = content.splitlines(keepends=True)
    hurt.paths.journal.unlink()
    if damage != "deleted":
        hurt.paths.journal.write_bytes(
            {
                "cut in half": content[: len(content) // 2],
                "one line missing": b"".join(lines[:20] + lines[21:]),
                "garbage": b"".join([*lines[:20], b"garbage\n", *lines[20:]]),
                "older": older,
            }[damage]
        )
    run = hurt.finish("--trials", 8)
    assert "\noptuna.journal is rebuilt from the tables: " in "\n".join(run.lines)
    assert tables.read(hurt.paths.trials, tables.TRIALS).to_pylist()[:5] == before
    count(f"journal {damage}", 1, hurt.check(trials=8))


def test_events_of_a_folder_are_seen(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    (tmp_path / "one").write_text("1")
    (tmp_path / "one").rename(tmp_path / "two")
    assert [event.name for event in watch.read()] == ["one", "one", "two"]
    watch.close()
