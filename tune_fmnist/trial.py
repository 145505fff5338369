"""``python -m tune_fmnist.trial``: one trial in this process, without Ray, for a debugger or a quick look."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tune_fmnist import data
from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug
from tune_fmnist.models.config import to_config
from tune_fmnist.models.own import named
from tune_fmnist.reporting.screen import console
from tune_fmnist.runtime.worker import run_trial
from tune_fmnist.store.jobs import EpochResult, TrialJob

EXAMPLES: Final = """\
--model cnn --set learning_rate=3e-3 --epochs 5
--model ann --limit-train 6000"""
"""What may be typed after the command, one example per line."""


def main(
    model: Annotated[str, typer.Option(help="ann, cnn, or MODULE:CLASS of your own")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a parameter; may be repeated")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="how long to train")] = 3,
    dataset: Annotated[
        str, typer.Option(help="mnist, kmnist, FOLDER or MODULE:FUNCTION of your own")
    ] = FASHION_MNIST.name,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="of weights, order and dropout")] = 0,
    split_seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="of the split, and of --limit-train's images")
    ] = 0,
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root [found or fetched]")] = None,
    limit_train: Annotated[int | None, typer.Option(help="use only so many images, for a quick look")] = None,
    debug: Debug = False,
) -> None:
    """Run one trial in this process, without Ray: for a debugger or a quick look."""
    out = console()
    named(model)
    config = to_config({"model": model, **parameters(set_ or [])}, file="--set")
    source = data.locate(dataset, data_root, console(stderr=True).print)
    split = data.split(data.limited(source.read_training(), limit_train, split_seed), split_seed)
    out.print(f"{config}")
    # Torch takes two seconds to import: a mistake is told before.
    import torch

    def show(result: EpochResult) -> None:
        out.print(
            f"epoch {result.epoch:>3}  train loss {result.train_loss:.4f}  accuracy {result.train_accuracy:.4f}  "
            f"validation loss {result.val_loss:.4f}  accuracy {result.val_accuracy:.4f}  "
            f"{result.train_seconds:.1f} s" + ("  diverged" if result.diverged else "")
        )

    job = TrialJob(number=0, seed=seed, config=config, max_epochs=epochs)
    run_trial(job, split, show, gpu=torch.cuda.is_available(), threads=torch.get_num_threads())


def parameters(texts: list[str]) -> dict[str, Any]:
    """Return the values of ``KEY=VALUE`` texts; a value that is not TOML is a string.

    Raises:
        InputError: a text has no key, or the key is none of a parameter.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InputError(f"{text!r} names no parameter", key="--set", hint="write KEY=VALUE")
        if key == "model":
            raise InputError(f"{text!r} is no parameter", key="--set", hint="use --model")
        try:
            parsed = tomllib.loads(f"value = {value}")
            # More than one key: the text goes on after a line's end.
            values[key] = parsed["value"] if len(parsed) == 1 else value
        except (ValueError, RecursionError):
            # Beside its own error tomllib lets pass those of a number with too many digits and of too deep a nesting.
            values[key] = value
    return values


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("trial")
