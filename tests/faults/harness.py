"""A search in processes of its own, what hurts it, and what must be true of it afterwards."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.faults.inotify import Event, Watch
from tests.outputs import PROGRESS
from tests.reliability import Rows
from tune_fmnist.base.vocabulary import RUNNING
from tune_fmnist.store import tables
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import confirmed
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.tuning.selection import confirmations, retrain_seeds

STATES = {
    "completed": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "failed": TrialState.FAIL,
}
QUICK = ("--model", "ann", "--limit-train", "4000", "--max-epochs", "9", "--confirm", "1")
_MARK = "TUNE_FMNIST_FAULTS"
_PATIENCE = 240.0


class Moment(NamedTuple):
    """When to hurt: after the ``nth`` event of a kind, and a busy wait of ``offset`` seconds."""

    kind: str
    nth: int
    offset: float = 0.0


KINDS: dict[str, Callable[[Event], bool]] = {
    "published": lambda event: event.name in ("trials.parquet", "epochs.parquet"),
    "writing": lambda event: event.name.endswith(".partial") and "search.json" not in event.name,
    "journal": lambda event: event.name == "optuna.journal",
    "locking": lambda event: event.name == "optuna.journal.lock",
    "recorded": lambda event: event.name == "search.json",
    "retrained": lambda event: event.name == "retrains.parquet",
}


def _writer(partial: str) -> int:
    """Return the pid in the name of a file that is being written."""
    return int(partial.split(".")[-2])


class Run:
    """One process of ``python -m MODULE`` with all that it starts, known by a mark in the environment."""

    def __init__(
        self, paths: SearchPaths, arguments: tuple[object, ...], logs: Path, module: str = "tune_fmnist.search"
    ) -> None:
        self.paths, self.mark = paths, uuid.uuid4().hex
        self.lines: list[str] = []
        self._rest = b""
        self._family: dict[int, str] = {}
        folder = paths.folder.parent
        command = [sys.executable, "-m", module, "--results-dir", folder, "--name", paths.folder.name]
        self.errors = logs / f"{self.mark}.err"
        self.errors.touch()
        self.process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "80", _MARK: self.mark},
        )
        assert self.process.stderr is not None
        self._out = self.process.stderr.fileno()

    def _read(self) -> bool:
        data = os.read(self._out, 1 << 16)
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in map(bytes.decode, whole):
            if PROGRESS.match(line):
                # What happened comes with the time before it.
                self.lines.append(re.sub(r"^\d\d:\d\d:\d\d ", "", line))
            else:
                with self.errors.open("a") as errors:
                    errors.write(f"{line}\n")
        return bool(data)

    def await_line(self, *, start: str = "", count: int = 1, patience: float = _PATIENCE) -> bool:
        """Wait for the ``count``-th line that starts like this; False if the output ended before."""
        until = time.monotonic() + patience
        while sum(line.startswith(start) for line in self.lines) < count:
            ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"no line {start!r} in {patience:g} s: {self.lines[-5:]}"
            if not self._read():
                return False
        return True

    def await_moment(self, moment: Moment) -> bool:
        """Wait for a moment; False if the process ended before."""
        if moment.kind == "line":
            came = self.await_line(count=moment.nth)
        else:
            came = self.paths.folder.is_dir() or self.await_line(start="search ")
            came = came and self.await_event(self.paths.folder, KINDS[moment.kind], moment.nth) is not None
        until = time.monotonic() + moment.offset
        while came and time.monotonic() < until:
            pass
        return came

    def await_event(
        self,
        folder: Path,
        matches: Callable[[Event], bool],
        count: int = 1,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> Event | None:
        """Wait for the ``count``-th event of a folder ``after`` something; None if the process ended before."""
        watch, until = Watch(folder), time.monotonic() + _PATIENCE
        try:
            after()
            while True:
                ready, _, _ = select.select([self._out, watch.fileno()], [], [], max(0.0, until - time.monotonic()))
                assert ready, f"nothing happens: {self.lines[-5:]} {self.said}"
                for event in watch.read() if watch.fileno() in ready else []:
                    count -= matches(event)
                    if count == 0:
                        return event
                if self._out in ready and not self._read():
                    return None
        finally:
            watch.close()

    def processes(self, title: str = "") -> dict[int, str]:
        """Return what this run has started and still runs, by pid, with command lines that hold ``title``.

        A child of a child is found as long as its parents live, and then again by its pid and start.
        """
        table = dict(_process_table())
        family = {self.process.pid} | {pid for pid, row in table.items() if self._family.get(pid) == row.started}
        family |= {pid for pid in table if f"{_MARK}={self.mark}".encode() in _of(pid, "environ")}
        while more := {pid for pid, row in table.items() if row.parent in family} - family:
            family |= more
        self._family = {pid: table[pid].started for pid in family & table.keys()}
        lines = {pid: _of(pid, "cmdline").replace(b"\0", b" ").decode() for pid in self._family}
        return {pid: line for pid, line in lines.items() if title in line and table[pid].state != "Z"}

    def worker_of(self, number: int, killed: Collection[int] = ()) -> int:
        """Wait until a trial's checkpoint is being written, and return the pid of its process.

        One that was ``killed`` may have begun another checkpoint before.
        """
        folder = self.paths.checkpoints / f"{number:05d}"
        assert self.await_line(start="Ray: "), self.said
        for parent, child in ((self.paths.folder, self.paths.checkpoints), (self.paths.checkpoints, folder)):
            while not child.is_dir():
                # Made in between, it is noticed at the next event: trials write their checkpoints all the time.
                assert self.await_event(parent, lambda event: True), self.said
        event = self.await_event(
            folder, lambda event: event.name.endswith(".partial") and _writer(event.name) not in killed
        )
        assert event is not None, f"trial {number} has ended"
        return _writer(event.name)

    def kill(self) -> None:
        """Kill the driver alone, as the system's out-of-memory killer would."""
        self.processes()
        self.process.kill()
        self.ended()

    def ended(self, patience: float = _PATIENCE) -> int:
        """Wait for the end of the process and return its status."""
        while self._read():
            pass
        return self.process.wait(patience)

    @property
    def said(self) -> str:
        """What it printed on standard error, progress apart."""
        return self.errors.read_text()

    def clean(self) -> None:
        """End whatever it left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


class _Process(NamedTuple):
    state: str
    parent: int
    started: str


def _of(pid: int, file: str) -> bytes:
    """Return a file of a process; nothing, if it has gone."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def _process_table() -> Iterator[tuple[int, _Process]]:
    for folder in Path("/proc").glob("[0-9]*"):
        if stat := _of(int(folder.name), "stat"):
            fields = stat.rpartition(b")")[2].split()
            yield int(folder.name), _Process(fields[0].decode(), int(fields[1]), fields[19].decode())


