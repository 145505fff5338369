"""What the doctor says of each node: by what a node tells, and of a real cluster with nodes that are not as it is."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.installed import fake_version, write
from tune_fmnist.runtime.nodes import SHM, Facts, facts
from tune_fmnist.runtime.slots import Placement
from tune_fmnist.workflow import checks
from tune_fmnist.workflow.cluster_checks import Node, _judge, _share, _tokens
from tune_fmnist.workflow.findings import HERE, Finding
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.scratch import scratch_folder

GIB = 2**30
PER_NODE = {"versions", "torch", "storage", "clock", "memory"} | ({"shm"} if SHM.exists() else set())


def examine(results_dir: Path, **options: Any) -> dict[tuple[str, str], Finding]:
    """Return findings by check and node; no check may say two things of one node but GPUs have numbers."""
    findings = list(checks.examine(Options.of(results_dir=results_dir, **options)))
    return {(one.check, one.node): one for one in findings}


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, list[str]]]:
    """Return the address and the nodes' names: one as it should be, one that has other versions, another clock and
    a GPU that is not there, and one without a package."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        # Every Ray that starts on this machine would join the cluster, did it not have a folder of its own.
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        other, bare = Path(folder) / "other", Path(folder) / "bare"
        fake_version(other, "optuna", "4.2.0")
        write(other / "sitecustomize.py", "import time\nthere = time.time\ntime.time = lambda: there() + 5\n")
        write(bare / "sitecustomize.py", "import sys\nsys.modules['tune_fmnist'] = None\n")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        nodes = [
            cluster.head_node,
            cluster.add_node(num_cpus=3, num_gpus=1, env_vars={"PYTHONPATH": str(other)}),
            cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(bare)}),
        ]
        yield cluster.address, [f"{HERE}:{node.node_manager_port}" for node in nodes]
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.long
def test_every_node_of_a_cluster(cluster: tuple[str, list[str]], tmp_path: Path) -> None:
    address, (good, other, bare) = cluster
    findings = examine(tmp_path, address=address, gpus_per_trial=0.15)
    assert findings["Ray", HERE] == Finding("Ray", HERE, "ok", f"joining the cluster at {address}")
    # The GPU holds six trials, the CPUs of its node three.
    assert findings["placement", HERE].found == "3 slots of 1 CPU and 0.15 GPU"
    assert (findings["GPU share", HERE].state, findings["GPU share", HERE].hint.split()[2]) == ("failure", "0.1428,")
    assert {check for check, name in findings if name == good} == PER_NODE
    assert {check for check, name in findings if name == other} >= PER_NODE | {"GPUs"}
    assert [check for check, name in findings if name == bare] == ["node"]
    assert {findings[check, good].state for check in ("versions", "torch", "storage", "clock")} == {"ok"}
    assert findings["versions", other].state == "failure"
    assert findings["versions", other].found == f"optuna 4.2.0 ({version('optuna')} here)"
    assert findings["clock", other].state == "warning"
    assert re.fullmatch(r"[45]\.\d s ahead of this machine's", findings["clock", other].found)
    assert findings["storage", other].state == "ok"
    assert findings["GPUs", other].state == ("ok" if torch.cuda.is_available() else "failure")
    assert findings["node", bare].state == "failure"
    assert findings["node", bare].found.startswith("cannot run this program (")
    assert "tune_fmnist" in findings["node", bare].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_storage_that_one_node_cannot_use(cluster: tuple[str, list[str]], tmp_path: Path) -> None:
    address, (_, _, bare) = cluster
    storage = tmp_path / "shared"
    findings = examine(tmp_path / "results", address=address, storage=str(storage))
    last = findings["storage", HERE]
    assert last.state == "failure"
    assert last.found.startswith(f"{storage}: --storage: node {bare} cannot use it: cannot run this program (")
    assert last.hint.startswith("name a folder that every node shares")
    assert {node for check, node in findings if check == "storage"} == {HERE}, "results need not be shared then"
    assert list(tmp_path.iterdir()) == []


def of_node(node: Node, placement: Placement | None = None) -> dict[str, Finding]:
    return {one.check: one for one in _judge(node, placement, Options())}


@pytest.fixture(scope="module")
def known() -> Facts:
    """What this machine says of itself, where results are shared."""
    with tempfile.TemporaryDirectory() as folder, scratch_folder(Path(folder)) as scratch:
        return facts(scratch) | {"gpus": []}


def test_facts_of_this_machine(known: Facts) -> None:
    node = Node("n", {"CPU": 2, "memory": 8 * GIB, "object_store_memory": 0}, known, 0.0)
    found = of_node(node)
    assert {check: one.state for check, one in found.items()} == dict.fromkeys(found, "ok")
    assert json.loads(json.dumps(known)) == known
    assert "storage" in found
    assert "storage" not in of_node(Node("n", {"CPU": 1, "memory": GIB}, facts(None), 0.0))
    with_storage = _judge(node, None, Options(storage="s3://bucket"))
    assert "storage" not in {one.check for one in with_storage}, "results need not be shared then"


