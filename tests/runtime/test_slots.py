"""How a cluster is divided into slots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from tune_fmnist.base.errors import InputError
from tune_fmnist.runtime.slots import Slots, place


@pytest.fixture
def head_alone() -> Iterator[None]:
    """A Ray whose only node trains nothing, as the head of a cluster whose other nodes an autoscaler starts."""
    ray.init(num_cpus=0, num_gpus=0, include_dashboard=False)
    yield
    ray.shutdown()


def test_a_cluster_whose_nodes_are_still_to_come_has_no_slot_yet(head_alone: None) -> None:
    placement = place(None, None, None, joined=True)
    assert placement.slots == 0
    # One trial waits: that is what a node is started for.
    assert Slots(placement, joined=True).wanted == 1
    placement = place(None, None, 16, joined=True)
    assert (placement.slots, Slots(placement, joined=True).wanted) == (0, 16)
    with pytest.raises(InputError, match="no node can hold a trial of 1 CPU and 0 GPU"):
        place(None, None, None)
