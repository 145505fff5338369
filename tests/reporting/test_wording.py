"""Numbers and settings read as a person writes them."""

from __future__ import annotations

import math

import pytest

from tests.fake_search import record_of
from tests.records import make_record
from tune_fmnist.models.config import Ann, Cnn
from tune_fmnist.reporting import wording as words
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.store.tables import config_columns


def test_numbers_have_their_signs_and_units() -> None:
    assert words.percent(0.92414) == "92.41 %"
    assert words.percent(0.92414, 0) == "92 %"
    assert words.points(0.0085) == "+0.85"
    assert words.points(-0.0085) == "\N{MINUS SIGN}0.85"
    assert words.between(-0.001, 0.02) == "\N{MINUS SIGN}0.10 to 2.00"
    assert words.p_text(0.0004) == "< 0.001"
    assert words.p_text(0.04) == "0.040"
    assert words.p_equation(0.0004) == "p < 0.001"
    assert words.p_equation(0.04) == "p = 0.040"
    assert [words.counted(count, "trial") for count in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]


@pytest.mark.parametrize("write", [words.percent, words.points, words.p_text, words.plain])
def test_what_is_missing_is_a_dash(write: object) -> None:
    assert callable(write)
    assert write(math.nan) == words.DASH
    assert words.between(math.nan, math.nan) == words.DASH


@pytest.mark.parametrize(
    ("seconds", "text"), [(42.4, "42 s"), (59.6, "1:00 min"), (187, "3:07 min"), (3599.7, "1:00 h"), (3725, "1:02 h")]
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_settings_are_what_differs_from_the_baseline() -> None:
    assert words.settings(config_columns(Ann()), make_record(model="ann")) == "the baseline's settings"
    changed = Cnn(learning_rate=0.00123456, flip=True, conv3_channels=128)
    # The row of a CNN lacks what only the ANN has.
    row = config_columns(changed) | {"config_hidden1": None, "config_hidden2": math.nan}
    assert words.settings(row, make_record(model="cnn")) == "learning_rate 0.00123, flip yes, conv3_channels 128"


@pytest.mark.parametrize(
    ("rank", "is_baseline", "name"),
    [
        (1, False, "rank 1"),
        (None, False, "not among the top"),
        (None, True, "baseline"),
        (2, True, "baseline (rank 2)"),
    ],
)
def test_configurations_have_names(rank: int | None, is_baseline: bool, name: str) -> None:
    assert words.configuration_name(rank, is_baseline=is_baseline) == name


def test_the_baseline_is_defined_with_its_report_and_figures() -> None:
    assert words.baseline_definition(SearchRecord.model_validate(record_of("cnn"))) == (
        'Baseline: the CNN of the report "Fashion-MNIST Classification using ANN and CNN", which published 90.79 % in '
        "the test and 91.79 % in validation, each from one run."
    )


def test_a_search_on_fewer_images_is_not_compared_with_published_figures() -> None:
    assert words.smaller_than_published(SearchRecord.model_validate(record_of("ann"))) is None
    assert words.smaller_than_published(SearchRecord.model_validate(record_of("ann", images=12_000))) == (
        "The published figures are of 60,000 training images; this search used 12,000, so the two cannot be compared."
    )
