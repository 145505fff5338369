"""A trial in this process, and in one of its own: what it reports, where it goes on, and what ends it."""

from __future__ import annotations

import faulthandler
import math
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.records import make_job
from tests.reliability import Note
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.data.images import Images, Split, split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.models.networks import build
from tune_fmnist.models.size import multiply_adds
from tune_fmnist.runtime.worker import run_trial
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.jobs import EpochResult, TrialJob
from tune_fmnist.training.device import choose_precision, to_device
from tune_fmnist.training.fit import EpochMetrics, fit

Results = list[EpochResult]

EPOCH_COUNT = 4
CPU = torch.device("cpu")
TIMES = ("train_seconds", "eval_seconds", "overhead_seconds", "reported_at")
SMALL: list[Config] = [
    Ann(hidden1=16, hidden2=16, flip=True, schedule="cosine"),
    Cnn(conv1_channels=4, conv2_channels=4, dense_units=16, optimizer="sgd", momentum=0.9, learning_rate=0.02, shift=1),
]
_TRICKS: dict[str, Any] = {
    **{"average": 0.5, "schedule": "one_cycle", "warm_up": 0.3, "label_smoothing": 0.1, "mirror": True},
    **{"flip": True, "alternating_flip": True, "image_shift": 1, "erasing": 0.3, "spare_biases": True},
}
DEEP: list[Config] = [
    Ann(hidden1=16, hidden2=16, hidden3=16, batch_norm=True, skip=True, **_TRICKS),
    Cnn(
        **{"conv1_channels": 4, "conv2_channels": 8, "conv3_channels": 8, "convolutions": 2, "residual": True},
        **{"batch_norm": True, "head": "average", "optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        **_TRICKS,
    ),
]
"""All that a training keeps from step to step: running means, averaged weights, places in schedules."""
LOST = Ann(learning_rate=1e30, batch_size=4)


class CutOffError(Exception):
    """The process is lost."""


@pytest.fixture(scope="module")
def some(training: Images) -> Split:
    """240 images to train on and 60 to validate."""
    return split(Images(training.images[:300], training.labels[:300], 10), seed=0)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, 5)


def job_of(config: Config, *, seed: int = 3, epochs: int = EPOCH_COUNT) -> TrialJob:
    return make_job(5, config, seed=seed, max_epochs=epochs)


def run(
    config: Config,
    images: Split,
    checkpoints: Checkpoints | None = None,
    *,
    results: Results | None = None,
    cut_off: int | None = None,
    seed: int = 3,
) -> Results:
    """Run a trial and return what it reports, which is added to ``results``; its process is lost after ``cut_off``."""
    results = [] if results is None else results

    def report(result: EpochResult) -> None:
        results.append(result)
        if result.epoch == cut_off:
            raise CutOffError

    run_trial(job_of(config, seed=seed), images, report, checkpoints=checkpoints)
    return results


def timeless(results: Results) -> list[dict[str, Any]]:
    return [result.model_dump(exclude=set(TIMES)) for result in results]


def first_told(results: Results) -> Results:
    """Return results as they were told the first time."""
    return [result.model_copy(update={"passed": False}) for result in results]


@pytest.mark.parametrize("config", SMALL)
def test_trial_reports_each_epoch_of_its_training(config: Config, some: Split) -> None:
    began, clock = time.time(), time.perf_counter()
    results = run(config, some)
    elapsed, ended = time.perf_counter() - clock, time.time()
    precision = choose_precision(CPU)
    expected: list[EpochMetrics] = []
    fit(
        config,
        to_device(some.train, CPU, precision),
        to_device(some.validation, CPU, precision),
        epochs=EPOCH_COUNT,
        horizon=EPOCH_COUNT,
        seed=3,
        on_epoch=lambda metrics, state: expected.append(metrics),
    )
    same: dict[str, Any] = {
        "node": platform.node(),
        "device": "cpu",
        "precision": precision,
        "parameters": sum(weight.numel() for weight in build(config, KNOWN_SHAPE).parameters()),
        "multiply_adds": multiply_adds(config, KNOWN_SHAPE),
        "overhead_seconds": 0.0,
        "reported_at": 0.0,
    }
    assert timeless(results) == timeless([EpochResult(**metrics._asdict(), **same) for metrics in expected])
    reported = [result.reported_at for result in results]
    assert [began, *reported, ended] == sorted([began, *reported, ended])
    assert all(getattr(result, name) >= 0 for result in results for name in TIMES)
    spent = sum(result.train_seconds + result.eval_seconds + result.overhead_seconds for result in results)
    assert spent <= elapsed


@pytest.mark.parametrize("losses", [(1,), (2,), (3,), (4,), (1, 2, 3, 4)])
@pytest.mark.parametrize("config", [*SMALL, *DEEP])
def test_trial_that_was_cut_off_goes_on(
    config: Config, losses: tuple[int, ...], some: Split, checkpoints: Checkpoints, count: Note
) -> None:
    told: Results = []
    for epoch in losses:
        results: Results = []
        with pytest.raises(CutOffError):
            run(config, some, checkpoints, results=results, cut_off=epoch)
        assert first_told(results[: len(told)]) == told, "what was told is told once more, its times too"
        assert [result.passed for result in results] == [result.epoch < len(told) for result in results]
        told = first_told(results)
        assert [result.epoch for result in told] == list(range(1, epoch + 1))
    results = first_told(run(config, some, checkpoints))
    assert results[: len(told)] == told
    assert timeless(results) == timeless(run(config, some))
    count("trial cut off after an epoch, in this process", len(losses), (EPOCH_COUNT, len(results), 0, 0))


