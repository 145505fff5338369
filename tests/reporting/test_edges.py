"""What lies at an edge of its range is named, on the range's own scale."""

from __future__ import annotations

import pytest

from tune_fmnist.reporting.edges import edges, told
from tune_fmnist.tuning.space_files import from_values

SPACE = from_values(
    {
        "model": "cnn",
        "parameters": {
            "conv1_channels": {"type": "int", "low": 16, "high": 64, "step": 16},
            "dropout": {"type": "float", "low": 0.0, "high": 0.5},
            "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
            "flip": {"type": "categorical", "choices": [False, True]},
            "shift": {"type": "int", "low": 1, "high": 1},
            "kernel_size": {"type": "int", "low": 3, "high": 5, "step": 2},
        },
    }
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"dropout": 0.49}, [("dropout", 0.5)]),
        ({"dropout": 0.49, "conv1_channels": 64}, [("conv1_channels", 64), ("dropout", 0.5)]),
        # Nothing is less than 0, and of two whole numbers each is a bound.
        ({"dropout": 0.0, "kernel_size": 5}, []),
        # In the middle of the numbers, near neither end of their logarithms.
        ({"learning_rate": 0.005}, []),
        ({"learning_rate": 1.2e-4}, [("learning_rate", 1e-4)]),
    ],
)
def test_values_at_an_edge(changes: dict[str, float], expected: list[tuple[str, float]]) -> None:
    inside = {"conv1_channels": 32, "dropout": 0.3, "learning_rate": 1e-3, "flip": True, "shift": 1, "momentum": 0.0}
    inside["kernel_size"] = 3
    assert [(edge.name, edge.bound) for edge in edges(SPACE, inside | changes)] == expected


def test_edges_are_told_with_their_bounds_and_nothing_is_told_of_none() -> None:
    config = {"dropout": 0.49, "learning_rate": 1e-4}
    assert told(edges(SPACE, config)) == (
        "At the edge of the space, within 5 % of a bound: dropout 0.49 (bound 0.5), learning_rate 0.0001 "
        "(bound 0.0001). A wider range may hold a better value."
    )
    assert told([]) is None
