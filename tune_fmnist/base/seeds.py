"""Seeds: several unrelated ones from one."""

from __future__ import annotations

import numpy as np


def derived_seed(seed: int, number: int) -> int:
    """Return a seed of 32 bits, unrelated between numbers and between seeds (NumPy's ``SeedSequence``)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
