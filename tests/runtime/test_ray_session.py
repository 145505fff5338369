"""A Ray that a search starts is its user's alone: who can reach it, with what, and what others see of its files."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tune_fmnist.base import ray_environment
from tune_fmnist.base.errors import InputError

SESSION = """
import json, os, sys
os.umask(0)
import ray
from tune_fmnist.runtime.ray_session import running_ray

@ray.remote(num_cpus=1)
class Worker:
    def where(self):
        return ray.get_runtime_context().get_node_id()

before = ray.util.get_node_ip_address()
with running_ray(None):
    workers = [Worker.remote() for _ in range(2 if os.cpu_count() > 1 else 1)]
    ray.get([worker.where.remote() for worker in workers])
    print(json.dumps({
        "driver": os.getpid(),
        "gcs": ray.get_runtime_context().gcs_address,
        "folder": ray._private.worker.global_worker.node.get_session_dir_path(),
        "mode": os.environ["RAY_AUTH_MODE"],
    }), flush=True)
    sys.stdin.read()
print(json.dumps({"before": before, "after": ray.util.get_node_ip_address()}))
"""
"""Starts Ray as a search does, says where it is, goes on until its input ends, and says what is left of it."""

CLIENT = """
import sys
import ray
from ray._raylet import GcsClient
print(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10))
"""
"""Asks a cluster for its nodes, as anybody may who knows its address and its token."""


def family(driver: int) -> dict[int, str]:
    """Return the command lines of a process and all that it started, by pid."""
    found, waiting = {}, [driver]
    while waiting:
        pid = waiting.pop()
        found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        for task in Path(f"/proc/{pid}/task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return found


def listening(pids: set[int]) -> dict[str, set[int]]:
    """Return the addresses at which processes listen, with their pids, as `ss` sees them."""
    lines = subprocess.run(["ss", "-ltunpH"], capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, set[int]] = {}
    for line in lines:
        if own := {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & pids:
            found.setdefault(line.split()[4], set()).update(own)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def session(home: Path) -> Any:
    """What is seen of a Ray that is started for a search, by a user with no token yet and careless settings."""
    if shutil.which("ss") is None:
        pytest.skip("ss is not installed: apt-get install iproute2")
    others = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), "RAY_AUTH_MODE": "disabled"}
    ask = [sys.executable, "-c", CLIENT]
    with subprocess.Popen(
        [sys.executable, "-c", SESSION],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=others,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        seen = json.loads(line)
        seen["processes"] = family(process.pid)
        seen["listening"] = listening(set(seen["processes"]))
        seen["mode_of_folder"] = stat.S_IMODE(Path(seen["folder"]).parent.parent.stat().st_mode)
        stranger = subprocess.run([*ask, seen["gcs"]], env=others, capture_output=True, text=True, check=False)
        owner = others | {"RAY_AUTH_MODE": "token"}
        friend = subprocess.run([*ask, seen["gcs"]], env=owner, capture_output=True, text=True, check=False)
        seen["stranger"], seen["friend"] = stranger, friend
        out, seen["errors"] = process.communicate()
        seen |= json.loads(out)
    return seen


def test_every_process_listens_on_this_machine_only(session: Any) -> None:
    names = " ".join(session["processes"].values())
    for name in ("gcs_server", "raylet", "RuntimeEnvAgent", "ray::Worker", "log_monitor"):
        assert name in names
    heard = {session["processes"][pid] for pids in session["listening"].values() for pid in pids}
    assert len(heard) >= 5, "driver, gcs_server, raylet, its agent, and workers"
    assert session["driver"] in set().union(*session["listening"].values())
    for address in session["listening"]:
        host = ip_address(address.rpartition(":")[0].strip("[]").removeprefix("::ffff:").partition("%")[0])
        assert host.is_loopback, session["listening"]


def test_a_cluster_that_is_joined_later_is_reached_as_ever(session: Any) -> None:
    assert session["after"] == session["before"]


def test_a_token_is_asked_for_whatever_the_environment_says(session: Any) -> None:
    assert session["mode"] == "token"
    assert session["friend"].returncode == 0, session["friend"].stderr
    assert session["stranger"].returncode != 0
    assert "Unauthenticated" in session["stranger"].stderr
    (line,) = session["errors"].splitlines()
    assert line == "RAY_AUTH_MODE=disabled does not hold for the Ray that a search starts: it asks for a token"


def test_token_and_sockets_are_the_users_alone(session: Any, home: Path) -> None:
    file = home / ".ray" / "auth_token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(file.read_text()) == 64
    outer = Path(session["folder"]).parent.parent
    assert outer.name.startswith(ray_environment.FOLDER_PREFIX)
    assert session["mode_of_folder"] == 0o700
    assert not outer.exists(), "nothing is left"


def test_a_token_that_others_could_read_is_closed_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("the token of a cluster")
    file.chmod(0o644)
    ray_environment.keep_token()
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("the token of a cluster", 0o600)


def test_a_token_from_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "one of a vault")
    ray_environment.keep_token()
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_takes_no_token_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"auth_token: cannot be kept from others \(Not a directory\); let HOME"):
        ray_environment.keep_token()


def test_a_folder_too_long_for_sockets_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("n" * 110)))
    with pytest.raises(
        InputError, match=r"^RAY_TMPDIR: a path of \d+ bytes, '/.*'\.\.\., is too long for Ray's sockets"
    ):
        ray_environment.temporary_folder()


def test_the_longest_folder_that_is_taken_has_room_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import validate_socket_filepath

    longest = "/" + "n" * (ray_environment._LONGEST_SOCKET - len(ray_environment._SOCKET) - 2)
    monkeypatch.setenv("RAY_TMPDIR", longest)
    validate_socket_filepath(f"{ray_environment.temporary_folder()}/{ray_environment._SOCKET}")
    monkeypatch.setenv("RAY_TMPDIR", longest + "n")
    with pytest.raises(InputError):
        ray_environment.temporary_folder()
