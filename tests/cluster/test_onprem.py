"""The way of a user over three hosts: up, a search that is hurt, its tables, down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.lab import ROOT, Host, Lab
from tests.cluster.launcher import RAY, alive, command, trials_of
from tests.reliability import Note
from tests.s3 import S3
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths

TRIALS, EPOCHS = 60, 9


def ended(head: Host) -> int:
    return sum(row["status"] != "running" for row in trials_of(head, "night"))


@pytest.mark.faults
def test_search_survives_a_killed_and_a_cut_off_node(lab: Lab, s3_of_lab: S3, cluster: str, count: Note) -> None:
    head, killed, cut = (lab.host(number) for number in (1, 2, 3))
    command(lab, "up", cluster)
    lab.await_true(lambda: alive(lab) == 3, "three nodes")
    uri = s3_of_lab.uri("searches")
    options = (
        *("--model", "ann", "--trials", TRIALS, "--max-epochs", EPOCHS, "--limit-train", 20000, "--scheduler", "fifo"),
        *("--confirm", 1, "--top-k", 1, "--retrain-seeds", 2, "--storage", uri, "--name", "night"),
    )
    assert "search night runs" in command(lab, "submit", cluster, "--", *options)
    log = head.path("/root/results/night.log")
    lab.await_true(lambda: ended(head) >= 4, f"four trials: {log.read_text() if log.exists() else ''}")
    assert "3 slots of 1 CPU on 3 nodes" in log.read_text()

    killed.run("pkill", "-9", "raylet")
    before = ended(head)
    lab.await_true(lambda: ended(head) >= before + 3, "trials after a raylet was killed")
    lab.link(cut.number, "down")
    before = ended(head)
    lab.await_true(lambda: ended(head) >= before + 3, "trials after a link was cut")
    lab.link(cut.number, "up")
    # The autoscaler starts Ray there again, over SSH.
    lab.await_true(lambda: alive(lab) == 3, "both nodes back")
    assert "night" in command(lab, "status", cluster, "night")

    record = head.path("/root/results/night/search.json")
    lab.await_true(lambda: json.loads(record.read_text())["state"] != "running", "the end", 400)
    lab.await_true(lambda: not head.processes("tune_fmnist.search"), "the last copy")
    assert json.loads(record.read_text())["state"] == "finished", log.read_text()[-3000:]
    rows = trials_of(head, "night")
    assert [row["number"] for row in rows] == list(range(TRIALS))
    assert {row["status"] for row in rows} == {"completed"}, [row["reason"] for row in rows]
    assert {row["node"] for row in rows} == {"host1", "host2", "host3"}
    epochs = tables.read(head.path("/root/results/night/epochs.parquet"), tables.EPOCHS).to_pylist()
    assert len(epochs) == len({(row["trial_id"], row["epoch"]) for row in epochs}) == TRIALS * EPOCHS
    retrains = tables.read(head.path("/root/results/night/retrains.parquet"), tables.RETRAINS)
    assert retrains.num_rows >= 2

    _compare(lab, cluster, uri)
    command(lab, "down", cluster)
    lab.await_true(lambda: not any(host.processes(RAY) for host in lab.hosts[1:]), "no process of Ray", 30)
    count("host's raylet killed", 1, (TRIALS * EPOCHS, len(epochs), 0))
    count("host's network cut", 1, (TRIALS * EPOCHS, len(epochs), 0))


def _compare(lab: Lab, cluster: str, uri: str) -> None:
    """Assert that what is fetched over SSH and what lies on S3 are the driver's files."""
    lab.client.run("mkdir", "-p", "/root/here")
    line = f"cd /root/here && PYTHONPATH={ROOT} python -m tune_fmnist.cluster fetch {cluster} night"
    lab.client.run("bash", "-c", line)
    fetched = SearchPaths(lab.client.path("/root/here/results/night"))
    there = SearchPaths(lab.host(1).path("/root/results/night"))
    script = (
        "import sys; from tune_fmnist.store.folder import Folder; "
        "sys.stdout.buffer.write((Folder.at(sys.argv[1]) / 'night').read(sys.argv[2]))"
    )
    for name in ("trials", "epochs", "confirmations", "retrains", "predictions", "search", "journal", "page"):
        file: Path = getattr(there, name)
        assert getattr(fetched, name).read_bytes() == file.read_bytes(), name
        line = f"python -c {json.dumps(script)} '{uri}' {file.name} > /root/of-s3"
        lab.client.run("bash", "-c", line)
        assert lab.client.path("/root/of-s3").read_bytes() == file.read_bytes(), name
