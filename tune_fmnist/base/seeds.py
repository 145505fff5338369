"""Seeds: several unrelated ones from one."""

from __future__ import annotations

import zlib

import numpy as np


def derived_seed(seed: int, number: int) -> int:
    """Return a seed of 32 bits, unrelated between numbers and between seeds (NumPy's ``SeedSequence``)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def named_seeds(seed: int, name: str, count: int) -> list[int]:
    """Return ``count`` seeds of 32 bits, unrelated between names; the first ones are the same for any count."""
    own = derived_seed(seed, zlib.crc32(name.encode()))
    return [derived_seed(own, place) for place in range(count)]
