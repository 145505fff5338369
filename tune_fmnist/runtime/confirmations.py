"""The confirmations of a search on Ray: the best trials' configurations again, with other seeds, on the same images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from tune_fmnist.data.images import Split
from tune_fmnist.runtime.slots import Placement, Slots
from tune_fmnist.runtime.tasks import fetched, in_a_slot, run_in_slots
from tune_fmnist.store.confirmation_table import ConfirmationTable
from tune_fmnist.store.jobs import ConfirmationJob, ConfirmationResult


def run_confirmations(
    table: ConfirmationTable,
    split: Split,
    placement: Placement,
    slots: Slots,
    *,
    on_step: Callable[[ConfirmationJob | None, ConfirmationResult | None], None],
) -> None:
    """Run the confirmations that are pending in the slots of Ray's cluster; each one's row is in ``table`` as it ends.

    Args:
        table: says which there are, and gets the rows.
        split: the images of the search's trials.
        placement: what a confirmation occupies.
        slots: how many run at once.
        on_step: called a few times per second with None, and with each confirmation that has ended and its result.
    """
    task, images = in_a_slot("confirm", placement), ray.put(split)
    gpu, threads = placement.gpus > 0, max(1, int(placement.cpus))

    def begin(job: ConfirmationJob) -> ray.ObjectRef[Any]:
        ref: ray.ObjectRef[Any] = task(job, images, gpu, threads)
        return ref

    def end(job: ConfirmationJob, ref: ray.ObjectRef[Any]) -> None:
        result: ConfirmationResult = fetched(ref)
        table.add(job, result)
        on_step(job, result)

    # The longest first: a long one that starts last would leave the other slots idle.
    waiting = sorted(table.pending, key=lambda job: -job.expected_seconds)
    run_in_slots(waiting, slots, begin, end, lambda: on_step(None, None))
