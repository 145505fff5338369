from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from tests.test_data import NAMES, TEST_LABELS, link
from tune_fmnist import doctor
from tune_fmnist.data import fashion_mnist as data
from tune_fmnist.doctor import Finding, Node
from tune_fmnist.runtime.nodes import SHM, Facts, look, probe_folder
from tune_fmnist.runtime.slots import Placement

GIB = 2**30
PER_NODE = {"versions", "torch", "storage", "clock", "memory"} | ({"shm"} if SHM.exists() else set())


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fake_version(folder: Path, package: str, version: str) -> None:
    """Make what lies in ``folder`` count as installed, before the real ``package``."""
    about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    write(folder / f"{package}-{version}.dist-info" / "METADATA", about)


def run_doctor(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tune_fmnist.doctor", *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def examine(
    results_dir: Path, address: str | None = None, cpus: float | None = None, gpus: float | None = None
) -> dict[tuple[str, str], Finding]:
    """Return findings by check and node; no check may say two things of one node but GPUs have numbers."""
    findings = list(doctor.examine(None, results_dir, address, cpus, gpus))
    return {(one.check, one.node): one for one in findings}


def test_ready_machine(tmp_path: Path) -> None:
    results = tmp_path / "not" / "yet"
    done = run_doctor("--json", "--results-dir", results)
    findings = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert all(list(one) == ["check", "node", "state", "found", "mend"] for one in findings)
    assert all(one["found"] and bool(one["mend"]) == (one["state"] == "warning") for one in findings)
    assert {one["state"] for one in findings} <= {"ok", "warning"}
    expected = "packages data uv_run storage Ray tokens placement versions torch storage clock memory"
    assert [one["check"].replace(" ", "_") for one in findings if one["check"] not in {"shm", "GPUs", "GPU"}] == (
        expected.split()
    )
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_wrong_here_is_said_at_once(source: data.Source, tmp_path: Path) -> None:
    root = link(source, tmp_path / "root", *NAMES[:3])
    (root / TEST_LABELS).write_bytes(b"no labels")
    file = write(tmp_path / "file", "")
    path = tmp_path / "path"
    fake_version(path, "optuna", "4.2.0")
    write(path / "torchvision" / "__init__.py", "raise RuntimeError('operator torchvision::nms does not exist')")
    done = run_doctor(
        *("--data-root", root, "--results-dir", file / "results", "--gpus-per-trial", "99"),
        PYTHONPATH=str(path),
        RAY_ENABLE_UV_RUN_RUNTIME_ENV="1",
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Fashion-MNIST: {root}")
    said = {line[8:].partition(":")[0]: line for line in done.stdout.splitlines() if not line.startswith("ok")}
    for check, state, found, mend in (
        ("packages", "failure", "optuna 4.2.0, not <6,>=5.0", "install it again"),
        ("data", "failure", f"{root / TEST_LABELS}: is not an IDX file", "replace it"),
        ("uv run", "warning", "RAY_ENABLE_UV_RUN_RUNTIME_ENV=1", "set it to 0"),
        ("storage", "failure", str(file / "results"), "name another with --results-dir"),
        ("placement", "failure", "--gpus-per-trial: no node can hold a trial of 1 CPU and 99 GPU", "the largest node"),
        ("torch", "failure", "operator torchvision::nms does not exist", "install both from one place"),
    ):
        assert said[check].startswith(f"{state:<8}{check}: {found}"), said[check]
        assert f"; {mend}" in said[check]


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
        yield cluster.address, [f"{doctor._HERE}:{node.node_manager_port}" for node in nodes]
        cluster.shutdown()  # type: ignore[no-untyped-call]


def test_every_node_of_a_cluster(cluster: tuple[str, list[str]], tmp_path: Path) -> None:
    address, (good, other, bare) = cluster
    findings, here = examine(tmp_path, address, gpus=0.15), doctor._HERE
    assert findings["Ray", here] == Finding("Ray", here, "ok", f"joining the cluster at {address}")
    # The GPU holds six trials, the CPUs of its node three.
    assert findings["placement", here].found == "3 slots of 1 CPU and 0.15 GPU"
    assert (findings["GPU share", here].state, findings["GPU share", here].mend.split()[2]) == ("failure", "0.1428,")
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


def of_node(node: Node, placement: Placement | None = None) -> dict[str, Finding]:
    return {one.check: one for one in doctor._judge(node, placement, Path("results"))}


@pytest.fixture(scope="module")
def facts() -> Facts:
    """What this machine says of itself, where results are shared."""
    with tempfile.TemporaryDirectory() as folder, probe_folder(Path(folder)) as probe:
        return look(probe) | {"gpus": []}


def test_facts_of_this_machine(facts: Facts, tmp_path: Path) -> None:
    found = of_node(Node("n", {"CPU": 2, "memory": 8 * GIB, "object_store_memory": 0}, facts, 0.0))
    assert {check: one.state for check, one in found.items()} == dict.fromkeys(found, "ok")
    assert json.loads(json.dumps(facts)) == facts
    assert "storage" not in of_node(Node("n", {"CPU": 1, "memory": GIB}, look(None), 0.0))


def test_probe_leaves_nothing_but_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with probe_folder(tmp_path / "a" / "b" / "c") as probe:
        assert look(probe)["storage"] == ""
    assert [path.name for path in tmp_path.rglob("*")] == ["a"]
    with probe_folder(tmp_path / "a" / "b" / "c"):
        write(tmp_path / "a" / "b" / "search", "")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "search"]