Known = dict[tuple[int, int], tuple[float, float]]
"""By trial and epoch: the validation accuracy, and when it was reported, in seconds."""


@dataclass
class Hurt:
    """A search that is hurt, resumed and hurt again, and everything that it was ever seen to hold."""

    paths: SearchPaths
    logs: Path
    arguments: tuple[object, ...] = QUICK
    runs: list[Run] = field(default_factory=list)
    known: Known = field(default_factory=dict)
    again: set[tuple[int, int]] = field(default_factory=set)

    def start(self, *more: object) -> Run:
        """Start the search, or resume it if there is something to resume."""
        self.observe()
        options = ("--resume", *more) if self.paths.search.exists() else (*self.arguments, *more)
        self.runs.append(Run(self.paths, options, self.logs))
        return self.runs[-1]

    def finish(self, *more: object) -> Run:
        """Resume the search and let it end."""
        run = self.start(*more)
        assert run.ended(600) == 0, (run.said, run.lines)
        return run

    def observe(self) -> None:
        """Add what tables and checkpoints hold; an epoch that is there with two times was trained twice."""
        found = list(epochs_of(self.paths).items())
        for folder in sorted(self.paths.checkpoints.glob("[0-9]*")):
            number, newest = int(folder.name), Checkpoints(self.paths.checkpoints, int(folder.name)).newest()
            history = newest.history if newest else []
            found += [((number, result.epoch), (result.val_accuracy, result.reported_at)) for result in history]
        for key, told in found:
            before = self.known.setdefault(key, told)
            # The table has microseconds.
            if abs(before[1] - told[1]) > 1e-5:
                self.again.add(key)

    def check(self, *, trials: int, retrains: bool = False) -> Rows:
        """Assert that nothing is lost; return how many rows were expected, and what became of them."""
        before = dict(self.known)
        self.observe()
        rows = tables.read(self.paths.trials, tables.TRIALS).to_pylist()
        assert [row["number"] for row in rows] == list(range(trials))
        assert RUNNING not in {row["status"] for row in rows}
        epochs = epochs_of(self.paths)
        told = tables.read(self.paths.epochs, tables.EPOCHS)
        assert len(epochs) == told.num_rows == sum(row["epochs"] for row in rows)
        for row in rows:
            assert sorted(e for n, e in epochs if n == row["number"]) == list(range(1, row["epochs"] + 1))
        lost = before.keys() - epochs.keys()
        assert not lost, f"epochs that were there and are not: {sorted(lost)}"
        assert not self.again, f"epochs that were there and were trained again: {sorted(self.again)}"
        wrong = {key for key in before if before[key][0] != epochs[key][0]}
        assert not wrong, f"epochs with another accuracy than was told first: {sorted(wrong)}"
        for row, trial in zip(rows, study_of(self.paths).trials, strict=True):
            # The baseline is no trial of the study if it lies outside of the space.
            outside = row["number"] == 0 and not trial.params
            assert trial.state is (TrialState.FAIL if outside else STATES[row["status"]]), row
        record = SearchRecord.read(self.paths)
        assert record.state == "finished"
        assert self.paths.page.exists()
        assert not [file for file in self.paths.folder.rglob("*") if "partial" in file.name or ".tmp" in file.name]
        assert not list(self.paths.checkpoints.glob("*/*"))
        unlogged = self._check_retrains(rows, record) if retrains else None
        return Rows(len(before | dict(epochs)), len(epochs), len(self.again), len(wrong), unlogged)

    def _check_confirmations(self, rows: list[dict[str, Any]], record: SearchRecord) -> None:
        """Assert that what is wanted is confirmed, once with each seed."""
        plan = record.retrain_plan
        wanted = {job.key for job in confirmations(rows, record, top_k=plan.top_k, count=plan.confirm)}
        done = tables.read(self.paths.confirmations, tables.CONFIRMATIONS).to_pylist()
        keys = [(row["config_id"], row["seed"]) for row in done]
        assert len(set(keys)) == len(keys)
        assert wanted <= set(keys)

    def _check_retrains(self, rows: list[dict[str, Any]], record: SearchRecord) -> int:
        """Assert that the best and the baseline are retrained, once with each seed; return the unlogged reads."""
        done = tables.read(self.paths.retrains, tables.RETRAINS).to_pylist()
        self._check_confirmations(rows, record)
        by = confirmed(tables.read(self.paths.confirmations, tables.CONFIRMATIONS).to_pylist())
        chosen = list(by)[: record.retrain_plan.top_k]
        ranks = {row["config_id"]: row["rank"] for row in done if row["rank"]}
        assert ranks == {name: place + 1 for place, name in enumerate(chosen)}
        keys = [(row["config_id"], row["seed"]) for row in done]
        seeds = retrain_seeds(record, record.retrain_plan.seeds)
        wanted = {(name, seed) for name in (*chosen, rows[0]["config_id"]) for seed in seeds}
        assert len(set(keys)) == len(keys)
        assert wanted <= set(keys)
        reads = tables.read(self.paths.test_reads, tables.TEST_READS).to_pylist()
        logged = {(row["config_id"], row["seed"]) for row in reads}
        assert logged == set(keys)
        assert tables.read(self.paths.predictions, tables.PREDICTIONS).num_rows == 10_000 * len(keys)
        return len(set(keys) - logged)

    def clean(self) -> None:
        for run in self.runs:
            run.clean()


def epochs_of(paths: SearchPaths) -> Known:
    """Return the table of epochs; a row that is there twice is an error."""
    if not (paths.trials.exists() and paths.epochs.exists()):
        return {}
    numbers = {row["trial_id"]: row["number"] for row in tables.read(paths.trials, tables.TRIALS).to_pylist()}
    known: Known = {}
    for row in tables.read(paths.epochs, tables.EPOCHS).to_pylist():
        if row["trial_id"] in numbers:
            key = numbers[row["trial_id"]], row["epoch"]
            assert key not in known, f"twice: {key}"
            known[key] = row["val_accuracy"], row["reported_at"].timestamp()
    return known


def study_of(paths: SearchPaths) -> optuna.Study:
    """Return the search's study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)