def test_trial_that_was_cut_off_goes_on_before_a_damaged_checkpoint(
    some: Split, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(CutOffError):
        run(SMALL[0], some, checkpoints, cut_off=3)
    (tmp_path / "00005" / "epoch-00003.safetensors").write_bytes(b"")
    assert timeless(first_told(run(SMALL[0], some, checkpoints))) == timeless(run(SMALL[0], some))


def forward_passes(act: Any) -> int:
    seen: list[nn.Module] = []
    counting = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        act()
    finally:
        counting.remove()
    return len(seen)


@pytest.mark.parametrize(("config", "epochs"), [(SMALL[0], EPOCH_COUNT), (LOST, 1)])
def test_trial_that_has_ended_is_only_told(config: Config, epochs: int, some: Split, checkpoints: Checkpoints) -> None:
    first = run(config, some, checkpoints)
    again: Results = []
    assert forward_passes(lambda: run(config, some, checkpoints, results=again)) == 0
    assert len(first) == epochs
    # In words: a NaN does not equal itself.
    assert repr(first_told(again)) == repr(first)
    assert forward_passes(lambda: run(config, some)) > 0


def test_lost_loss_ends_a_trial(some: Split) -> None:
    (result,) = run(LOST, some)
    assert result.diverged
    assert not math.isfinite(result.train_loss)
    assert not any(result.diverged for result in run(SMALL[0], some))


def test_nothing_that_ran_before_in_the_process_changes_a_trial(some: Split, small_split: Split) -> None:
    torch.set_num_threads(2)
    torch.rand(3)
    first = timeless(run(SMALL[0], some))
    other = timeless(run(SMALL[0], small_split))
    run(SMALL[1], some, seed=4)
    run(LOST, some)
    with pytest.raises(CutOffError):
        run(SMALL[0], some, cut_off=1)
    assert timeless(run(SMALL[0], some)) == first
    assert timeless(run(SMALL[0], small_split)) == other
    assert [row["val_loss"] for row in first] != [row["val_loss"] for row in other]
    assert timeless(run(SMALL[0], some, seed=4)) != first


def test_checkpoint_that_cannot_be_written_is_told_and_costs_nothing_else(some: Split, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    results = run(SMALL[0], some, Checkpoints(tmp_path / "file", 5))
    assert all(str(tmp_path / "file") in str(result.unsaved) for result in results)
    saved = [result.model_copy(update={"unsaved": None}) for result in results]
    assert timeless(saved) == timeless(run(SMALL[0], some))


@pytest.mark.parametrize("threads", [1, 2])
def test_trial_takes_the_threads_it_is_given(threads: int, some: Split) -> None:
    taken: set[int] = set()
    run_trial(job_of(SMALL[0], epochs=1), some, lambda result: taken.add(torch.get_num_threads()), threads=threads)
    assert taken == {threads}


def test_images_are_read_only(some: Split) -> None:
    train, validation = (Images(part.images.copy(), part.labels.copy(), 10) for part in (some.train, some.validation))
    locked = Split(train=train, validation=validation, hash="another")
    for array in (train.images, train.labels, validation.images, validation.labels):
        array.flags.writeable = False
    assert timeless(run(SMALL[0], locked)) == timeless(run(SMALL[0], some))


def test_time_runs_out_for_epochs_only(some: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = False
    start, stop = faulthandler.dump_traceback_later, faulthandler.cancel_dump_traceback_later

    def note_start(timeout: float, exit: bool) -> None:  # noqa: A002 -- faulthandler's word
        nonlocal watching
        watching = True
        start(timeout, exit=exit)

    def note_stop() -> None:
        nonlocal watching
        watching = False
        stop()

    monkeypatch.setattr(faulthandler, "dump_traceback_later", note_start)
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", note_stop)
    seen: list[tuple[str, bool]] = []

    def report(result: EpochResult) -> None:
        seen.append(("report", watching))

    noting = nn.modules.module.register_module_forward_hook(lambda *_: seen.append(("step", watching)))
    try:
        run_trial(job_of(SMALL[0]), some, report, timeout=3600)
    finally:
        noting.remove()
    assert set(seen) == {("report", False), ("step", True)}
    assert not watching


OVERDUE = """
from tune_fmnist import data
from tune_fmnist.models.config import Ann
from tune_fmnist.runtime.worker import run_trial
from tune_fmnist.store.jobs import TrialJob

images = data.split(data.locate().read_training(), seed=0)
job = TrialJob(number=5, seed=3, config=Ann(batch_size=8), max_epochs=1000)
run_trial(job, images, lambda result: print("reported"), timeout=0.05)
"""


def test_epoch_that_does_not_end_ends_its_process(count: Note) -> None:
    done = subprocess.run([sys.executable, "-c", OVERDUE], capture_output=True, text=True, timeout=120, check=False)
    # 1, or a signal's number: this process moves on while its stack is read, which one that hangs does not.
    assert done.returncode != 0
    assert "reported" not in done.stdout
    assert "Timeout (0:00:00.050000)!" in done.stderr
    count("epoch does not end", 1)
