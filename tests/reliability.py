"""``python -m tests.reliability REPORTS --into FILE``: the table of faults, from what the tests themselves have noted.

A test notes a fault with the fixture ``count``; pytest's ``--junitxml`` carries the notes, one report per target.
"""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.provenance import git_commit
from tune_fmnist.reporting.readme_table import write_between
from tune_fmnist.store.record import now

MARKS: Final = ("<!-- reliability -->", "<!-- /reliability -->")
PROPERTY: Final = "fault"
"""The name of a note in a test's report."""

_BAD_INPUT: Final = "tests.test_bad_input"
"""The module whose test cases are kinds of bad input, each refused with status 2 and one line."""


class Rows(NamedTuple):
    """What was looked for after a fault, and what was found; None for what the test has not.

    Attributes:
        expected: rows that were ever seen, or are due.
        found: those of them that are there at the end.
        twice: rows that are there, or were computed, twice.
        wrong: rows whose values are not those that were seen first.
        unlogged: reads of the test set without a row.
    """

    expected: int | None = None
    found: int | None = None
    twice: int | None = None
    wrong: int | None = None
    unlogged: int | None = None


Note = Callable[..., None]
"""What the fixture ``count`` gives: called with the kind of a fault, how often it was tried, and ``Rows``, if known."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault, as one test tried it; ``test`` is its address."""

    kind: str
    times: int
    rows: Rows
    test: str = ""

    @classmethod
    def read(cls, note: str, test: str = "") -> Fault:
        """Return what ``note`` wrote."""
        told = json.loads(note)
        return cls(told["kind"], told["times"], Rows(*told["rows"]), test)

    def note(self) -> str:
        """Return the text that goes into a test's report."""
        return json.dumps(asdict(self))

    def cells(self) -> list[str]:
        """Return the cells of the table, without the test's."""
        rows = self.rows
        lost = None if rows.expected is None or rows.found is None else rows.expected - rows.found
        counts = (rows.expected, lost, rows.twice, rows.wrong, rows.unlogged)
        return [self.kind, str(self.times), *("-" if count is None else str(count) for count in counts)]


HEAD: Final = ("fault", "times", "rows", "lost", "twice", "wrong", "unlogged reads")


class Found(NamedTuple):
    """What reports of tests hold: faults, how many kinds of bad input each test tried, and tests that did not pass."""

    faults: list[Fault]
    bad_input: Counter[str]
    failed: list[str]
    skipped: list[str]


def read(reports: Iterable[Path]) -> Found:
    """Read pytest's reports in JUnit's format.

    Raises:
        InputError: one cannot be read.
    """
    found = Found([], Counter(), [], [])
    for report in reports:
        try:
            cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 -- pytest wrote it here
        except (OSError, ET.ParseError) as error:
            hint = "run the target that writes it, such as make test-faults"
            raise InputError(f"cannot be read ({error})", file=report, hint=hint) from None
        for case in cases:
            _add(case, found)
    return found


def _add(case: ET.Element, found: Found) -> None:
    module, name = case.get("classname", ""), case.get("name", "").partition("[")[0]
    test = f"{module.replace('.', '/')}.py::{name}"
    if case.find("failure") is not None or case.find("error") is not None:
        found.failed.append(test)
    elif case.find("skipped") is not None:
        found.skipped.append(test)
    else:
        notes = [item.get("value", "") for item in case.iter("property") if item.get("name") == PROPERTY]
        found.faults.extend(Fault.read(note, test) for note in notes)
        if module == _BAD_INPUT:
            found.bad_input[test] += 1


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[{name}](../{file})"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def total(several: Iterable[Rows]) -> Rows:
    """Return the sums; None where one of them is."""
    columns = zip(*several, strict=True)
    return Rows(*(None if None in column else sum(column) for column in columns))


def _total(faults: Iterable[Fault]) -> list[Fault]:
    """Return the sums over the parameters of a test that notes one kind several times, by test and kind."""
    sums: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        key = fault.test, fault.kind
        before = sums.get(key, replace(fault, times=0, rows=Rows(*(0 for _ in fault.rows))))
        sums[key] = replace(fault, times=before.times + fault.times, rows=total([before.rows, fault.rows]))
    return [sums[key] for key in sorted(sums)]


def tables(found: Found) -> str:
    """Return both tables in Markdown, and above them when and from what they were made."""
    faults = _total(found.faults)
    kinds, tried = len({fault.kind for fault in faults}), sum(fault.times for fault in faults)
    made = f"Made on {now():%Y-%m-%d} at commit {(git_commit() or 'unknown')[:12]} on {os.cpu_count()} cores: "
    text = f"{made}{kinds} kinds of fault, tried {tried} times.\n\n"
    text += _line([*HEAD, "test"]) + "|---|" + "--:|" * (len(HEAD) - 1) + "---|\n"
    text += "".join(_line([*fault.cells(), _link(fault.test)]) for fault in faults)
    if found.bad_input:
        text += f"\n{found.bad_input.total()} kinds of bad input, all refused:\n\n"
        text += _line(["kinds of bad input", "test"]) + "|--:|---|\n"
        text += "".join(_line([str(count), _link(test)]) for test, count in sorted(found.bad_input.items()))
    if skipped := sorted(set(found.skipped)):
        text += f"\nNot run: {', '.join(map(_link, skipped))}.\n"
    return text


def main(
    reports: Annotated[list[Path], typer.Argument(help="pytest's reports (--junitxml)")],
    into: Annotated[Path, typer.Option(help=f"write the tables between {' and '.join(MARKS)} there")],
) -> None:
    """Write the table of faults, unless a test has failed."""
    try:
        found = read(reports)
        if found.failed:
            hint = "a table is made of reports in which all tests passed"
            raise InputError(f"tests that failed: {', '.join(found.failed)}", hint=hint)
        write_between(into, MARKS, tables(found))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    typer.run(main)
