"""Do real searches bear the replays out?  ``python -m benchmarks.quality.reality run --first FOLDER``, ``... merge``.

The first edition, from a checkout of its own, and this one, by several methods, search the same space of the ANN on
the same images with the same seed, for real.  What each would retrain is then trained anew with fresh seeds; searches
of one seed are compared.  A search is published as a file of its own, so that the command goes on where it was ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from scipy import stats

from benchmarks.quality.curves import HERE
from benchmarks.quality.draw import DEFAULT, REFERENCE
from benchmarks.quality.replay import SLOTS
from tune_fmnist import data
from tune_fmnist.base.files import publish
from tune_fmnist.base.seeds import named_seeds
from tune_fmnist.models.config import Config, to_config
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.store.jobs import ConfirmationJob
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.tables import config_values
from tune_fmnist.training import tasks

FIRST: Final = "6c148b795e1c"
"""The commit of the first edition whose searches are in the study."""

OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    DEFAULT: (),
    "random, promotion 3": ("--searcher", "random"),
    "random, ASHA 3": ("--searcher", "random", "--scheduler", "asha"),
    "TPE, promotion 3": ("--searcher", "tpe"),
    "GP, none stopped": ("--scheduler", "fifo"),
}
"""The options that make this edition search by a method."""

SEEDS: Final = 3
"""Fresh trainings of what a search chose."""

COLUMNS: Final = pa.schema(
    [
        pa.field(name, kind, False, {"description": words})
        for name, kind, words in (
            ("method", pa.string(), "the first edition, or what this one was told"),
            ("seed", pa.int64(), "of the search and its split; searches of one seed are compared"),
            ("trials", pa.int64(), "of the search, the baseline among them"),
            ("epochs", pa.int64(), "of all its trials"),
            ("seconds", pa.float64(), "of all its trials, wall clock"),
            ("number", pa.int64(), "of the trial whose configuration it would retrain"),
            ("worth", pa.float64(), "mean score of that configuration, trained anew with fresh seeds"),
        )
    ]
)

_NAME: Final = "search"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_Folder = Annotated[Path, typer.Option(help="where each search is kept")]


@app.command()
def run(
    first: Annotated[Path, typer.Option(help=f"a checkout of {FIRST}")],
    method: Annotated[list[str] | None, typer.Option(help="of this edition; may be repeated [the default]")] = None,
    seeds: Annotated[int, typer.Option(help="searches of each")] = 10,
    trials: Annotated[int, typer.Option(help="of a search")] = 20,
    epochs: Annotated[int, typer.Option(help="of the longest trial")] = 27,
    limit_train: Annotated[int | None, typer.Option(help="images, to try this out [all]")] = None,
    folder: _Folder = HERE / "reality",
) -> None:
    """Search what is missing, one search after the other, with all processors."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {(row["method"], row["seed"]) for row in _published()}
    for seed, name in product(range(seeds), (REFERENCE, *(method or [DEFAULT]))):
        file = folder / f"{seed:02d}-{re.sub('[^a-z0-9]+', '-', name.lower())}.parquet"
        if file.exists() or (name, seed) in known:
            continue
        with tempfile.TemporaryDirectory() as made:
            checkout, options = (first, ()) if name == REFERENCE else (HERE.parents[1], OPTIONS[name])
            _search(checkout, options, Path(made), seed, trials, epochs, limit_train)
            row = {"method": name, "seed": seed, **_chosen(Path(made) / _NAME, seed, limit_train)}
        with publish(file) as partial_file:
            pq.write_table(pa.Table.from_pylist([row], COLUMNS), partial_file, compression="zstd")
        print(f"seed {seed}: {name} {row['worth'] * 100:.2f} % in {row['epochs']} epochs", flush=True)


def _published(file: Path = HERE / "reality.parquet") -> list[dict[str, Any]]:
    return pq.read_table(file).to_pylist() if file.exists() else []


def _search(
    checkout: Path, told: tuple[str, ...], made: Path, seed: int, trials: int, epochs: int, limit: int | None
) -> None:
    """Run a search with the code of a checkout; of the first edition the seed decides the split as well."""
    options = {"space": HERE / "ann.toml", "trials": trials, "max-epochs": epochs, "seed": seed}
    options |= {"results-dir": made, "name": _NAME}
    if limit is not None:
        options["limit-train"] = limit
    if checkout == HERE.parents[1]:
        options["split-seed"] = seed
    given = [word for key, value in options.items() for word in (f"--{key}", str(value))] + [*told]
    command = [sys.executable, "-m", "tune_fmnist.search", "--model", "ann", "--no-retrain", *given]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)


