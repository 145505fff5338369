"""Whole learning curves, recorded: ``python -m benchmarks.quality.record curves``, then ``... merge``.

Configurations of a space are trained to their end by the project's own ``fit``, nothing stopped.  After every epoch the
model is scored as trained and with an exponential moving average of its weights, on two halves of the validation
images: ``seen`` is what a search would see, ``held`` only scores what it chose.  The test images are not looked at.

A curve is published as a Parquet file of its own, so that the command goes on where it was ended, and several processes
share the work.  What ``curves_ann.parquet`` and ``curves_cnn.parquet`` have is not recorded again.  The order of the
configurations is fixed and any beginning of it is a fair sample of the space.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import typer
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.quality.curves import HERE, PLANS, SPLIT_SEED, Curve, curves, curves_at_bounds, space_of
from benchmarks.quality.dataset import SCHEMA_VERSION, merged, published_in, schema
from tune_fmnist import data
from tune_fmnist.base import provenance
from tune_fmnist.base.files import publish
from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.models.config import Config, config_id
from tune_fmnist.store.tables import config_columns, to_table
from tune_fmnist.training import fit as training
from tune_fmnist.training.device import DeviceImages, choose_precision, to_device
from tune_fmnist.training.fit import EpochMetrics, State, predict, score
from tune_fmnist.training.optimizer import Optimizer, share_of_average
from tune_fmnist.tuning.space_files import to_json

CPU: Final = torch.device("cpu")

DECAY: Final = 0.998
"""How much of the average a step of 64 images keeps; a larger batch keeps less, so that as many images count."""


class Halves(NamedTuple):
    """The images: ``train`` (48,000), and ``validation`` (12,000), of which the first half is seen, the other held.

    ``split_hash`` says which images are in training and validation, ``halves_hash`` (16 hexadecimal digits) which are
    in the halves, and in which order.
    """

    train: DeviceImages
    validation: DeviceImages
    split_hash: str
    halves_hash: str


def load_halves(data_root: Path | None, limit: int | None = None) -> Halves:
    """Read, split and halve the images, ready to train on with this processor; ``limit`` takes so many of them."""
    images = data.limited(data.locate(data_root=data_root).read_training(), limit, SPLIT_SEED)
    split = data.split(images, SPLIT_SEED)
    order = halved(split.validation.labels)
    validation = data.Images(split.validation.images[order], split.validation.labels[order], 10)
    digest = hashlib.sha256(validation.images.tobytes() + validation.labels.tobytes()).hexdigest()[:16]
    precision = choose_precision(CPU)
    return Halves(to_device(split.train, CPU, precision), to_device(validation, CPU, precision), split.hash, digest)


def halved(labels: NDArray[Any]) -> NDArray[np.intp]:
    """Return places (n,) of images with these labels, drawn so that each half of them has half of each class.

    Where a class has an odd number of images, the halves differ by one image of it.
    """
    keys = np.random.PCG64(np.random.SeedSequence(SPLIT_SEED, spawn_key=(2,))).random_raw(len(labels))
    by_class = np.lexsort((keys, labels))
    return np.concatenate([by_class[0::2], by_class[1::2]])


class AveragedWeights(Optimizer):
    """Weights whose moving average is taken after each step, whatever the configuration says.

    Attributes:
        decay: how much of the average a step keeps, in (0, 1).
        seconds: processor time that the averaging has taken so far.
    """

    def __init__(self, model: nn.Module, config: Config, dtype: torch.dtype) -> None:
        super().__init__(model, config, dtype, averaged=True)
        self.model = model
        self.decay = decay(config)
        self.seconds = 0.0
        self._taken = 0

    def average(self, share: float | Tensor) -> None:
        began = time.process_time()
        self._taken += 1
        super().average(share_of_average(self.decay, self._taken))
        self.seconds += time.process_time() - began


def decay(config: Config) -> float:
    """Return how much of the average a step of this configuration's batch size keeps."""
    return float(DECAY ** (config.batch_size / 64))


class _Recorder:
    """What happens around a training: its weights are averaged, and each epoch becomes a row of its table."""

    def __init__(self, curve: Curve, validation: DeviceImages) -> None:
        self._curve, self._validation = curve, validation
        self.rows: list[dict[str, Any]] = []
        self._columns = frozenset(schema(curve.config.model).names)  # type: ignore[arg-type]
        self._weights: AveragedWeights | None = None
        self._began = self._averaged = 0.0

    def make_weights(self, model: nn.Module, config: Config, dtype: torch.dtype) -> AveragedWeights:
        self._weights = AveragedWeights(model, config, dtype)
        self._began = time.process_time()
        return self._weights

    def on_epoch(self, result: EpochMetrics, state: State) -> None:
        trained = time.process_time()
        weights, curve = self._weights, self._curve
        assert weights is not None
        as_trained = self._scores(weights.model, "")
        evaluated = time.process_time()
        with weights.averaged():
            of_average = self._scores(weights.model, "average_")
        averaging = weights.seconds - self._averaged
        self.rows.append(
            {
                "number": curve.number,
                "repeat": curve.repeat,
                "seed": curve.seed,
                "horizon": curve.horizon,
                "config_id": config_id(curve.config),
                "parameters": sum(parameter.numel() for parameter in weights.model.parameters()),
                "average_decay": weights.decay,
                "epoch": result.epoch,
                "train_loss": result.train_loss,
                "train_accuracy": result.train_accuracy,
                "learning_rate": result.learning_rate,
                "diverged": result.diverged,
                **as_trained,
                **of_average,
                "train_seconds": trained - self._began - averaging,
                "average_seconds": averaging,
                "eval_seconds": evaluated - trained,
                **{key: value for key, value in config_columns(curve.config).items() if key in self._columns},
            }
        )
        self._averaged = weights.seconds
        self._began = time.process_time()

    def _scores(self, model: nn.Module, prefix: str) -> dict[str, float]:
        logits, labels = predict(model, self._validation), self._validation.labels
        half = (len(labels) + 1) // 2
        scores: dict[str, float] = {}
        for name, part in (("seen", slice(None, half)), ("held", slice(half, None))):
            loss, accuracy = score(logits[part], labels[part])
            scores |= {f"{prefix}{name}_loss": loss, f"{prefix}{name}_accuracy": accuracy}
        return scores


