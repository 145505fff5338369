"""One trial: a function that Ray Tune runs around ``fit``, and the same trial in this process, for a debugger."""

from __future__ import annotations

import faulthandler
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug
from tune_fmnist.data.fashion_mnist import Split
from tune_fmnist.models.config import config_id, to_config
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.folder import Folder

if TYPE_CHECKING:
    from tune_fmnist.training.fit import State

Report = Callable[[dict[str, Any]], None]

_resident: dict[tuple[str, str, str], Any] = {}
"""The images of the last trial on this device, in this process: the next trial most likely trains on the same."""


def run_trial(
    job: dict[str, Any],
    split: Split,
    report: Report,
    *,
    gpu: bool = False,
    threads: int = 1,
    checkpoints: Checkpoints | None = None,
    timeout: float | None = None,
) -> None:
    """Train the trial that ``job`` describes and report each epoch.

    A trial that was cut off goes on after its newest checkpoint, and reports the epochs before it once more: whoever
    knows them ignores them, and what was lost on the way is made good.

    Args:
        job: what ``OptunaSearcher.suggest`` gives: number, seed, max_epochs and config.
        split: training and validation images; not copied and not written to.
        report: called after each epoch with an epoch's columns, where it was computed, and ``diverged``; with
            ``unsaved``, the reason, if its checkpoint could not be written.
        gpu: whether to train on the GPU that this process sees.
        threads: processor threads for this trial.
        checkpoints: where the state after each epoch is kept; None keeps none.
        timeout: seconds after which an epoch that has not ended ends the process; None waits for ever.
    """
    import torch

    from tune_fmnist.training.fit import EpochResult, choose_precision, fit, to_device

    ready = time.perf_counter()
    saved = checkpoints.newest() if checkpoints else None
    history = saved.history if saved else []
    for row in history:
        report(row)
    after, epochs = len(history), job["max_epochs"]
    if history and (after == epochs or history[-1]["diverged"]):
        return
    torch.set_num_threads(threads)
    device = torch.device("cuda" if gpu else "cpu")
    precision = choose_precision(device)
    key = (split.hash, device.type, precision)
    if key not in _resident:
        _resident.clear()
        _resident[key] = tuple(to_device(part, device, precision) for part in (split.train, split.validation))
    train, validation = _resident[key]

    def on_epoch(result: EpochResult, state: State) -> None:
        nonlocal ready
        spent = time.perf_counter() - ready
        row = {
            **result._asdict(),
            "overhead_seconds": max(0.0, spent - result.train_seconds - result.eval_seconds),
            "reported_at": time.time(),
            "diverged": result.diverged,
            "node": platform.node(),
            "device": device.type,
            "precision": precision,
        }
        ready += spent
        history.append(row)
        unsaved = _save(checkpoints, state, history) if checkpoints else {}
        _watch(None)
        report(row | unsaved)
        _watch(timeout)

    _watch(timeout)
    try:
        fit(
            to_config(job["config"]),
            train,
            validation,
            epochs=epochs,
            horizon=epochs,
            seed=job["seed"],
            on_epoch=on_epoch,
            after=after,
            state=saved.tensors() if saved else None,
        )
    finally:
        _watch(None)


def _save(checkpoints: Checkpoints, state: State, history: list[dict[str, Any]]) -> dict[str, str]:
    """Write a checkpoint; return why it could not be written, which costs the trial nothing but the checkpoint."""
    try:
        checkpoints.save(state, history)
    except OSError as error:
        return {"unsaved": str(error)}
    return {}


def _watch(timeout: float | None) -> None:
    """End this process if it is not called again within ``timeout`` seconds, even if it hangs outside of Python."""
    if timeout is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        faulthandler.dump_traceback_later(timeout, exit=True)


def trainable(job: dict[str, Any], split: Split, checkpoints: Folder, timeout: float | None) -> None:
    """The function that Ray Tune runs: one call a trial, in a process that has run other trials before.

    Args:
        checkpoints: the folder with a folder for each trial's checkpoints, on a storage that every node reaches.
    """
    from ray import tune

    resources = tune.get_context().get_trial_resources().required_resources
    run_trial(
        job,
        split,
        tune.report,
        gpu=resources.get("GPU", 0) > 0,
        threads=max(1, int(resources.get("CPU", 1))),
        checkpoints=Checkpoints(checkpoints, job["number"], of=identity(job)),
        timeout=timeout,
    )


def identity(job: dict[str, Any]) -> str:
    """Return what tells a trial's checkpoints from those of another trial of that number.

    Nodes write checkpoints to the storage at once, and the study follows seconds later: a search whose head died draws
    its last numbers once more, with other configurations.
    """
    return f"{config_id(to_config(job['config']))}-{job['seed']}"


def main(
    model: Annotated[str, typer.Option(help="ann or cnn")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter; may be repeated")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="how long to train")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="seeds split, weights and order")] = 0,
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root")] = None,
    limit_train: Annotated[int | None, typer.Option(help="a quick look on this many training images")] = None,
    debug: Debug = False,
) -> None:
    """Run one trial in this process, without Ray: for a debugger or a quick look."""
    import tomllib

    from tune_fmnist.data import fashion_mnist as data
    from tune_fmnist.reporting import progress

    out = progress.console()
    values: dict[str, Any] = {"model": model}
    for text in set_ or []:
        key, _, value = text.partition("=")
        if not key:
            raise InputError(f"{text!r} names no parameter", key="--set", mend="write KEY=VALUE")
        if key == "model":
            raise InputError(f"{text!r} is no parameter", key="--set", mend="use --model")
        try:
            parsed = tomllib.loads(f"value = {value}")
            # More than one key: the text goes on after a line's end.
            values[key] = parsed["value"] if len(parsed) == 1 else value
        except (ValueError, RecursionError):
            # Beside its own error tomllib lets pass those of a number with too many digits and of too deep a nesting.
            values[key] = value
    config = to_config(values, file="--set")
    source = data.locate(data_root, out.print)
    split = data.split(data.limited(data.read_training(source), limit_train, seed), seed)
    out.print(f"{config}")

    import torch

    def show(row: dict[str, Any]) -> None:
        out.print(
            f"epoch {row['epoch']:>3}  train loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:.4f}  "
            f"validation loss {row['val_loss']:.4f}  accuracy {row['val_accuracy']:.4f}  "
            f"{row['train_seconds']:.1f} s" + ("  diverged" if row["diverged"] else "")
        )

    job = {"number": 0, "seed": seed, "max_epochs": epochs, "config": config.model_dump()}
    run_trial(job, split, show, gpu=torch.cuda.is_available(), threads=torch.get_num_threads())


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("trial")