def test_results_that_a_node_does_not_see(tmp_path: Path) -> None:
    elsewhere = look(tmp_path / "not" / "here" / ".doctor-x")
    assert (elsewhere["shared"], elsewhere["storage"]) == (False, "")
    assert list(tmp_path.iterdir()) == []
    found = of_node(Node("n", {"CPU": 1, "memory": GIB}, elsewhere, 0.0))["storage"]
    assert (found.state, found.found) == ("warning", "results is not shared with it")
    file = write(tmp_path / "file", "")
    found = of_node(Node("n", {"CPU": 1, "memory": GIB}, look(file / "results" / ".doctor-x"), 0.0))["storage"]
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
    facts: Facts, change: Any, resources: dict[str, float], ahead: float, check: str, state: str, found: str
) -> None:
    node = Node("n", {"CPU": 2, "memory": 9 * GIB} | resources, facts | change, ahead)
    one = of_node(node, Placement(cpus=1, gpus=0, slots=2, nodes=1))[check]
    assert (one.node, one.state) == ("n", state)
    assert one.found.startswith(found)
    assert bool(one.mend) == (state != "ok")


def test_versions_that_differ_are_named(facts: Facts) -> None:
    there = facts["versions"] | {"torch": "2.9.0"}
    del there["optuna"]
    one = of_node(Node("n", {"CPU": 1, "memory": GIB}, facts | {"versions": there}, 0.0))["versions"]
    assert one.state == "failure"
    assert one.found == f"torch 2.9.0 ({version('torch')} here), optuna None ({version('optuna')} here)"


def test_disk_space() -> None:
    said = [doctor._disk(Path("results"), size) for size in (2 * GIB, 2 * GIB - 1, 200 << 20, (200 << 20) - 1)]
    assert [one.state for one in said] == ["ok", "warning", "warning", "failure"]
    assert said[0].found == "results can be written, 2.0 GiB free"


@pytest.mark.parametrize(
    ("gpus", "state", "mend"),
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
def test_shares_of_a_gpu(gpus: float, state: str, mend: str) -> None:
    one = doctor._share(gpus)
    assert (one.state, one.mend) == (state, mend)


@given(st.floats(0.001, 0.999))
def test_share_that_is_proposed_tiles(gpus: float) -> None:
    one = doctor._share(gpus)
    if one.state == "failure":
        assert doctor._share(float(one.mend.split()[2].rstrip(","))).state == "ok"


@pytest.mark.parametrize(
    ("mode", "state"), [("token", "ok"), ("Token", "ok"), ("", "warning"), ("disabled", "warning")]
)
def test_tokens(monkeypatch: pytest.MonkeyPatch, mode: str, state: str) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    assert doctor._tokens().state == state


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:x", "127.0.0.1:1", "127.0.0.1:99999", "auto"])
def test_address_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    last = list(doctor.examine(None, tmp_path, address, None, None))[-1]
    assert (last.check, last.state) == ("Ray", "failure")
    assert last.found.startswith("--address: no")
    assert last.mend.endswith("or leave this out")


@pytest.mark.parametrize("terminal", [True, False])
def test_line(terminal: bool) -> None:
    out = Console(force_terminal=terminal, width=200 if terminal else 80, file=io.StringIO(), color_system="standard")
    doctor._show(Finding("storage", "[node] 7", "warning", "a long story " * 9 + "ends", "mend it"), out)
    said = out.file.getvalue()  # type: ignore[attr-defined]
    plain = Text.from_ansi(said).plain.splitlines()
    words = f"storage ([node] 7): {'a long story ' * 9}ends; mend it"
    assert ("\x1b" in said) == terminal
    assert " ".join("".join(plain).split()) == f"warning {words}"
    assert not terminal or max(map(len, plain)) <= 80
    assert len(plain) == (3 if terminal else 1)
