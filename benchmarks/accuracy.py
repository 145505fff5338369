"""Whether the fast path costs accuracy: ``python -m benchmarks.accuracy``.

The baselines are trained with each seed twice: by this project's loop in the precision that it chooses, and by a plain
loop of PyTorch's own layers, autograd and Adam in float32.  Split and epochs are the same, the figures are the
validation accuracies of the last epoch, and the differences are paired by seed.  A row is written after each training,
and what is there already is not trained again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from scipy import stats
from torch.nn import functional

from benchmarks.contenders.plain import build
from tune_fmnist import data
from tune_fmnist.models.config import Config, baseline
from tune_fmnist.training.device import DeviceImages, choose_precision, to_device
from tune_fmnist.training.fit import fit, score

CPU = torch.device("cpu")
EPOCHS = {"ann": 9, "cnn": 3}
FILE = Path(__file__).parent / "results" / "accuracy.parquet"

Loop = Callable[[Config, data.Split, int, int], float]


def fast(config: Config, split: data.Split, epochs: int, seed: int) -> float:
    precision = choose_precision(CPU)
    train, validation = (to_device(part, CPU, precision) for part in (split.train, split.validation))
    return fit(config, train, validation, epochs=epochs, horizon=epochs, seed=seed).last.val_accuracy


def plain(config: Config, split: data.Split, epochs: int, seed: int) -> float:
    """Train as most would, on images in memory."""
    torch.manual_seed(seed)
    train, validation = (to_device(part, CPU, "float32") for part in (split.train, split.validation))
    model = build(config)
    optimizer = torch.optim.Adam(model.parameters(), config.learning_rate)
    for _ in range(epochs):
        model.train()
        for batch in torch.split(torch.randperm(len(train.labels)), config.batch_size):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(train.images[batch]), train.labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()
    return _accuracy(model, validation)


def _accuracy(model: torch.nn.Module, validation: DeviceImages) -> float:
    with torch.inference_mode():
        logits = torch.cat([model(images) for images in torch.split(validation.images, 500)])
    return score(logits, validation.labels)[1]


LOOPS: dict[str, Loop] = {"fast": fast, "plain float32": plain}


def interval(differences: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the 95 % interval of a mean of paired differences, by Student's t."""
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return float(low), float(high)


def summary(rows: pd.DataFrame) -> str:
    lines = [
        "| model | images | epochs | seeds | fast | plain float32 | difference | 95 % interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (model, images, epochs), of in rows.groupby(["model", "images", "epochs"]):
        paired = of.pivot_table(index="seed", columns="loop", values="val_accuracy").dropna()
        if len(paired) < 2 or len(paired.columns) < 2:
            continue
        difference = (paired["fast"] - paired["plain float32"]).to_numpy()
        low, high = interval(difference)
        means = " | ".join(f"{100 * paired[loop].mean():.2f} ± {100 * paired[loop].std():.2f} %" for loop in LOOPS)
        lines.append(
            f"| {str(model).upper()} | {images:,.0f} | {epochs} | {len(paired)} | {means} "
            f"| {100 * difference.mean():+.2f} | {100 * low:+.2f} to {100 * high:+.2f} |"
        )
    return "\n".join(lines)


def main(
    model: Annotated[list[str] | None, typer.Option(help="ann or cnn; may be repeated [both]")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="how many")] = 5,
    epochs: Annotated[int | None, typer.Option(min=1, help="of each training [ann 9, cnn 3]")] = None,
    limit_train: Annotated[int | None, typer.Option(help="on this many images [all]")] = None,
    time_budget: Annotated[float | None, typer.Option(help="seconds after which no training begins")] = None,
    file: Annotated[Path, typer.Option(help="the table")] = FILE,
) -> None:
    """Train with the fast and with a plain loop, and compare their validation accuracies."""
    torch.set_num_threads(1)
    began = time.monotonic()
    rows = (
        pd.read_parquet(file) if file.exists() else pd.DataFrame(columns=["model", "images", "epochs", "seed", "loop"])
    )
    images = data.limited(data.locate().read_training(), limit_train, 0)
    split = data.split(images, 0)
    for seed in range(seeds):
        for name in model or list(EPOCHS):
            config: Config = baseline(name)
            length = epochs or EPOCHS[name]
            for loop, train in LOOPS.items():
                key = {"model": name, "epochs": length, "seed": seed, "loop": loop, "images": len(images.labels)}
                done = (rows[list(key)] == pd.Series(key)).all(axis=1).any()
                if done or (time_budget and time.monotonic() - began > time_budget):
                    continue
                started = time.perf_counter()
                accuracy = train(config, split, length, seed)
                seconds = time.perf_counter() - started
                precision = choose_precision(CPU) if loop == "fast" else "float32"
                row = {**key, "precision": precision, "val_accuracy": accuracy, "seconds": seconds}
                rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
                rows.to_parquet(file, index=False)
                print(row, flush=True)
    print(summary(rows))


if __name__ == "__main__":
    typer.run(main)
