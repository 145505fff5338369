"""Estimates put trials of all lengths on one scale: neither going on nor being stopped early is a merit of its own."""

from __future__ import annotations

import pytest

from tune_fmnist.base.metrics import DIVERGED_SCORE
from tune_fmnist.tuning.estimates import estimates


def curve(level: float, epochs: int) -> dict[int, float]:
    """Return scores that gain 0.02, then 0.01, then nothing."""
    gains = [0.0, 0.02, 0.03, 0.03, 0.03]
    return {epoch: level + gains[epoch - 1] for epoch in range(1, epochs + 1)}


def test_a_stopped_trial_is_expected_to_gain_what_the_others_gained() -> None:
    assert estimates([curve(0.80, 4), curve(0.81, 4), curve(0.85, 1), curve(0.79, 2)]) == pytest.approx(
        [0.83, 0.84, 0.88, 0.82]
    )


def test_a_trial_that_diverged_is_as_bad_as_the_worst_and_no_worse() -> None:
    lost = curve(0.82, 1) | {2: DIVERGED_SCORE}
    found = estimates([curve(0.80, 4), lost, curve(0.81, 4), curve(0.79, 2)])
    assert found[1] == min(found) == pytest.approx(0.82)


def test_how_poor_a_poor_trial_is_does_not_hide_the_differences_among_the_good() -> None:
    found = estimates([curve(level, 4) for level in (0.800, 0.801, 0.802, 0.803, 0.07)])
    assert found[4] == min(found) > 0.8


def test_no_trial_and_nothing_but_divergence() -> None:
    assert estimates([]) == []
    assert estimates([{1: DIVERGED_SCORE}]) == [DIVERGED_SCORE]
