"""Which processes Ray takes for the tasks of the slots; its GPUs are made up here, and nobody computes on them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import ray
from ray.exceptions import RayTaskError

from tune_fmnist.runtime.slots import Placement
from tune_fmnist.runtime.tasks import in_a_slot


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, num_gpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def processes(gpus: float) -> list[str]:
    """Return the processes that ran a task three times: it is given nothing, so that its error tells them."""
    task, found = in_a_slot("train", Placement(1.0, gpus, 1, 1)), []
    for _ in range(3):
        with pytest.raises(RayTaskError, match="missing 4 required positional arguments") as caught:
            ray.get(task())
        found += re.findall(r"pid=(\d+)", str(caught.value))
    return found


@pytest.mark.usefixtures("two_gpus")
def test_a_process_that_has_used_a_gpu_is_not_used_again() -> None:
    assert len(set(processes(0.5))) == 3


@pytest.mark.usefixtures("two_gpus")
def test_a_process_without_a_gpu_is_used_again() -> None:
    assert len(set(processes(0.0))) == 1
