"""The limit on a network's parameters, known before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.tuning.space import Space, Value

Excess = Callable[[Mapping[str, Value]], float]
"""Returns the logarithm of a network's size over the limit, for values of a space's parameters; above 0, too large."""


def excess_of(space: Space, shape: DataShape) -> Excess | None:
    """Return what tells of sizes of networks for images of ``shape``; None if the space has no limit."""
    most = space.max_parameters
    if most is None:
        return None
    # Torch takes two seconds to import, and a search without a limit does not need it here.
    from tune_fmnist.models.size import parameters

    # Every draw asks for all earlier trials.
    sizes: dict[tuple[tuple[str, Value], ...], int] = {}

    def excess(values: Mapping[str, Value]) -> float:
        key = tuple(sorted(values.items()))
        if key not in sizes:
            sizes[key] = parameters(space.config(values), shape)
        return math.log(sizes[key] / most)

    return excess
