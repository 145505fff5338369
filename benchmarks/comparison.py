"""The rows of ``benchmarks.compare`` as a table and a figure: ``python -m benchmarks.comparison``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure

from tune_fmnist.reporting.readme_table import write_between

EPOCH_COLUMNS: Final = ["trial", "epoch", "val_accuracy", "train_seconds", "eval_seconds", "at"]
OURS: Final = "tune_fmnist"
README: Final = Path(__file__).parent / "README.md"
MARKS: Final = ("<!-- bench -->", "<!-- /bench -->")
COLOURS: Final = {OURS: "#0072b2", "Ray Tune": "#d55e00", "Optuna": "#009e73", "Syne Tune": "#cc79a7"}
"""Okabe and Ito's, which colour-blind people tell apart."""


class Tables:
    """The two Parquet tables: one row per run of a contender, and one row per epoch that it reported.

    Args:
        folder: where they are.
        add: keep the rows that are there.
    """

    def __init__(self, folder: Path, *, add: bool) -> None:
        self._files = folder / "compare.parquet", folder / "compare_epochs.parquet"
        self._frames = [pd.read_parquet(file) if add and file.exists() else pd.DataFrame() for file in self._files]

    def add(self, row: dict[str, Any], epochs: pd.DataFrame) -> None:
        """Add a run and write both tables."""
        key = {name: row[name] for name in ("model", "contender", "seed", "began")}
        for place, new in enumerate((pd.DataFrame([row]), epochs.assign(**key))):
            self._frames[place] = pd.concat([self._frames[place], new], ignore_index=True)
            self._frames[place].to_parquet(self._files[place], index=False)


def summary(runs: pd.DataFrame, epochs: pd.DataFrame) -> list[dict[str, str]]:
    """Return one row of text per model and contender: medians over the runs, and the range where there are several."""
    rows = []
    for (model, contender), group in runs.groupby(["model", "contender"], sort=False):
        ours = runs[(runs["model"] == model) & (runs["contender"] == OURS)]
        rows.append(
            {
                "model": str(model).upper(),
                "": str(contender),
                "wall, s": _spread(group["seconds"], "{:.0f}") + _cut(group["cut"]),
                "trials": _spread(group["trials"], "{:.0f}"),
                "epochs": _spread(group["epochs"], "{:.0f}"),
                "epochs per second": _spread(group["epochs_per_second"], "{:.2f}"),
                "speed-up": ""
                if contender == OURS
                else _factor(ours["epochs_per_second"].median(), group["epochs_per_second"].median()),
                "trials per minute": _spread(group["trials_per_minute"], "{:.1f}"),
                "utilisation": _spread(group["utilisation"], "{:.2f}"),
                "while trials wait": _spread(group["utilisation_while_trials_wait"], "{:.2f}"),
                "best validation accuracy": _spread(group["best_val_accuracy"], "{:.4f}"),
                "at equal time": _spread(_at_equal_time(group, ours, epochs), "{:.4f}"),
                "peak memory, GB": _spread(group["peak_bytes"] / 1e9, "{:.1f}"),
            }
        )
    return rows


def _factor(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.1f}x" if math.isfinite(ours) else ""


def _cut(cut: pd.Series[bool]) -> str:
    if not cut.any():
        return ""
    return ", cut off" if cut.all() else f", {cut.sum()} of {len(cut)} cut off"


def _spread(values: pd.Series[Any], form: str) -> str:
    if values.empty:
        return ""
    middle, least, most = (form.format(value) for value in (values.median(), values.min(), values.max()))
    return middle if least == most else f"{middle} ({least} to {most})"


def _at_equal_time(group: pd.DataFrame, ours: pd.DataFrame, epochs: pd.DataFrame) -> pd.Series[Any]:
    """Return each run's best validation accuracy at the time when this project was done, or when it was cut off."""
    until = np.nanmin([ours["seconds"].median(), group["seconds"].median()])
    of = epochs.merge(group[["contender", "model", "began"]])
    best: pd.Series[Any] = of[of["at"] <= until].groupby("began")["val_accuracy"].max()
    return best


def markdown(rows: list[dict[str, str]]) -> str:
    """Return rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(runs: pd.DataFrame, epochs: pd.DataFrame, file: Path) -> None:
    """Draw each run's best validation accuracy so far against wall time, one panel per model."""
    models = list(runs["model"].unique())
    figure = Figure(figsize=(5.5 * len(models), 4), layout="constrained")
    for panel, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        for run in runs[runs["model"] == model].to_dict("records"):
            of = epochs[(epochs["began"] == run["began"]) & (epochs["contender"] == run["contender"])].sort_values("at")
            best = of["val_accuracy"].cummax().to_numpy()
            label = run["contender"] if run["seed"] == 0 else None
            times = [*of["at"], run["seconds"]]
            panel.step(
                times, [*best, best[-1]], where="post", color=COLOURS[run["contender"]], label=label, linewidth=1.5
            )
        panel.set(title=model.upper(), xlabel="wall time, s", ylabel="best validation accuracy so far")
        panel.grid(color="0.9")
        # What matters is at the top: the first epochs of a network lie far below.
        best_of_all = epochs.loc[epochs["model"] == model, "val_accuracy"].max()
        panel.set_ylim(best_of_all - 0.05, best_of_all + 0.004)
        panel.legend(frameon=False, loc="lower right")
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure.savefig(file, dpi=150)


def show(folder: Path) -> str:
    """Print the table, draw the figure, and return the table as Markdown."""
    runs = pd.read_parquet(folder / "compare.parquet")
    epochs = pd.read_parquet(folder / "compare_epochs.parquet")
    draw(runs, epochs, folder / "compare.png")
    table = markdown(summary(runs, epochs))
    print(table)
    facts = json.loads(runs["facts"].iloc[-1])
    print(json.dumps(facts, indent=2))
    return table


def main(
    folder: Annotated[Path, typer.Option(help="where the tables are")] = Path(__file__).parent / "results",
    into: Annotated[Path, typer.Option(help=f"write the table between {' and '.join(MARKS)} there")] = README,
) -> None:
    """Print the table, draw the figure of the comparison, and write the table into a text file."""
    write_between(into, MARKS, show(folder))


if __name__ == "__main__":
    typer.run(main)
