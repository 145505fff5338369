"""Numbers and settings read as a person writes them."""

from __future__ import annotations

import math

import pytest

from tune_fmnist.models.config import Ann, Cnn
from tune_fmnist.reporting import wording as words
from tune_fmnist.store.tables import config_columns


def test_numbers_have_their_signs_and_units() -> None:
    assert words.percent(0.92414) == "92.41 %"
    assert words.percent(0.92414, 0) == "92 %"
    assert words.points(0.0085) == "+0.85"
    assert words.points(-0.0085) == "\N{MINUS SIGN}0.85"
    assert words.between(-0.001, 0.02) == "\N{MINUS SIGN}0.10 to 2.00"
    assert words.p_text(0.0004) == "< 0.001"
    assert words.p_text(0.04) == "0.040"


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


def test_settings_are_what_differs_from_the_founding_report() -> None:
    assert words.settings(config_columns(Ann())) == "all as in the founding report"
    changed = Cnn(learning_rate=0.00123456, flip=True, conv3_channels=128)
    # The row of a CNN lacks what only the ANN has.
    row = config_columns(changed) | {"config_hidden1": None, "config_hidden2": math.nan}
    assert words.settings(row) == "learning_rate 0.00123, flip yes, conv3_channels 128"


def test_provenance_leaves_out_what_is_empty_and_gives_units() -> None:
    info = {
        "schema_version": 1,
        "name": "a",
        "space": {"model": "cnn"},
        "git_commit": None,
        "wall_seconds": 75.2,
        "utilisation_while_trials_wait": math.nan,
        "utilisation": 0.5,
        "resumed": False,
        "hardware": {"memory_bytes": 2**31, "gpus": [], "names": ["a", "b"]},
        "top_k": 3,
    }
    assert words.provenance(info) == [
        ("wall", "1:15 min"),
        ("utilisation", "50 %"),
        ("resumed", "no"),
        ("hardware", "memory 2.0 GiB, names a, b"),
        ("top k", "3"),
    ]