def record(curve: Curve, halves: Halves) -> pa.Table:
    """Train a curve to its end; return its table, a row per epoch.

    The training is ``fit``'s own.  Only the class that holds its weights is exchanged for one that also averages them.
    """
    recorder = _Recorder(curve, halves.validation)
    with mock.patch.object(training, "Optimizer", recorder.make_weights):
        training.fit(
            curve.config,
            halves.train,
            None,
            epochs=curve.horizon,
            horizon=curve.horizon,
            seed=curve.seed,
            on_epoch=recorder.on_epoch,
        )
    return to_table(recorder.rows, schema(curve.config.model))  # type: ignore[arg-type]


def facts(model: ModelName, halves: Halves) -> dict[str, Any]:
    """Return what a curve depends on, and what it was computed with."""
    recorded = provenance.record()
    recorded["versions"]["scipy"] = version("scipy")
    return {
        "schema_version": SCHEMA_VERSION,
        "split_hash": halves.split_hash,
        "halves_hash": halves.halves_hash,
        "space": to_json(space_of(model)),
        "precision": choose_precision(CPU),
        "threads": torch.get_num_threads(),
        **recorded,
    }


def published(model: ModelName, folder: Path = HERE) -> Path:
    """Return the file of a family's published curves."""
    return folder / f"curves_{model}.parquet"


def record_missing(order: list[Curve], halves: Halves, folder: Path, say: Callable[[str], None]) -> None:
    """Record the curves of ``order`` that ``folder`` does not have and that no other process is recording."""
    about = {model: json.dumps(facts(model, halves)) for model in {curve.config.model for curve in order}}  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    for curve in order:
        part = folder / f"{curve.name}.parquet"
        lock = FileLock(folder / f".{curve.name}.lock")
        if part.exists():
            continue
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            if part.exists():
                continue
            began = time.process_time(), time.perf_counter()
            table = record(curve, halves)
            with publish(part) as partial_file:
                stamped = table.replace_schema_metadata({"facts": about[curve.config.model]})
                pq.write_table(stamped, partial_file, compression="zstd")
            last = table.slice(table.num_rows - 1).to_pylist()[0]
            say(
                f"{curve.name}: seen {last['seen_accuracy']:.4f}, averaged {last['average_seen_accuracy']:.4f}, "
                f"{time.process_time() - began[0]:.1f} s of processor time in {time.perf_counter() - began[1]:.1f} s"
            )
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_Folder = Annotated[Path, typer.Option(help="where each finished curve is kept")]
_Models = Annotated[list[str] | None, typer.Option(help="ann or cnn; may be repeated, the first comes first [both]")]


@app.command("curves")
def record_curves(
    model: _Models = None,
    configurations: Annotated[int | None, typer.Option(min=1, max=4096, help="how many [ann 512, cnn 128]")] = None,
    at_bounds: Annotated[int | None, typer.Option(min=0, help="besides, at bounds [ann 96, cnn 32]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="of each curve [ann 27, cnn 9]")] = None,
    limit_train: Annotated[int | None, typer.Option(help="only so many images, to see that it runs [all]")] = None,
    data_root: Annotated[Path | None, typer.Option(help="where the images are [found or fetched]")] = None,
    folder: _Folder = HERE / "parts",
) -> None:
    """Record the curves that are missing; several processes may do so at once, each with one thread."""
    torch.set_num_threads(1)
    order: list[Curve] = []
    for name in model or list(PLANS):
        plan = PLANS[name]  # type: ignore[index]
        horizon = epochs or plan.epochs
        wanted = curves(name, configurations or plan.configurations, horizon)  # type: ignore[arg-type]
        wanted += curves_at_bounds(name, plan.at_bounds if at_bounds is None else at_bounds, horizon)  # type: ignore[arg-type]
        known = published_in(published(name))  # type: ignore[arg-type]
        order += [curve for curve in wanted if (curve.number, curve.repeat, curve.horizon) not in known]
    record_missing(order, load_halves(data_root, limit_train), folder, partial(print, flush=True))


@app.command("merge")
def merge(
    model: _Models = None,
    folder: _Folder = HERE / "parts",
    out: Annotated[Path, typer.Option(help="where curves_ann.parquet and curves_cnn.parquet go")] = HERE,
) -> None:
    """Make one table of each family's curves; ending the recording is not necessary."""
    for name in model or list(PLANS):
        file = published(name, out)  # type: ignore[arg-type]
        table = merged(name, folder, file)  # type: ignore[arg-type]
        with publish(file) as partial_file:
            pq.write_table(table, partial_file, compression="zstd")
        of = table.select(["number", "repeat", "horizon"]).group_by(["number", "repeat", "horizon"]).aggregate([])
        configurations, size = len(set(of["number"].to_pylist())), math.ceil(file.stat().st_size / 1024)
        print(f"{file}: {of.num_rows} curves of {configurations} configurations, {table.num_rows} epochs, {size} KiB")


if __name__ == "__main__":
    app()
