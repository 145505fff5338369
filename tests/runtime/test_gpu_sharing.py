"""How many trials share a GPU, given what was measured; the measurement itself needs one (``tests/gpu``)."""

from __future__ import annotations

import pytest

from tune_fmnist.runtime.gpu_sharing import choose

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