def test_results_that_a_node_does_not_see(tmp_path: Path) -> None:
    elsewhere = facts(tmp_path / "not" / "here" / ".doctor-x")
    assert (elsewhere["shared"], elsewhere["storage"]) == (False, "")
    assert list(tmp_path.iterdir()) == []
    found = of_node(Node("n", {"CPU": 1, "memory": GIB}, elsewhere, 0.0))["storage"]
    assert (found.state, found.found) == ("warning", "results is not shared with it")
    file = write(tmp_path / "file", "")
    found = of_node(Node("n", {"CPU": 1, "memory": GIB}, facts(file / "results" / ".doctor-x"), 0.0))["storage"]
    assert (found.state, found.found) == ("failure", f"{file} cannot be written")


@pytest.mark.parametrize(
    ("change", "resources", "ahead", "check", "state", "found"),
    [
        ({}, {}, 1.2, "clock", "warning", "1.2 s ahead of this machine's"),
        ({}, {}, -0.9, "clock", "ok", "0.9 s behind this machine's"),
        ({"gpus": [("H100", 0.11)]}, {"GPU": 1}, 0, "GPU", "warning", "0, H100: 11% of its memory in use"),
        ({"gpus": [("H100", 0.09)]}, {"GPU": 1}, 0, "GPU", "ok", "0, H100: 9% of its memory in use"),
        ({"gpus": [("H100", 0.0)]}, {"GPU": 2}, 0, "GPUs", "failure", "Torch sees 1, Ray counts 2"),
        ({"gpus": [("H100", 0.0)]}, {}, 0, "GPUs", "ok", "Torch sees 1, Ray counts 0"),
        ({"torch": "libcudart.so.12: cannot open"}, {}, 0, "torch", "failure", "libcudart.so.12: cannot open"),
        ({"memory": int(1.5 * GIB)}, {}, 0, "memory", "warning", "1.5 GiB available for 2 slots"),
        ({"memory": 64 * GIB}, {"memory": GIB}, 0, "memory", "warning", "1.0 GiB available for 2 slots"),
        ({"memory": None}, {"memory": 3 * GIB}, 0, "memory", "ok", "3.0 GiB available for 2 slots"),
        ({"shm": GIB}, {"object_store_memory": 2 * GIB}, 0, "shm", "warning", f"{SHM} has 1.0 GiB, Ray's object"),
        ({"shm": GIB}, {"object_store_memory": GIB}, 0, "shm", "ok", f"{SHM} has 1.0 GiB"),
    ],
)
def test_what_a_node_can_lack(
    known: Facts, change: Any, resources: dict[str, float], ahead: float, check: str, state: str, found: str
) -> None:
    node = Node("n", {"CPU": 2, "memory": 9 * GIB} | resources, known | change, ahead)
    one = of_node(node, Placement(cpus=1, gpus=0, slots=2, nodes=1))[check]
    assert (one.node, one.state) == ("n", state)
    assert one.found.startswith(found)
    assert bool(one.hint) == (state != "ok")


def test_versions_that_differ_are_named(known: Facts) -> None:
    there = known["versions"] | {"torch": "2.9.0"}
    del there["optuna"]
    one = of_node(Node("n", {"CPU": 1, "memory": GIB}, known | {"versions": there}, 0.0))["versions"]
    assert one.state == "failure"
    assert one.found == f"torch 2.9.0 ({version('torch')} here), optuna None ({version('optuna')} here)"


@pytest.mark.parametrize(
    ("gpus", "state", "hint"),
    [
        (0.15, "failure", "use --gpus-per-trial 0.1428, 7 to a GPU"),
        (0.17, "failure", "use --gpus-per-trial 0.1666, 6 to a GPU"),
        (0.1429, "failure", "use --gpus-per-trial 0.1428, 7 to a GPU"),
        (0.8, "failure", "use --gpus-per-trial 1, 1 to a GPU"),
        (1.5, "failure", "use --gpus-per-trial 2"),
        *(
            (share, "ok", "")
            for share in (1, 2, 0.5, 0.33, 0.3333, 1 / 3, 0.25, 1 / 6, 0.1667, 0.1666, 1 / 7, 0.1428, 0.0001)
        ),
    ],
)
def test_shares_of_a_gpu(gpus: float, state: str, hint: str) -> None:
    one = _share(gpus)
    assert (one.state, one.hint) == (state, hint)


@given(st.floats(0.001, 0.999))
def test_share_that_is_proposed_tiles(gpus: float) -> None:
    one = _share(gpus)
    if one.state == "failure":
        assert _share(float(one.hint.split()[2].rstrip(","))).state == "ok"


@pytest.mark.parametrize(
    ("mode", "state"), [("token", "ok"), ("Token", "ok"), ("", "warning"), ("disabled", "warning")]
)
def test_tokens(monkeypatch: pytest.MonkeyPatch, mode: str, state: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert _tokens().state == state


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:1", "127.0.0.1:99999", "auto"])
def test_address_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    *_, last = examine(tmp_path, address=address).values()
    assert (last.check, last.state) == ("Ray", "failure")
    assert re.match("--address: (nothing answers at '|no cluster runs here$)", last.found)
    assert last.hint.endswith("or leave this out")