def _chosen(folder: Path, seed: int, limit: int | None) -> dict[str, Any]:
    """Return what a search would retrain, and what that is worth."""
    results = Results(SearchPaths(folder))
    # The first edition ranked by the best epoch of any trial.
    rows = results.ranked if results.record.scored_epochs else results.ranked.sort_values("best_val_accuracy")[::-1]
    best = rows_of(rows)[0]
    config = to_config(config_values({key: value for key, value in best.items() if not pd.isna(value)}))
    seeds = named_seeds(seed, "reality", SEEDS)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        scores = list(pool.map(partial(_score, config, results.record.max_epochs, seed, limit), seeds))
    return {
        "trials": len(results.trials),
        "epochs": len(results.epochs),
        "seconds": results.record.search_seconds,
        "number": best["number"],
        "worth": float(np.mean(scores)),
    }


def _score(config: Config, epochs: int, split_seed: int, limit: int | None, seed: int) -> float:
    """Return the score of a training with a fresh seed, on the images that the search validated on."""
    images = data.limited(data.locate().read_training(), limit, split_seed)
    job = ConfirmationJob(number=0, config=config, seed=seed, epochs=epochs, expected_seconds=0.0)
    return tasks.confirm(job, data.split(images, split_seed), gpu=False, threads=1).score


@app.command()
def merge(
    folder: _Folder = HERE / "reality",
    out: Annotated[Path, typer.Option(help="the table of all pairs")] = HERE / "reality.parquet",
    replays: Annotated[Path, typer.Option(help="what the replays predict")] = HERE / "replays.parquet",
) -> None:
    """Add the searches to the table of all, and say whether what the replays predict lies within their interval."""
    parts = [pq.read_table(path, schema=COLUMNS).to_pylist() for path in sorted(folder.glob("*.parquet"))]
    found = {(row["seed"], row["method"]): row for row in chain(_published(out), *parts)}
    table = pa.Table.from_pylist([found[key] for key in sorted(found)], COLUMNS)
    with publish(out) as partial_file:
        pq.write_table(table, partial_file, compression="zstd")
    rows, ends = table.to_pandas(), pd.read_parquet(replays)
    for name in OPTIONS:
        if len(rows[rows["method"] == name]) > 1:
            print(told(rows, name, predicted(ends, name, int(rows["trials"].max()))))


def predicted(replays: pd.DataFrame, method: str, trials: int) -> float | None:
    """Return by how much a method's choice is better than the first edition's in the replays, a fraction.

    Like that of the real pairs it is the mean over the seeds that both have; None where it has not been replayed.
    """
    ends = replays[replays["last"] & (replays["model"] == "ann") & (replays["trials"] == trials)]
    ends = ends[(ends["world"] == "gp") & (ends["slots"] == SLOTS)]
    pairs = ends.pivot(index="seed", columns="method", values="truth")
    return float((pairs[method] - pairs[REFERENCE]).mean()) if method in pairs else None


def told(rows: pd.DataFrame, method: str, expected: float | None) -> str:
    """Return in a sentence what the pairs say, and whether ``expected`` lies within their 95 % interval.

    There are two pairs at least.
    """
    pairs = rows.pivot(index="seed", columns="method", values="worth")[[method, REFERENCE]].dropna()
    gained = (pairs[method] - pairs[REFERENCE]).to_numpy()
    low, high = stats.t.interval(0.95, len(gained) - 1, gained.mean(), stats.sem(gained))
    said = (
        f"{len(gained)} pairs: the choice of {method} is worth {gained.mean() * 100:+.2f} points more than that of the "
        f"{REFERENCE} (95 % interval {low * 100:.2f} to {high * 100:.2f})"
    )
    if expected is None:
        return f"{said}."
    within = "within" if low <= expected <= high else "outside"
    return f"{said}; predicted {expected * 100:+.2f}, which lies {within}."


if __name__ == "__main__":
    app()
