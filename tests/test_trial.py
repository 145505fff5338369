"""A trial in this process, and in one of its own: what it reports, what it goes on from, and what ends it."""

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

from tune_fmnist.base.errors import InputError
from tune_fmnist.data.fashion_mnist import Images, Split, split
from tune_fmnist.models.config import Ann, Cnn, Config
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.tables import EPOCHS
from tune_fmnist.training.fit import EpochResult, choose_precision, fit, to_device
from tune_fmnist.trial import main, run_trial

Rows = list[dict[str, Any]]

EPOCH_COUNT = 4
CPU = torch.device("cpu")
TIMES = {"train_seconds", "eval_seconds", "overhead_seconds", "reported_at"}
SMALL: list[Config] = [
    Ann(hidden1=16, hidden2=16, flip=True, schedule="cosine"),
    Cnn(conv1_channels=4, conv2_channels=4, dense_units=16, optimizer="sgd", momentum=0.9, learning_rate=0.02, shift=1),
]
LOST = Ann(learning_rate=1e30, batch_size=4)


class CutOffError(Exception):
    """The process is lost."""


@pytest.fixture(scope="module")
def some(training: Images) -> Split:
    """240 images to train on and 60 to validate."""
    return split(Images(training.images[:300], training.labels[:300]), seed=0)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, 5)


def run(
    config: Config,
    images: Split,
    checkpoints: Checkpoints | None = None,
    *,
    rows: Rows | None = None,
    cut_off: int | None = None,
    seed: int = 3,
) -> Rows:
    """Run a trial and return its reports, which are added to ``rows``; its process is lost in one of them."""
    rows = [] if rows is None else rows

    def report(row: dict[str, Any]) -> None:
        rows.append(row)
        if row["epoch"] == cut_off:
            raise CutOffError

    job = {"number": 5, "seed": seed, "max_epochs": EPOCH_COUNT, "config": config.model_dump()}
    run_trial(job, images, report, checkpoints=checkpoints)
    return rows


