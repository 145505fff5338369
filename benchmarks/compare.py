"""The same search by this project and by what a user would run instead: ``python -m benchmarks.compare``.

Each contender gets the same models, space, images, split, seed, slots, trials and longest trial, one after the other,
as a command of its own; the clock runs from its start to its end.  One that is not done at the limit is cut off, and
its epochs per second are those up to its last report.  Rows are written after each; ``benchmarks.comparison`` makes the
table and the figure.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
import torch
import typer

from benchmarks import comparison
from benchmarks.contenders.job import Job
from benchmarks.processes import Ran, run
from tune_fmnist import data
from tune_fmnist.base import provenance
from tune_fmnist.reporting.utilisation import utilisation_while_trials_wait
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.tuning.space_files import default_space

ROOT: Final = Path(__file__).resolve().parent.parent
SYNE: Final = "Syne Tune"
SYNE_TUNE: Final = ROOT / ".venv-bench" / "bin" / "python"
"""Syne Tune has an environment of its own, on top of this one: ``make bench`` makes it."""


@dataclass(frozen=True)
class Size:
    """How much: ``limit`` is seconds for one contender, ``images`` None for all."""

    trials: int
    max_epochs: int
    limit: float
    images: int | None = None


SIZES: Final = {"ann": Size(40, 9, 140), "cnn": Size(16, 9, 200)}
QUICK: Final = {"ann": Size(3, 3, 60, 2000), "cnn": Size(2, 2, 60, 1000)}

CONTENDERS: Final = {
    "tune_fmnist": [sys.executable, "-m", "tune_fmnist.search"],
    "Ray Tune": [sys.executable, "-m", "benchmarks.contenders.ray_tune"],
    "Optuna": [sys.executable, "-m", "benchmarks.contenders.optuna_alone"],
    SYNE: [str(SYNE_TUNE), "-m", "benchmarks.contenders.syne_tune_asha"],
}


def prepare(folder: Path, images: int | None, seed: int) -> tuple[Path, Path]:
    """Lay out a torchvision data root and the split that this project makes; return both places."""
    source = data.locate(say=lambda line: None)
    training = source.read_training()
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    # torchvision wants all four files, plain; nobody reads the test images.
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        part = training.images if "images" in name else training.labels
        shape = part.shape if name.startswith("train") else (1, *part.shape[1:])
        header = np.array([0x0800 + len(shape), *shape], ">u4").tobytes()
        (raw / f"{name}-ubyte").write_bytes(header + part[: shape[0]].tobytes())
    split = data.split(data.limited(training, images, seed), seed)
    # No two images are the same, so that an image's bytes say which one it is.
    places = {image.tobytes(): place for place, image in enumerate(training.images)}
    parts = {name: [places[i.tobytes()] for i in getattr(split, name).images] for name in ("train", "validation")}
    np.savez(folder / "split.npz", train=parts["train"], validation=parts["validation"])
    return folder, folder / "split.npz"


def compete(contender: str, job: Job, size: Size) -> tuple[dict[str, Any], pd.DataFrame]:
    """Run one contender; return its row and its epochs."""
    scratch = Path(job.scratch)
    log = scratch.parent / f"{scratch.name}.log"
    if contender == "tune_fmnist":
        command = [*CONTENDERS[contender], *own_options(job, size, torch.cuda.device_count())]
    else:
        job.write(scratch.parent / f"{scratch.name}.json")
        command = [*CONTENDERS[contender], str(scratch.parent / f"{scratch.name}.json")]
    variables = {"PYTHONPATH": python_path(), "SYNETUNE_FOLDER": str(scratch), "RAY_USAGE_STATS_ENABLED": "0"}
    ran = run(command, limit=size.limit, environment=variables, folder=scratch, log=log)
    if ran.exit_status and not ran.cut:
        raise RuntimeError(f"{contender} failed:\n{log.read_text(errors='replace')[-3000:]}")
    epochs = _own_epochs(scratch / "search") if contender == "tune_fmnist" else _noted(Path(job.events))
    epochs["at"] -= ran.started
    epochs = epochs[epochs["at"] <= ran.seconds]
    return _row(ran, epochs, job), epochs


def own_options(job: Job, size: Size, gpus: int) -> list[str]:
    """Return the options of this project's search; on a machine with GPUs its slots share them as Ray Tune's do."""
    options = {
        "--model": job.model, "--trials": job.trials, "--max-epochs": job.max_epochs, "--seed": job.seed,
        "--split-seed": job.seed,
        "--max-concurrent": job.slots, "--data-root": job.data_root, "--results-dir": job.scratch, "--name": "search",
    }  # fmt: skip
    if size.images:
        options["--limit-train"] = size.images
    if gpus:
        options["--gpus-per-trial"] = gpus / job.slots
    return ["--no-retrain", *(str(word) for pair in options.items() for word in pair)]


def python_path() -> str:
    """Return where a contender finds this project, and then what this process was told to search."""
    exported = os.environ.get("PYTHONPATH")
    # An empty part would stand for the folder in which a contender runs.
    return os.pathsep.join([str(ROOT), exported] if exported else [str(ROOT)])


def _own_epochs(folder: Path) -> pd.DataFrame:
    epochs = pd.read_parquet(SearchPaths(folder).epochs)
    epochs["at"] = epochs["reported_at"].map(pd.Timestamp.timestamp)
    return epochs.rename(columns={"trial_id": "trial"})[comparison.EPOCH_COLUMNS]


def _noted(events: Path) -> pd.DataFrame:
    rows = [json.loads(line) for line in events.read_text().splitlines()] if events.exists() else []
    return pd.DataFrame(rows, columns=comparison.EPOCH_COLUMNS)


def _row(ran: Ran, epochs: pd.DataFrame, job: Job) -> dict[str, Any]:
    # Whoever was cut off had epochs under way, which count neither as time nor as work.
    seconds = float(epochs["at"].max()) if ran.cut and len(epochs) else ran.seconds
    busy = epochs["train_seconds"] + epochs["eval_seconds"]
    starts = (epochs["at"] - busy)[epochs["epoch"] == 1]
    begun = epochs["trial"].nunique()
    trials = max(0, begun - job.slots) if ran.cut else begun
    return {
        "seconds": ran.seconds,
        "cut": ran.cut,
        "trials": trials,
        "epochs": len(epochs),
        "epochs_per_second": len(epochs) / seconds,
        "trials_per_minute": 60 * trials / seconds,
        "utilisation": busy.sum() / (job.slots * seconds),
        "utilisation_while_trials_wait": utilisation_while_trials_wait(starts, epochs["at"], busy, job.slots),
        "best_val_accuracy": epochs["val_accuracy"].max(),
        "first_report_seconds": epochs["at"].min(),
        "peak_bytes": ran.peak_bytes,
    }


def main(
    model: Annotated[list[str] | None, typer.Option(help="ann or cnn; may be repeated [both]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="a contender; may be repeated [all]")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="how often, each with another seed")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="a tiny size, to see that all of them run")] = False,
    limit: Annotated[float | None, typer.Option(help="seconds for one contender [ann 140, cnn 200]")] = None,
    slots: Annotated[int, typer.Option(min=1, help="trials at once")] = 2,
    add: Annotated[bool, typer.Option("--add", help="keep the rows that are there")] = False,
    out: Annotated[Path, typer.Option(help="where tables and figure go")] = ROOT / "benchmarks" / "results",
) -> None:
    """Compare this project with what a user would run instead."""
    # Whoever ends this command ends what it runs as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sizes = {name: size for name, size in (QUICK if quick else SIZES).items() if not model or name in model}
    out.mkdir(parents=True, exist_ok=True)
    table = comparison.Tables(out, add=add)
    facts = provenance.record()
    if not only or SYNE in only:
        facts["versions"]["syne-tune"] = _syne_tune_version()
    for repeat in range(repeats):
        for name, size in sizes.items():
            with tempfile.TemporaryDirectory(prefix="compare-") as folder:
                root, split = prepare(Path(folder) / "data", size.images, repeat)
                for place, contender in enumerate(only or CONTENDERS):
                    scratch = Path(folder) / str(place)
                    scratch.mkdir()
                    job = Job(
                        model=name,
                        trials=size.trials,
                        max_epochs=size.max_epochs,
                        slots=slots,
                        seed=repeat,
                        space=str(default_space(name)),
                        data_root=str(root),
                        split=str(split),
                        scratch=str(scratch),
                        events=str(scratch / "events.jsonl"),
                    )
                    began = datetime.now(UTC)
                    row, epochs = compete(contender, job, replace(size, limit=limit or size.limit))
                    of = {"model": name, "contender": contender, "seed": repeat, "began": began}
                    table.add({**of, **row, "facts": json.dumps(facts)}, epochs)
                    print(f"{name} {contender}: {row['epochs']} epochs in {row['seconds']:.0f} s", flush=True)
                    time.sleep(1)
    comparison.show(out)


def _syne_tune_version() -> str:
    found = [str(folder) for folder in (SYNE_TUNE.parent.parent / "lib").glob("*/site-packages/syne_tune-*.dist-info")]
    return found[0].rpartition("syne_tune-")[2].removesuffix(".dist-info") if found else version("syne-tune")


if __name__ == "__main__":
    typer.run(main)
