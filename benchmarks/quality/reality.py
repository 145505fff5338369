"""Do real searches bear the replays out?  ``python -m benchmarks.quality.reality run --first FOLDER``, ``... merge``.

The first edition, from a checkout of its own, and this one search the same space of the ANN on the same images with the
same seed, for real.  What each would retrain is then trained anew with fresh seeds; pairs of searches are compared.  A
pair is published as a file of its own, so that the command goes on where it was ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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

SEEDS: Final = 3
"""Fresh trainings of what a search chose."""

COLUMNS: Final = pa.schema(
    [
        pa.field(name, kind, False, {"description": words})
        for name, kind, words in (
            ("method", pa.string(), "as benchmarks/quality/methods.py has it"),
            ("seed", pa.int64(), "of the search and its split; searches of one seed are a pair"),
            ("trials", pa.int64(), "of the search, the baseline among them"),
            ("epochs", pa.int64(), "of all its trials"),
            ("seconds", pa.float64(), "of all its trials, wall clock"),
            ("number", pa.int64(), "of the trial whose configuration it would retrain"),
            ("worth", pa.float64(), "mean score of that configuration, trained anew with fresh seeds"),
        )
    ]
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_Folder = Annotated[Path, typer.Option(help="where each pair is kept")]


@app.command()
def run(
    first: Annotated[Path, typer.Option(help=f"a checkout of {FIRST}")],
    pairs: Annotated[int, typer.Option(help="how many")] = 10,
    trials: Annotated[int, typer.Option(help="of a search")] = 20,
    epochs: Annotated[int, typer.Option(help="of the longest trial")] = 27,
    limit_train: Annotated[int | None, typer.Option(help="images, to try this out [all]")] = None,
    folder: _Folder = HERE / "reality",
) -> None:
    """Search what is missing, one search after the other, with all processors."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(pairs):
        file = folder / f"{seed:02d}.parquet"
        if file.exists():
            continue
        with tempfile.TemporaryDirectory() as made:
            rows = []
            for method, checkout in ((REFERENCE, first), (DEFAULT, HERE.parents[1])):
                name = method.split(",")[0].replace(" ", "-").lower()
                _search(checkout, Path(made), name, seed, trials, epochs, limit_train)
                rows.append({"method": method, "seed": seed, **_chosen(Path(made) / name, seed, limit_train)})
            with publish(file) as partial:
                pq.write_table(pa.Table.from_pylist(rows, COLUMNS), partial, compression="zstd")
        worths = ", ".join(f"{row['method']} {row['worth'] * 100:.2f} % in {row['epochs']} epochs" for row in rows)
        print(f"seed {seed}: {worths}", flush=True)


def _search(checkout: Path, made: Path, name: str, seed: int, trials: int, epochs: int, limit: int | None) -> None:
    """Run a search with the code of a checkout; of the first edition the seed decides the split as well."""
    options = {"space": HERE / "ann.toml", "trials": trials, "max-epochs": epochs, "seed": seed}
    options |= {"results-dir": made, "name": name}
    if limit is not None:
        options["limit-train"] = limit
    if checkout == HERE.parents[1]:
        options["split-seed"] = seed
    given = [word for key, value in options.items() for word in (f"--{key}", str(value))]
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
    """Make one table of all pairs, and say whether what the replays predict lies within their interval."""
    tables = [pq.read_table(path, schema=COLUMNS) for path in sorted(folder.glob("*.parquet"))]
    if not tables:
        raise SystemExit(f"{folder} has no pair: run some first")
    table = pa.concat_tables(tables)
    with publish(out) as partial:
        pq.write_table(table, partial, compression="zstd")
    rows = table.to_pandas()
    if rows["seed"].nunique() < 2:
        raise SystemExit(f"{folder} has one pair: run more first")
    print(told(rows, predicted(pd.read_parquet(replays), int(rows["trials"].max()))))


def predicted(replays: pd.DataFrame, trials: int) -> float:
    """Return by how much the default's choice is better than the first edition's in the replays, a fraction.

    Like that of the real pairs it is the mean over the seeds that both have.
    """
    ends = replays[replays["last"] & (replays["model"] == "ann") & (replays["trials"] == trials)]
    ends = ends[(ends["world"] == "gp") & (ends["slots"] == SLOTS)]
    pairs = ends.pivot(index="seed", columns="method", values="truth")
    return float((pairs[DEFAULT] - pairs[REFERENCE]).mean())


def told(rows: pd.DataFrame, expected: float) -> str:
    """Return in a sentence what the pairs say, and whether ``expected`` lies within their 95 % interval.

    There are two pairs at least.
    """
    pairs = rows.pivot(index="seed", columns="method", values="worth")
    gained = (pairs[DEFAULT] - pairs[REFERENCE]).to_numpy()
    low, high = stats.t.interval(0.95, len(gained) - 1, gained.mean(), stats.sem(gained))
    return (
        f"{len(gained)} pairs: the default's choice is {gained.mean() * 100:+.2f} points better (95 % interval "
        f"{low * 100:.2f} to {high * 100:.2f}); predicted {expected * 100:+.2f}, which lies "
        f"{'within' if low <= expected <= high else 'outside'}."
    )


if __name__ == "__main__":
    app()
