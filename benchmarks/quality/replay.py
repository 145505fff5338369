"""Search methods on a model of the recorded curves: ``python -m benchmarks.quality.replay run``, ``... merge``.

Every method searches the same worlds with the same seeds, many times, with the package's own searcher and scheduler on
a simulated clock.  What each search would hand to its retrain is scored by the truth that the world knows.

A cell (a family, a kind of world, a method, a number of trials and of slots) is published as a file of its own, so that
the command goes on where it was ended, and several processes share the work.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from filelock import FileLock, Timeout

from benchmarks.quality.curves import HERE, PLANS
from benchmarks.quality.methods import BUDGETS, METHODS, Method
from benchmarks.quality.simulate import Search
from benchmarks.quality.world import Kind, World
from tune_fmnist.base.files import publish

REPEATS: Final = 200
SLOTS: Final = 2
FIRST_SEED: Final = 1_000
"""Of the first repeat; the others follow."""

COLUMNS: Final = pa.schema(
    [
        pa.field(name, kind, False, {"description": words})
        for name, kind, words in (
            ("model", pa.string(), "family whose curves are modelled"),
            ("world", pa.string(), "gp or trees: the regression of the curves"),
            ("method", pa.string(), "as benchmarks/quality/methods.py has it"),
            ("trials", pa.int64(), "of the search, the baseline among them"),
            ("slots", pa.int64(), "trials at once"),
            ("seed", pa.int64(), "of the search: methods with one seed are paired"),
            ("epochs", pa.int64(), "trained so far, by all trials"),
            ("seconds", pa.float64(), "simulated, so far"),
            ("started", pa.int64(), "trials begun so far"),
            ("number", pa.int64(), "of the trial whose configuration ranks first"),
            (
                "truth",
                pa.float64(),
                "its expected accuracy at the last epoch, on images that no search sees",
            ),
            ("regret", pa.float64(), "how far below the best of the space that is"),
            ("last", pa.bool_(), "whether the search has ended with this row"),
            ("by_model", pa.int64(), "trials that a model proposed, in the whole search"),
        )
    ]
)
"""A row is a moment at which a trial has reached the last epoch, or the search its end."""


class Cell(NamedTuple):
    """Searches that differ in their seeds alone."""

    model: str
    world: Kind
    method: str
    trials: int
    slots: int

    @property
    def name(self) -> str:
        words = re.sub(r"[^a-z0-9]+", "-", self.method.lower()).strip("-")
        return f"{self.model}-{self.world}-{words}-{self.trials:03d}-{self.slots:02d}"


def replayed(cell: Cell, method: Method, world: World, best: float, repeats: int) -> pa.Table:
    """Return the rows of a cell's searches; ``best`` is the highest truth of the space."""
    rows: list[dict[str, Any]] = []
    for seed in range(FIRST_SEED, FIRST_SEED + repeats):
        search = Search(method, world, trials=cell.trials, slots=cell.slots, seed=seed)
        found = search.run()
        rows += [
            {
                **cell._asdict(),
                "seed": seed,
                **moment._asdict(),
                "regret": best - moment.truth,
                "last": moment is found[-1],
                "by_model": search.origins["model"],
            }
            for moment in found
        ]
    return pa.Table.from_pylist(rows, COLUMNS)


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_Models = Annotated[list[str] | None, typer.Option(help="ann or cnn; may be repeated [both]")]
_Folder = Annotated[Path, typer.Option(help="where each cell is kept")]


@app.command()
def run(
    model: _Models = None,
    method: Annotated[list[str] | None, typer.Option(help="of benchmarks/quality/methods.py [all]")] = None,
    trials: Annotated[list[int] | None, typer.Option(help="of a search [12, 20, 40, 100]")] = None,
    slots: Annotated[int, typer.Option(help="trials at once")] = SLOTS,
    repeats: Annotated[int, typer.Option(help="searches of a cell")] = REPEATS,
    world: Annotated[str, typer.Option(help="gp or trees: the regression of the curves")] = "gp",
    folder: _Folder = HERE / "replays",
) -> None:
    """Replay what is missing; several processes may do so at once, each with one thread."""
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    for name in model or list(PLANS):
        made = World.of(name, world)  # type: ignore[arg-type]
        best = made.best()
        for count, wanted in product(trials or BUDGETS, method or METHODS):
            cell = Cell(name, world, wanted, count, slots)  # type: ignore[arg-type]
            for file in _missing(folder, cell):
                of = METHODS[wanted]
                table = replayed(cell, of, made, float(best.average if of.averaged else best.weights), repeats)
                with publish(file) as partial:
                    pq.write_table(table, partial, compression="zstd")
                ends = table.filter(table["last"])["regret"].to_pandas()
                print(f"{cell.name}: median regret {ends.median() * 100:.2f} points", flush=True)


def _missing(folder: Path, cell: Cell) -> Iterator[Path]:
    """Give the file of a cell, if there is none yet and no other process is at it."""
    file, lock = folder / f"{cell.name}.parquet", FileLock(folder / f".{cell.name}.lock")
    if file.exists():
        return
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return
    try:
        if not file.exists():
            yield file
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


@app.command()
def merge(
    folder: _Folder = HERE / "replays",
    out: Annotated[Path, typer.Option(help="the table of all cells")] = HERE / "replays.parquet",
) -> None:
    """Make one table of all cells that have been replayed."""
    tables = [pq.read_table(path, schema=COLUMNS) for path in sorted(folder.glob("*.parquet"))]
    if not tables:
        raise SystemExit(f"{folder} has no replay: run some first")
    table = pa.concat_tables(tables)
    with publish(out) as partial:
        pq.write_table(table, partial, compression="zstd")
    print(f"{out}: {len(tables)} cells, {table.num_rows} rows, {out.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    app()