def timeless(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.mark.parametrize("config", SMALL)
def test_trial_reports_each_epoch_of_its_training(config: Config, some: Split) -> None:
    began, clock = time.time(), time.perf_counter()
    rows = run(config, some)
    elapsed, ended = time.perf_counter() - clock, time.time()
    precision = choose_precision(CPU)
    results: list[EpochResult] = []
    fit(
        config,
        to_device(some.train, CPU, precision),
        to_device(some.validation, CPU, precision),
        epochs=EPOCH_COUNT,
        horizon=EPOCH_COUNT,
        seed=3,
        on_epoch=lambda result, state: results.append(result),
    )
    where = {"node": platform.node(), "device": "cpu", "precision": precision, "diverged": False}
    assert timeless(rows) == timeless([result._asdict() | where for result in results])
    assert all(row.keys() == set(EPOCHS.names) - {"trial_id"} | where.keys() for row in rows)
    reported = [row["reported_at"] for row in rows]
    assert [began, *reported, ended] == sorted([began, *reported, ended])
    seconds = [row["train_seconds"] + row["eval_seconds"] + row["overhead_seconds"] for row in rows]
    assert all(min(row[name] for name in TIMES) >= 0 for row in rows)
    assert sum(seconds) <= elapsed


@pytest.mark.parametrize("losses", [(1,), (2,), (3,), (4,), (1, 2, 3, 4)])
@pytest.mark.parametrize("config", SMALL)
def test_trial_that_was_cut_off_goes_on(
    config: Config, losses: tuple[int, ...], some: Split, checkpoints: Checkpoints
) -> None:
    told: Rows = []
    for epoch in losses:
        rows: Rows = []
        with pytest.raises(CutOffError):
            run(config, some, checkpoints, rows=rows, cut_off=epoch)
        assert rows[: len(told)] == told, "what was told is told once more, its times too"
        told = rows
        assert [row["epoch"] for row in told] == list(range(1, epoch + 1))
    rows = run(config, some, checkpoints)
    assert rows[: len(told)] == told
    assert timeless(rows) == timeless(run(config, some))


def test_trial_that_was_cut_off_goes_on_before_a_damaged_checkpoint(
    some: Split, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(CutOffError):
        run(SMALL[0], some, checkpoints, cut_off=3)
    (tmp_path / "00005" / "epoch-00003.safetensors").write_bytes(b"")
    assert timeless(run(SMALL[0], some, checkpoints)) == timeless(run(SMALL[0], some))


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
    again: Rows = []
    assert forward_passes(lambda: run(config, some, checkpoints, rows=again)) == 0
    assert len(first) == epochs
    # In words: a NaN does not equal itself.
    assert repr(again) == repr(first)
    assert forward_passes(lambda: run(config, some)) > 0


def test_lost_loss_ends_a_trial(some: Split) -> None:
    (row,) = run(LOST, some)
    assert row["diverged"] is True
    assert not math.isfinite(row["train_loss"])


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
    rows = run(SMALL[0], some, Checkpoints(tmp_path / "file", 5))
    assert all(str(tmp_path / "file") in row.pop("unsaved") for row in rows)
    assert timeless(rows) == timeless(run(SMALL[0], some))


@pytest.mark.parametrize("threads", [1, 2])
def test_trial_takes_the_threads_it_is_given(threads: int, some: Split) -> None:
    taken: set[int] = set()
    job = {"number": 5, "seed": 3, "max_epochs": 1, "config": SMALL[0].model_dump()}
    run_trial(job, some, lambda row: taken.add(torch.get_num_threads()), threads=threads)
    assert taken == {threads}


def test_images_are_read_only(some: Split) -> None:
    train, validation = (Images(part.images.copy(), part.labels.copy()) for part in (some.train, some.validation))
    locked = Split(train=train, validation=validation, hash="another")
    for array in (*locked.train, *locked.validation):
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

    def report(row: dict[str, Any]) -> None:
        seen.append(("report", watching))

    noting = nn.modules.module.register_module_forward_hook(lambda *_: seen.append(("step", watching)))
    job = {"number": 5, "seed": 3, "max_epochs": EPOCH_COUNT, "config": SMALL[0].model_dump()}
    try:
        run_trial(job, some, report, timeout=3600)
    finally:
        noting.remove()
    assert set(seen) == {("report", False), ("step", True)}
    assert not watching


OVERDUE = """
from tune_fmnist.models.config import Ann
from tune_fmnist.data.fashion_mnist import locate, read_training, split
from tune_fmnist.trial import run_trial

images = split(read_training(locate(None)), seed=0)
job = {"number": 5, "seed": 3, "max_epochs": 1000, "config": Ann(batch_size=8).model_dump()}
run_trial(job, images, lambda row: print("reported"), timeout=0.05)
"""


def test_epoch_that_does_not_end_ends_its_process() -> None:
    done = subprocess.run([sys.executable, "-c", OVERDUE], capture_output=True, text=True, timeout=120, check=False)
    # 1, or a signal's number: this process moves on while its stack is read, which one that hangs does not.
    assert done.returncode != 0
    assert "reported" not in done.stdout
    assert "Timeout (0:00:00.050000)!" in done.stderr


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tune_fmnist.trial", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_trial_without_ray() -> None:
    values = ["learning_rate=3e-3", "schedule=cosine", "flip=true", "hidden1=32", "dropout= 0.5", 'optimizer="adam"']
    arguments = [text for value in values for text in ("--set", value)]
    arguments += ["--model", "ann", "--epochs", "2", "--limit-train", "1000"]
    done = command(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = (line for line in done.stdout.splitlines() if line.startswith("epoch"))
    assert first.split()[:4] == ["epoch", "1", "train", "loss"]
    assert second.split()[:4] == ["epoch", "2", "train", "loss"]
    said = " ".join(done.stdout.split())
    for value in ("learning_rate=0.003", "schedule='cosine'", "flip=True", "hidden1=32", "dropout=0.5"):
        assert value in said


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["hiden1=3"], "--set: hiden1: unknown parameter 'hiden1'; use one of batch_size, dropout"),
        (["conv1_channels=3"], "--set: conv1_channels: unknown parameter 'conv1_channels'"),
        (["=3"], "--set: '=3' names no parameter; write KEY=VALUE"),
        (["hidden1"], "--set: hidden1: '' is refused"),
        (["hidden1="], "--set: hidden1: '' is refused"),
        (["hidden1=0"], "--set: hidden1: 0 is refused"),
        (["hidden1=1.5"], "--set: hidden1: 1.5 is refused"),
        (["hidden1=[3]"], "--set: hidden1: [3] is refused"),
        (["learning_rate=fast"], "--set: learning_rate: 'fast' is refused"),
        (["learning_rate=nan"], "--set: learning_rate: nan is refused"),
        (["flip=yes"], "--set: flip: 'yes' is refused"),
        (["optimizer=rmsprop"], "--set: optimizer: 'rmsprop' is refused"),
        (["momentum=0.9"], "--set: momentum: 0.9 is refused"),
        (["hidden1=64", "hidden1=-1"], "--set: hidden1: -1 is refused"),
        (["hidden1=2\nhidden2"], "--set: hidden1: '2\\nhidden2' is refused"),
        (["hidden1=2\nhidden2=3"], "--set: hidden1: '2\\nhidden2=3' is refused"),
        (["model=cnn"], "--set: 'model=cnn' is no parameter; use --model"),
    ],
)
def test_bad_value_is_one_line(values: list[str], says: str) -> None:
    with pytest.raises(InputError) as raised:
        main("ann", set_=values)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_value_ends_with_status_2() -> None:
    done = command("--model", "ann", "--set", "learning_rte=3e-3")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --set: learning_rte: unknown parameter 'learning_rte'")
