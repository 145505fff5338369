"""The loop over tasks of Ray that no search of Ray Tune runs: so many at once as there are slots."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

import ray

from tune_fmnist.base import signals
from tune_fmnist.runtime import head
from tune_fmnist.runtime.slots import Placement, Slots

RETRIES: Final = 3
"""How often a task whose process or node was lost is run again."""

Item = TypeVar("Item")

Step = Literal["confirm", "train", "evaluate"]
"""A function of ``training.tasks``."""


def _in_its_process(step: Step, *given: Any) -> Any:
    # The driver imports this module and never trains or tests a model: Torch takes two seconds to import.
    from tune_fmnist.training import tasks

    steps: dict[Step, Callable[..., Any]] = {
        "confirm": tasks.confirm,
        "train": tasks.train,
        "evaluate": tasks.evaluate,
    }
    return steps[step](*given)


def in_a_slot(step: Step, placement: Placement, *, gpu: bool = True, retries: int = RETRIES) -> Any:
    """Return a step as what Ray runs in a slot.

    Args:
        step: what is called.
        placement: what the slot occupies.
        gpu: whether the step uses the slot's GPU.
        retries: how often Ray runs it again if its process or node is lost.
    """
    gpus = placement.gpus if gpu else 0.0
    # A process stays on the GPU that it used first, whichever it is given later.  For what is told here, and not by
    # ``options``, to use one, Ray takes a new process each time.
    given = ray.remote(num_cpus=placement.cpus, num_gpus=gpus, scheduling_strategy="SPREAD", max_retries=retries)
    return partial(given(_in_its_process).options(name=step).remote, step)


def fetched(ref: ray.ObjectRef[Any]) -> Any:
    """Return what a task returned, in memory of this process; raises what it raised, or Ray's error if it was lost.

    Arrays that Ray returns lie in the memory of its own process.  Python gives them back some time later, and if that
    process has died by then, Ray ends this one without a word.
    """
    return copy.deepcopy(ray.get(ref))


def run_in_slots(
    items: Sequence[Item],
    slots: Slots,
    begin: Callable[[Item], ray.ObjectRef[Any]],
    go_on: Callable[[Item, ray.ObjectRef[Any]], ray.ObjectRef[Any] | None],
    on_step: Callable[[], None],
) -> None:
    """Run the tasks of each item, one after the other, in the slots of Ray's cluster.

    Args:
        items: what there is to do, in order.
        slots: how many run at once.
        begin: starts the first task of an item.
        go_on: is given the task of an item that has ended, and starts the next one, or returns None if it was the last.
        on_step: called a few times per second.
    """
    waiting = list(items)
    running: dict[ray.ObjectRef[Any], Item] = {}
    while waiting or running:
        slots.count()
        while waiting and len(running) < slots.wanted:
            item = waiting.pop(0)
            running[begin(item)] = item
        ended, _ = ray.wait(list(running), timeout=0.25)
        for ref in ended:
            item = running.pop(ref)
            following = go_on(item, ref)
            if following is not None:
                running[following] = item
        on_step()
        signals.check()
        head.check()
