"""A record in which one value was changed by hand: it is refused in one line, or what is made from it has words."""

from __future__ import annotations

import io
import json
import re
from typing import Any, Final

import pytest
from rich.console import Console

from tests.fake_search import make_search, record_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import SCHEMA_VERSION
from tune_fmnist.reporting.provenance import provenance
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.summary import print_summary
from tune_fmnist.reporting.utilisation import utilisation
from tune_fmnist.store.record import SearchRecord

COMPLETE: Final[dict[str, Any]] = record_of("ann") | {
    "schema_version": SCHEMA_VERSION,
    "resumed_at": ["2026-01-02T03:04:05Z"],
    "startup_seconds": 3.0,
    "time_budget_seconds": 60.0,
    "utilisation_while_trials_wait": 0.9,
    "gpu_sharing": {"trials": 4, "bytes": 2**30},
    "retrain": {"top_k": 3, "seeds": 3, "seconds": 9.5, "placement": {"cpus": 1.0, "gpus": 0.0, "slots": 2}},
}
VALUES: Final[list[Any]] = [
    *(..., None, True, 0, 0.0, -1, -1.0, 1e-320, 1e308, 10**400, float("inf"), float("nan")),
    *("", "text", "\x1b[31m", [], [0], {}, {"seconds": 10**400}, {"memory_bytes": 10**400}, {"wall_seconds": 1e308}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A search whose tables are whole, and have been read."""
    results = make_search(tmp_path_factory.mktemp("search"))
    assert len(results.trials)
    assert len(results.epochs)
    return results


def told(results: Results, values: dict[str, Any]) -> str:
    """Return all that is said of a search whose record has these values."""
    record = SearchRecord.parse(json.dumps(values, default=str).encode(), "search.json")
    results.__dict__["record"] = record
    out = io.StringIO()
    print_summary(results, Console(file=out, width=200))
    shares = utilisation(record, results.trials, results.epochs)
    return f"{out.getvalue()} {provenance(record)} {shares}"


def test_the_record_itself_is_told(made: Results) -> None:
    assert "slots 97 % busy, 90 % until the last trial began" in told(made, COMPLETE)


@pytest.mark.parametrize("key", SearchRecord.model_fields)
def test_a_value_that_cannot_be_is_one_line_or_harmless(key: str, made: Results) -> None:
    for wrong in VALUES:
        values = {name: value for name, value in (COMPLETE | {key: wrong}).items() if value is not ...}
        try:
            text = told(made, values)
        except InputError as error:
            line = str(error)
        else:
            line = "search.json: "
            assert not re.search(r"\binf\b|\bnan\b", text), (wrong, text)
            assert max(map(len, re.findall(r"\d+", text))) < 80, (wrong, text)
        assert re.match(r"(\S*/)?search\.json: [^\n]{,600}$", line), (wrong, line)
