"""The head's death: a search goes on with other hosts, which have nothing but the storage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import Lab
from tests.cluster.launcher import alive, command, onprem
from tests.s3 import S3
from tune_fmnist.base.vocabulary import RUNNING
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

NAME, TRIALS, EPOCHS = "dusk", 16, 5
IMAGES = 20_000
IMAGE_BYTES = IMAGES * (28 * 28 + 1)

_TAKE = """
import json, sys
from pathlib import Path
from tune_fmnist.store.folder import Folder
folder, to = Folder.at(sys.argv[1]) / sys.argv[2], Path(sys.argv[3])
to.mkdir()
for name in folder.names():
    (to / name).write_bytes(folder.read(name))
saved = {number: (folder / "checkpoints" / f"{number:05d}").names() for number in range(int(sys.argv[4]))}
(to / "saved.json").write_text(json.dumps(saved))
"""

_PLANT = """
import sys
from tune_fmnist.store.folder import Folder
checkpoints = Folder.at(sys.argv[1]) / sys.argv[2] / "checkpoints"
source, target = (checkpoints / f"{int(number):05d}" for number in sys.argv[3:5])
target.write(source.names()[-1], source.read(source.names()[-1]))
"""


def stored(lab: Lab, uri: str, to: str) -> Path:
    """Copy what the storage holds of the search to a folder of the client, with the names of each trial's checkpoints.

    Returns:
        The folder as it is seen from here; ``saved.json`` in it has a list of names for each trial's number.
    """
    lab.client.run("python", "-c", _TAKE, uri, NAME, to, TRIALS)
    return lab.client.path(to)


def rows(folder: Path) -> tuple[dict[int, dict[str, Any]], dict[tuple[int, int], dict[str, Any]]]:
    """Return trials by number, and epochs by trial's number and epoch; nothing is there twice."""
    trials = tables.read(SearchPaths(folder).trials, tables.TRIALS).to_pylist()
    epochs = tables.read(SearchPaths(folder).epochs, tables.EPOCHS).to_pylist()
    numbers = {row["trial_id"]: row["number"] for row in trials}
    # The table of epochs is written first: it may be ahead of the other.
    known = [row for row in epochs if row["trial_id"] in numbers]
    by_number = {row["number"]: row for row in trials}
    by_epoch = {(numbers[row["trial_id"]], row["epoch"]): row for row in known}
    assert len(by_number) == len(trials)
    assert len(by_epoch) == len(known)
    return by_number, by_epoch


@pytest.mark.faults
def test_search_goes_on_with_another_head(lab: Lab, s3_of_lab: S3, cluster: str) -> None:
    command(lab, "up", cluster)
    lab.await_true(lambda: alive(lab) == 3, "three nodes")
    uri = s3_of_lab.uri("heads")
    options = (
        *("--model", "ann", "--trials", TRIALS, "--max-epochs", EPOCHS, "--limit-train", IMAGES),
        *("--scheduler", "fifo", "--no-retrain", "--storage", uri, "--name", NAME),
    )
    others = [lab.host(number) for number in (2, 3)]
    before = [host.received() for host in others]
    command(lab, "submit", cluster, "--", *options)
    results = lab.host(1).folder / "root" / "results"
    log = results / f"{NAME}.log"

    def under_way() -> bool:
        if not (results / NAME / "trials.parquet").exists():
            return False
        known = rows(results / NAME)[0].values()
        running = [row["epochs"] for row in known if row["status"] == RUNNING]
        nodes = {row["node"] for row in known}
        return len(nodes - {None}) == 3 and len(known) - len(running) >= 4 and len(running) == 3 and max(running) > 0

    lab.await_true(under_way, f"four trials: {log.read_text() if log.exists() else ''}")
    came = [host.received() - bytes_before for host, bytes_before in zip(others, before, strict=True)]
    # Every node got the images once, whatever number of trials it has run; all else is little beside them.
    assert all(IMAGE_BYTES <= count < 2 * IMAGE_BYTES for count in came), came
    lab.cut_power(1)
    trials_there, epochs_there = rows(stored(lab, uri, "/root/at-death"))
    trials_known, epochs_known = rows(results / NAME)
    assert any(row["status"] != RUNNING for row in trials_there.values())
    assert TRIALS - 1 not in trials_known

    lab.client.path(cluster).write_text(onprem(lab, (2, 3)))
    command(lab, "up", cluster)
    lab.await_true(lambda: alive(lab, 2) == 2, "two nodes")
    # Whoever still trained for the dead head has been ended.
    saved = json.loads((stored(lab, uri, "/root/before") / "saved.json").read_text())
    # As if the last trial had begun so shortly before that the storage's study does not know it.
    begun = next(number for number, names in saved.items() if names)
    lab.client.run("python", "-c", _PLANT, uri, NAME, begun, TRIALS - 1)
    command(lab, "submit", cluster, "--", "--resume", "--storage", uri, "--name", NAME)
    head = lab.host(2)
    record, log = (head.folder / "root" / "results" / name for name in (f"{NAME}/search.json", f"{NAME}.log"))
    lab.await_true(lambda: not head.processes("tune_fmnist[.]search"), "the end", 240)
    assert record.exists(), log.read_text()[-3000:]
    ended = SearchRecord.read(SearchPaths(record.parent))
    assert ended.state == "finished", log.read_text()[-3000:]
    (resumed,) = ended.resumed_at

    trials, epochs = rows(record.parent)
    assert list(trials) == list(range(TRIALS))
    assert not [row for row in trials.values() if row["status"] != "completed"], log.read_text()[-3000:]
    assert {row["epochs"] for row in trials.values()} == {EPOCHS}
    assert set(epochs) == {(number, epoch) for number in range(TRIALS) for epoch in range(1, EPOCHS + 1)}
    # What the storage knew is there: a trial that had ended is as it was, and of the others no epoch was trained again
    # that any table has or that has a checkpoint.  What was lost is the epoch that each was in.
    assert all(trials[number] == row for number, row in trials_there.items() if row["status"] != RUNNING)
    known = epochs_there | {key: row for key, row in epochs_known.items() if key[0] in trials_there}
    assert {key: epochs[key] for key in known} == known
    kept = {key for key, row in epochs.items() if row["reported_at"] < resumed}
    for number in trials_there:
        newest = max((int(name[len("epoch-") :].split(".")[0]) for name in saved[str(number)]), default=0)
        assert kept.issuperset((number, epoch) for epoch in range(1, newest + 1))
    # A trial that is drawn once more does not go on from another one's checkpoint.
    assert not kept & {(TRIALS - 1, epoch) for epoch in range(1, EPOCHS + 1)}
    # One that had trained all its epochs is told from its checkpoint, and was where it was.
    trained = {number for (number, _), row in epochs.items() if row["reported_at"] >= resumed}
    assert {trials[number]["node"] for number in trained} == {"host2", "host3"}

    left = stored(lab, uri, "/root/at-end")
    assert not list(left.glob("holder*.json"))
    assert not any(json.loads((left / "saved.json").read_text()).values())
    for name in ("trials.parquet", "epochs.parquet", "search.json", "optuna.journal", "report.html"):
        assert (left / name).read_bytes() == (record.parent / name).read_bytes(), name
