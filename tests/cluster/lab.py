"""Several hosts on one machine, as network and process namespaces, with real sshd: what `ray up` needs to be real.

Processors and memory are not divided between them.  No host has a way out of the lab's network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent
NETWORK, CLIENT = "10.77.0", 254
_PREFIX = f"tf{os.getpid() % 10_000}"
_PATIENCE = 180.0


def missing() -> str | None:
    """Return why the lab cannot be built here, or None."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for program in ("/usr/sbin/sshd", "rsync", "ip", "nsenter", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install openssh-server rsync iproute2 util-linux"
    made = subprocess.run(["ip", "netns", "add", f"{_PREFIX}-try"], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", f"{_PREFIX}-try"], check=True)
    return None


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


@dataclass
class Host:
    """A host: ``number`` is the last part of its address."""

    number: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return f"host{self.number}"

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    @property
    def pid(self) -> int:
        """Its process 1, seen from here: the child of `unshare`, which `ip` has become."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    @property
    def inside(self) -> tuple[str, ...]:
        """What to put before a command that is to run there."""
        return ("nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i")

    def path(self, path: str) -> Path:
        """Return one of its files as it is seen from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *command: object, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        done = subprocess.run(
            [*self.inside, "env", "-C", str(ROOT), *map(str, command)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
        return done

    def received(self) -> int:
        """Return how many bytes have reached it over the network."""
        lines = self.run("cat", "/proc/net/dev").stdout.splitlines()
        return next(int(line.split()[1]) for line in lines if line.split()[0] == "eth0:")

    def processes(self, pattern: str) -> list[str]:
        """Return the command lines there that match a pattern."""
        return self.run("pgrep", "-af", pattern, check=False).stdout.splitlines()


def environment() -> dict[str, str]:
    """Return what a command has in its environment there: nothing of this process's but the language."""
    path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "USER": "root", "SHELL": "/bin/bash", "TERM": "dumb"}


def _boot(namespace: str, number: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start a host's process 1 in its network."""
    isolated = "unshare --mount --pid --fork --uts --ipc --mount-proc --propagation private --kill-child"
    shared = [sys.base_prefix, str(ROOT), sys.prefix]
    init = ["bash", str(ROOT / "tests" / "cluster" / "init.sh"), f"host{number}", str(folder), *shared]
    with (folder / "init.log").open("ab") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", namespace, *isolated.split(), *init],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )


@dataclass
class Lab:
    """A network with a client and ``count`` hosts, numbered from ``first``; everything of it is under ``folder``."""

    folder: Path
    count: int
    first: int = 1
    hosts: list[Host] = field(default_factory=list)

    def build(self) -> None:
        """Make the network, start the hosts and the client."""
        self.folder.mkdir(parents=True)
        _run("ip", "netns", "add", self._space("net"))
        _run("ip", "-n", self._space("net"), "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", self._space("net"), "link", "set", "bridge", "up")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key")
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "host_key")
        for number in self._numbers:
            self.hosts.append(self._start(number))
        self.await_true(lambda: all((host.folder / "ready").exists() for host in self.hosts), "the hosts")

    @property
    def client(self) -> Host:
        return self.hosts[0]

    def host(self, number: int) -> Host:
        return self.hosts[self._numbers.index(number)]

    @property
    def _numbers(self) -> tuple[int, ...]:
        return (CLIENT, *range(self.first, self.first + self.count))

    def _space(self, name: object) -> str:
        """Return a namespace's name; labs with other first hosts may be there at the same time."""
        return f"{_PREFIX}-{self.first}-{name}"

    def _start(self, number: int) -> Host:
        name, folder = self._space(number), self.folder / str(number)
        for part in ("root/.ssh", "root/.aws", "tmp"):
            (folder / part).mkdir(parents=True)
        (folder / "tmp").chmod(0o1777)
        hosts = "".join(f"{NETWORK}.{other} host{other}\n" for other in self._numbers)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        (folder / "root" / "env").symlink_to(Path(sys.executable).parent.parent)
        (folder / "root" / ".bashrc").write_text("")
        (folder / "root" / ".profile").write_text(". ~/.bashrc\n")
        shutil.copy(self.folder / "key", folder / "root" / ".ssh" / "id_ed25519")
        keys = {name.lower(): value for name, value in KEYS.items() if "KEY" in name}
        credentials = "".join(f"{key} = {value}\n" for key, value in keys.items())
        (folder / "root" / ".aws" / "credentials").write_text(f"[default]\n{credentials}")
        (folder / "sshd_config").write_text(
            f"HostKey {self.folder}/host_key\nAuthorizedKeysFile {self.folder}/key.pub\nStrictModes no\n"
            "PermitRootLogin yes\nUsePAM no\nPidFile none\nMaxStartups 100\n"
        )
        network = self._space("net")
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"v{number}", "netns", network)
        _run("ip", "-n", network, "link", "set", f"v{number}", "master", "bridge", "up")
        _run("ip", "-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _run("ip", "-n", name, "link", "set", link, "up")
        return Host(number, folder, _boot(name, number, folder))

    def cut_power(self, number: int) -> None:
        """End all of a host's processes at once, without a word to anybody; its disk stays."""
        host = self.host(number)
        self.link(number, "down")
        # With its process 1, the kernel ends all others there.
        os.kill(host.pid, signal.SIGKILL)
        host.process.wait()

    def power_on(self, number: int) -> None:
        """Start a host again whose power was cut."""
        host = self.host(number)
        (host.folder / "ready").unlink()
        host.process = _boot(self._space(number), number, host.folder)
        self.await_true((host.folder / "ready").exists, host.name)
        self.link(number, "up")

    def link(self, number: int, state: str) -> None:
        """Cut a host's link (``down``), or restore it (``up``)."""
        _run("ip", "-n", self._space("net"), "link", "set", f"v{number}", state)

    def await_true(self, happens: Any, what: str, patience: float = _PATIENCE) -> None:
        """Wait until something is so."""
        until = time.monotonic() + patience
        while not happens():
            assert time.monotonic() < until, f"not within {patience:g} s: {what}"
            # It is looked at from outside: nothing tells when it happens.
            time.sleep(0.5)

    def destroy(self) -> None:
        """End all processes and remove the network."""
        for host in self.hosts:
            host.process.kill()
            host.process.wait()
        for name in (*(str(host.number) for host in self.hosts), "net"):
            subprocess.run(["ip", "netns", "delete", self._space(name)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def built(count: int, first: int = 1) -> Iterator[Lab]:
    """Build a lab for the block; skip the test where none can be built."""
    if why := missing():
        pytest.skip(why)
    # Not in /tmp: each host has its own.
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/var/tmp") as name:
        lab = Lab(Path(name) / "lab", count, first)
        try:
            lab.build()
            yield lab
        finally:
            lab.destroy()
