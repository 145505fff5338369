"""A search whose power is cut at moments drawn by chance, in every stage, and that goes on afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.harness import Hurt, Moment, Run
from tests.power.disk import Disk
from tests.reliability import Note, Rows, total
from tune_fmnist import models
from tune_fmnist.base.errors import InputError
from tune_fmnist.store import tables
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

SMALL = (
    *("--model", "ann", "--limit-train", "6000", "--trials", "6", "--max-epochs", "3"),
    *("--confirm", "1", "--top-k", "1", "--retrain-seeds", "1"),
)
SEARCHES, STAGES = 4, ("search", "confirmed", "retraining", "retrained", "end")

KEYS = {
    "trials": (tables.TRIALS, ["trial_id"]),
    "epochs": (tables.EPOCHS, ["trial_id", "epoch"]),
    "confirmations": (tables.CONFIRMATIONS, ["config_id", "seed"]),
    "retrains": (tables.RETRAINS, ["config_id", "seed"]),
    "retrain_epochs": (tables.RETRAIN_EPOCHS, ["config_id", "seed", "epoch"]),
    "predictions": (tables.PREDICTIONS, ["config_id", "seed", "index"]),
    "test_reads": (tables.TEST_READS, ["config_id", "seed"]),
}

Row = tuple[object, ...]


@dataclass
class Held:
    """What a search's folder holds: its rows by their keys, how many stand there twice, and what cannot be read."""

    rows: set[Row] = field(default_factory=set)
    twice: int = 0
    unreadable: list[str] = field(default_factory=list)

    def try_to(self, read: Callable[[], object]) -> None:
        try:
            read()
        except InputError as error:
            self.unreadable.append(str(error))


def held(paths: SearchPaths) -> Held:
    """Read every file of a search that is there."""
    found = Held()

    def read(name: str) -> None:
        schema, keys = KEYS[name]
        rows = [(name, *row.values()) for row in tables.read(getattr(paths, name), schema).select(keys).to_pylist()]
        # Each access to the test set is a row of its own.
        found.twice += len(rows) - len(set(rows)) if name != "test_reads" else 0
        found.rows |= set(rows)

    found.try_to(lambda: SearchRecord.read(paths))
    for name in KEYS:
        if getattr(paths, name).exists():
            found.try_to(lambda name=name: read(name))
    if (paths.best / "config.json").exists():
        found.try_to(lambda: models.load(paths.best))
    for folder in paths.checkpoints.glob("*"):
        checkpoints = Checkpoints(paths.checkpoints, int(folder.name))
        if (newest := checkpoints.newest()) is not None:
            trial = f"{SearchRecord.read(paths).search_id}-{folder.name}"
            found.rows |= {("epochs", trial, result.epoch) for result in newest.history}
        elif any(folder.glob("epoch-*")):
            found.unreadable.append(str(folder))
    pictures = [file for file in (paths.page, *paths.pictures) if file.exists()]
    found.unreadable += [str(file) for file in pictures if not file.stat().st_size]
    return found


def await_stage(run: Run, stage: str, rng: random.Random) -> None:
    """Wait for a moment of a stage; a search that ends before is at its end."""
    if stage == "search":
        assert run.await_line(start="Ray: "), run.said
        run.await_moment(Moment(rng.choice(["published", "writing", "journal"]), rng.randint(1, 4)))
    elif stage == "end":
        assert run.ended() == 0, (run.said, run.lines)
    else:
        run.await_line(start=stage)


def hurt_once(hurt: Hurt, power: Disk, stage: str, rng: random.Random) -> tuple[int, Held]:
    """Run a search, cut the power in a stage; return how many rows are lost, and what is there afterwards."""
    run = hurt.start()
    await_stage(run, stage, rng)
    hurt.observe()
    before = held(hurt.paths)
    # What can be seen is promised once ``publish`` has returned, which is within these milliseconds.
    moment = time.monotonic() + rng.uniform(0.1, 1.0)
    while time.monotonic() < moment:
        pass
    power.cut()
    run.clean()
    power.give_back()
    after = held(hurt.paths)
    return len(before.rows - after.rows), after


@pytest.mark.faults
def test_a_search_survives_twenty_power_cuts(power: Disk, tmp_path: Path, count: Note) -> None:
    rng = random.Random(12)  # noqa: S311 no secret depends on it
    cuts = lost = twice = 0
    unreadable: list[str] = []
    checked: list[Rows] = []
    for number in range(SEARCHES):
        hurt = Hurt(SearchPaths(power.folder / f"search-{number}"), tmp_path, SMALL)
        try:
            for stage in STAGES:
                gone, after = hurt_once(hurt, power, stage, rng)
                cuts, lost, twice = cuts + 1, lost + gone, twice + after.twice
                unreadable += [f"{stage}: {line}" for line in after.unreadable]
            assert not lost, (number, [run.lines for run in hurt.runs])
            # The last one came after the end: nothing needs to be made again.
            hurt.check(trials=6, retrains=True)
            hurt.finish()
            checked.append(hurt.check(trials=6, retrains=True))
        finally:
            hurt.clean()
    assert (lost, twice, unreadable) == (0, 0, [])
    count(f"power cut under a search on {power.folder.name}", cuts, total(checked))
