"""Searches that are hurt by real faults; at the end, a table of what each fault cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.harness import Hurt
from tune_fmnist.store.paths import SearchPaths


class Count(NamedTuple):
    """What a fault did in one test: how often it was tried, epochs' rows that were ever there, and those at the end."""

    fault: str
    times: int
    expected: int
    found: int


@pytest.fixture
def hurt(tmp_path: Path) -> Iterator[Hurt]:
    """A search that has not begun."""
    search = Hurt(SearchPaths(tmp_path / "x"), tmp_path)
    yield search
    search.clean()


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[str, int, tuple[int, int]], None]:
    """Note for the table: the fault, how often it was tried, and what ``Hurt.check`` returned."""

    def note(fault: str, times: int, rows: tuple[int, int]) -> None:
        # In the test's report, which also reaches the terminal from another process.
        request.node.user_properties.append(("fault", Count(fault, times, *rows)._asdict()))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    counts = [
        Count(**value)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "fault"
    ]
    if not counts:
        return
    width = max(len(count.fault) for count in counts)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{'fault':<{width}}  times  rows expected  rows found  lost")
    for count in sorted(counts):
        line = f"{count.fault:<{width}}  {count.times:>5}  {count.expected:>13}  {count.found:>10}"
        terminalreporter.write_line(f"{line}  {count.expected - count.found:>4}")
