"""An epoch's steps on a GPU as one CUDA graph: captured once in a training, replayed for each batch.

At batch 64 a step of these models is some fifty small kernels, and launching them takes the processor longer than the
GPU needs to run them.  A replay is one launch (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A training step: places of images (n,) int64, their targets (n, classes), its pace (2,); returns logits (n, classes).

The pace is the learning rate, and the share of the step's weights in their average.
"""

_WARM_UP = 3
"""Steps before the capture: libraries choose their kernels and allocate in the first ones, which cannot be captured."""


class CapturedSteps:
    """Runs ``count`` steps of ``batch_size`` images, an epoch of whole batches, without the processor between them.

    The tensors of a graph have fixed places, so that an epoch's order, targets and paces are copied into this
    object's, and a counter on the device says which batch is next.  The steps before the capture are real ones: the
    captured step itself is recorded and not run.  Random numbers come from PyTorch's generator, which counts on through
    replays as it would through calls, and may be seeded between epochs.

    The step is given to each epoch and not kept: its owner holds this object, and such a circle would wait for Python's
    collector after the training, with all of the graph's memory.

    Args:
        count: steps in an epoch, 1 or more.
        batch_size: images in a step.
        classes: how many there are.
        device: a CUDA device.
    """

    def __init__(self, count: int, batch_size: int, classes: int, device: torch.device) -> None:
        self.count, self._device = count, device
        self._range = torch.arange(batch_size, device=device)
        self._order = torch.zeros(count * batch_size, dtype=torch.int64, device=device)
        self._targets = torch.zeros(count * batch_size, classes, device=device)
        self._paces = torch.zeros(count, 2, device=device)
        self._next = torch.zeros(1, dtype=torch.int64, device=device)
        self._logits = torch.zeros(count * batch_size, classes, device=device)
        self._replay: Callable[[], None] | None = None

    def run(
        self, step: Step, order: Tensor, targets: Tensor, paces: Tensor, stop: Callable[[int, Tensor], bool]
    ) -> Tensor:
        """Train an epoch; return the logits (n, classes), float32, of the images of all steps that were run.

        Args:
            step: what to run, the same in every epoch; it may not ask the device for a value.
            order: places of the images, (count * batch_size or more,) int64; what is beyond is not looked at.
            targets: theirs, the probability of each class, (the same, classes).
            paces: each step's learning rate and share of the average, (count or more, 2).
            stop: asked after each step, with its number and its logits, whether to end the epoch there.
        """
        self._order.copy_(order[: len(self._order)])
        self._targets.copy_(targets[: len(self._targets)])
        self._paces.copy_(paces[: self.count])
        self._next.zero_()
        size = len(self._range)
        for done in range(self.count):
            if self._replay is None and done == _WARM_UP:
                self._replay = self._capture(step)
            if self._replay is None:
                self._warm_up(step)
            else:
                self._replay()
            if stop(done, self._logits[done * size : (done + 1) * size]):
                break
        return self._logits[: (done + 1) * size].clone()

    def _one(self, step: Step) -> None:
        places = self._next * len(self._range) + self._range
        logits = step(
            self._order.index_select(0, places),
            self._targets.index_select(0, places),
            self._paces.index_select(0, self._next).squeeze(0),
        )
        self._logits.index_copy_(0, places, logits.float())
        self._next.add_(1)

    def _warm_up(self, step: Step) -> None:
        """Run a step where the capture will be made: what libraries set up for a stream, they set up for that one."""
        side, current = _side_stream(self._device), torch.cuda.current_stream(self._device)
        side.wait_stream(current)
        with torch.cuda.stream(side):
            self._one(step)
        current.wait_stream(side)

    def _capture(self, step: Step) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        with nothing_collected(), torch.cuda.graph(graph, stream=_side_stream(self._device)):
            self._one(step)
        replay: Callable[[], None] = graph.replay
        return replay


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures of this process: for each one, cuBLAS keeps memory of its own for good."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Keep Python's collector still for the block: it may destroy an earlier graph, which ends a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
