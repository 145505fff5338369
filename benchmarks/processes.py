"""Run a command to its end or to a limit, and watch the memory of all of its processes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SAMPLE_SECONDS = 1.0
_GRACE_SECONDS = 20.0
"""Time for an interrupted command to end by itself."""


class Ran(NamedTuple):
    """How a command ran: Unix times of its start and end, memory in bytes, and whether the limit cut it off."""

    started: float
    ended: float
    peak_bytes: int
    exit_status: int
    cut: bool

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def _stats() -> Iterator[tuple[int, int, int]]:
    """Yield each process of this machine, its parent and its session."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in the brackets may hold anything; after them come state, parent, group and session.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            yield int(folder.name), int(fields[1]), int(fields[3])


def tree(root: int) -> set[int]:
    """Return ``root`` and the processes below it."""
    children = defaultdict(list)
    for process, parent, _ in _stats():
        children[parent].append(process)
    found, waiting = set(), [root]
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting += children[process]
    return found


def memory(processes: set[int]) -> int:
    """Return the memory of processes in bytes; what several of them share counts once (proportional set size)."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def run(command: list[str], *, limit: float, environment: Mapping[str, str], folder: Path, log: Path) -> Ran:
    """Run a command; after ``limit`` seconds interrupt it, and end what is left of it.

    Args:
        command: program and arguments.
        limit: seconds.
        environment: variables beside those of this process.
        folder: where it runs.
        log: where its output goes.
    """
    peak = 0
    stop = threading.Event()
    with log.open("wb") as output:
        started = time.time()
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )

        def watch() -> None:
            nonlocal peak
            while not stop.wait(_SAMPLE_SECONDS):
                peak = max(peak, memory(tree(process.pid)))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        cut = False
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            cut = True
        finally:
            ended = time.time()
            stop.set()
            watcher.join()
            _end(process)
    return Ran(started, ended, peak, process.returncode, cut)


def _end(process: subprocess.Popen[bytes]) -> None:
    below = tree(process.pid) - {process.pid}
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # What outlived it has been handed to another parent; what it started last is in its session.
    for pid in below | {pid for pid, _, session in _stats() if session == process.pid}:
        _kill(pid)


def _kill(pid: int) -> None:
    """Kill a process, if there is one, and wait until it has ended."""
    with suppress(ProcessLookupError):
        opened = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(opened, signal.SIGKILL)
            select.select([opened], [], [])
        finally:
            os.close(opened)
