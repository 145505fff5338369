"""How many trials share a GPU, given what was measured; the measurement itself needs one (``tests/gpu``)."""

from __future__ import annotations

from typing import Any

import pytest

from tune_fmnist.runtime.gpu_sharing import MOST, Measurement, choose, epochs_per_second, measured_before

GIB = 2**30


@pytest.mark.parametrize(
    ("rates", "bytes_per_trial", "chosen"),
    [
        ({1: 100}, GIB, 1),
        ({1: 100, 2: 190, 4: 300, 8: 400}, GIB, 8),
        # Each further doubling has to be worth a tenth more than what was chosen before.
        ({1: 100, 2: 190, 4: 200, 8: 205}, GIB, 2),
        ({1: 100, 2: 90, 4: 80, 8: 70}, GIB, 1),
        # Four fill more than four fifths of the memory.
        ({1: 100, 2: 190, 4: 300, 8: 400}, 18 * GIB, 2),
        ({1: 100, 2: 190}, 79 * GIB, 1),
    ],
)
def test_the_fewest_trials_that_use_a_gpu_share_it(rates: dict[int, float], bytes_per_trial: int, chosen: int) -> None:
    assert choose(rates, bytes_per_trial, 80 * GIB) == chosen


@pytest.mark.parametrize(
    ("ends", "rate"),
    [
        ([[3, 5, 7]], 0.5),
        # From 4 to 8 all train: the first does 2 epochs there, the second 1.
        ([[2, 4, 6, 8], [4, 8]], 0.75),
        # What one does before the others are ready, or when one has ended, does not count.
        ([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [6, 8]], 1.5),
        # An epoch that is under way then counts for its part.
        ([[0, 10], [4, 6]], 0.6),
        ([[0, 1, 2], [2, 3]], 0.0),
        ([[0, 1], [2, 3]], 0.0),
    ],
)
def test_only_what_trainings_do_at_the_same_time_counts(ends: list[list[float]], rate: float) -> None:
    assert epochs_per_second(ends) == pytest.approx(rate)


MEASURED = Measurement(4, {1: 100.0, 2: 190.0, 4: 300.0}, GIB, 80 * GIB)._asdict()
H100, T4 = "NVIDIA H100 80GB HBM3", "Tesla T4"


@pytest.mark.parametrize(
    ("recorded", "gpus", "trials"),
    [
        ({**MEASURED, "gpus": [H100, H100]}, [H100, H100], 4),
        ({**MEASURED, "gpus": [H100]}, [H100, H100], None),
        ({**MEASURED, "gpus": [H100]}, [T4], None),
        # On a cluster that was joined, or by an earlier release.
        ({**MEASURED, "gpus": []}, [], None),
        (MEASURED, [H100], None),
        ({"trials_per_gpu": 2, "gpus": [H100]}, [H100], None),
        ({"trials": 0, "gpus": [H100]}, [H100], None),
        ({"trials": MOST + 1, "gpus": [H100]}, [H100], None),
        ({"trials": "4", "gpus": [H100]}, [H100], None),
        (None, [H100], None),
    ],
)
def test_what_was_measured_holds_for_the_same_gpus(
    recorded: dict[str, Any] | None, gpus: list[str], trials: int | None
) -> None:
    assert measured_before(recorded, gpus) == trials
