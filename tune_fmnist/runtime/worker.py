"""One trial in one process, with or without Ray: training, checkpoints and results around ``fit``."""

from __future__ import annotations

import faulthandler
import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from tune_fmnist.base.vocabulary import Precision
from tune_fmnist.data.images import Split
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.jobs import EpochResult, TrialJob

if TYPE_CHECKING:
    from tune_fmnist.training.fit import EpochMetrics, State

Report = Callable[[EpochResult], None]

_resident: dict[tuple[str, str, str], Any] = {}
"""The images of the last trial on this device, in this process: the next trial most likely trains on the same."""


def run_trial(
    job: TrialJob,
    split: Split,
    report: Report,
    *,
    gpu: bool = False,
    threads: int = 1,
    checkpoints: Checkpoints | None = None,
    timeout: float | None = None,
) -> None:
    """Train a trial and report each epoch.

    A trial that was cut off, or has waited, goes on after its newest checkpoint, and reports the earlier epochs again:
    receivers skip those that they have, and fill in those that they lost.

    Args:
        job: what to train.
        split: training and validation images; not copied and not written to.
        report: called after each epoch.
        gpu: whether to train on the GPU that this process sees.
        threads: processor threads for this trial.
        checkpoints: where the state after each epoch is kept; None keeps none.
        timeout: seconds after which an epoch that has not ended ends the process; None waits for ever.
    """
    # The driver imports this module and never trains: Torch takes two seconds to import.
    from tune_fmnist.models import size
    from tune_fmnist.training import device, fit

    began = time.perf_counter()
    saved = checkpoints.newest() if checkpoints else None
    history = saved.history if saved else []
    for result in history:
        report(result.model_copy(update={"passed": result is not history[-1]}))
    if history and (len(history) == job.max_epochs or history[-1].diverged):
        return
    processor, precision = device.use_device(gpu=gpu, threads=threads)
    key = (split.hash, processor.type, precision)
    if key not in _resident:
        _resident.clear()
        _resident[key] = tuple(device.to_device(part, processor, precision) for part in (split.train, split.validation))
    train, validation = _resident[key]
    _watch(timeout)
    work = size.multiply_adds(job.config, train.shape)
    reporter = _Reporter(report, history, checkpoints, timeout, "cuda" if gpu else "cpu", precision, work, began)
    try:
        fit.fit(
            job.config,
            train,
            validation,
            epochs=job.max_epochs,
            horizon=job.max_epochs,
            seed=job.seed,
            on_epoch=reporter.tell,
            after=len(history),
            state=saved.arrays() if saved else None,
        )
    finally:
        _watch(None)


class _Reporter:
    """Saves and reports each epoch of a trial, and watches over the time between two reports.

    Args:
        history: the results so far; each new one is added.
        multiply_adds: of the network for an image.
        began: when the slot's time began that no report has told yet, by ``time.perf_counter``.
    """

    def __init__(
        self,
        report: Report,
        history: list[EpochResult],
        checkpoints: Checkpoints | None,
        timeout: float | None,
        device: Literal["cpu", "cuda"],
        precision: Precision,
        multiply_adds: int,
        began: float,
    ) -> None:
        self._report, self._history, self._checkpoints, self._timeout = report, history, checkpoints, timeout
        self._device, self._precision, self._multiply_adds, self._told = device, precision, multiply_adds, began

    def tell(self, metrics: EpochMetrics, state: State) -> None:
        """Tell of an epoch; ``state`` is the training's after it."""
        now = time.perf_counter()
        spent, self._told = now - self._told, now
        result = EpochResult(
            **metrics._asdict(),
            overhead_seconds=max(0.0, spent - metrics.train_seconds - metrics.eval_seconds),
            reported_at=time.time(),
            node=platform.node(),
            device=self._device,
            precision=self._precision,
            parameters=state["weights"].numel(),
            multiply_adds=self._multiply_adds,
        )
        self._history.append(result)
        unsaved = self._save(state)
        _watch(None)
        self._report(result.model_copy(update={"unsaved": unsaved}) if unsaved else result)
        _watch(self._timeout)

    def _save(self, state: State) -> str | None:
        """Write a checkpoint; return why it could not be written, which costs the trial nothing but the checkpoint."""
        try:
            if self._checkpoints is not None:
                self._checkpoints.save(state, self._history)
        except OSError as error:
            return str(error)
        return None


def _watch(timeout: float | None) -> None:
    """End this process if it is not called again within ``timeout`` seconds, even if it hangs outside of Python."""
    if timeout is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        faulthandler.dump_traceback_later(timeout, exit=True)
