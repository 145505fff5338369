"""How busy the slots were, as far as it is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fake_search import START, make_search, record_of
from tune_fmnist.reporting.utilisation import utilisation, utilisation_while_trials_wait
from tune_fmnist.store.record import SearchRecord


def test_slots_are_busy_up_to_the_last_start() -> None:
    starts = pd.Series([100.0, 100.0, 110.0])
    # Of the first epoch all 8 s lie before it, of the second 10 of 14 s, of the third none.
    ends, busy = pd.Series([110.0, 114.0, 120.0]), pd.Series([8.0, 14.0, 10.0])
    assert utilisation_while_trials_wait(starts, ends, busy, slots=2) == pytest.approx(18 / 20)
    assert math.isnan(utilisation_while_trials_wait(starts[:2], ends, busy, slots=2))


def found(folder: Path, **changes: Any) -> tuple[float | None, float | None]:
    """Return the utilisation of a made-up search whose record has other values."""
    results = make_search(folder)
    return utilisation(SearchRecord.model_validate(record_of("ann") | changes), results.trials, results.epochs)


def test_utilisation_is_training_and_evaluation_over_the_time_of_all_slots(tmp_path: Path) -> None:
    overall, waiting = found(tmp_path, slot_seconds=50.0, search_seconds=25.0)
    results = make_search(tmp_path)
    assert overall == pytest.approx(1.3 * len(results.epochs) / 50.0, abs=1e-4)
    starts, ends = (
        (moments - START).dt.total_seconds()
        for moments in (results.trials["started_at"], results.epochs["reported_at"])
    )
    expected = utilisation_while_trials_wait(starts, ends, pd.Series([1.3] * len(ends)), slots=2.0)
    assert waiting == pytest.approx(expected, abs=1e-4)


def test_version_1_recorded_the_number_of_slots_only(tmp_path: Path) -> None:
    assert found(tmp_path, slot_seconds=None, search_seconds=25.0) == found(
        tmp_path, slot_seconds=50.0, search_seconds=25.0
    )


def test_a_resumed_search_has_a_gap_between_its_starts(tmp_path: Path) -> None:
    overall, waiting = found(tmp_path, slot_seconds=50.0, search_seconds=25.0, resumed_at=[START])
    assert overall is not None
    assert waiting is None


@pytest.mark.parametrize(
    "changes",
    [{"slot_seconds": None, "placement": None}, {"slot_seconds": 0.0}, {"slot_seconds": None, "search_seconds": 0.0}],
)
def test_without_the_time_of_the_slots_nothing_is_known(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert found(tmp_path, **changes) == (None, None)


def test_before_the_first_epoch_no_slot_was_busy(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    record = results.record
    assert utilisation(record, results.trials, results.epochs[:0]) == (0.0, 0.0)
    assert utilisation(record, results.trials[:0], results.epochs[:0]) == (0.0, None)
