"""What curves and replays show, as tables in README.md and two pictures: ``python -m benchmarks.quality.draw``.

Everything is computed from the published Parquet files beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from benchmarks.quality.curves import AT_BOUNDS, HERE, PLANS, space_of
from benchmarks.quality.methods import METHODS
from benchmarks.quality.world import SERIES, Kind, held_out, read_recorded
from tune_fmnist.base.files import publish
from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.reporting.readme_table import write_between
from tune_fmnist.reporting.statistics import holm
from tune_fmnist.reporting.wording import p_text

REFERENCE: Final = "first edition"
RESAMPLES: Final = 2_000
JUDGES: Final = {
    "the last epoch": ("seen_accuracy", 1),
    "the mean of the last three": ("seen_accuracy", SCORED_EPOCHS),
    "the best epoch so far": ("seen_accuracy", 0),
    "the averaged weights": ("average_seen_accuracy", 1),
}
"""What a rung may judge by: a column of the curves, and the epochs over which it is the mean; 0 is the maximum."""

DEFAULT: Final = "GP, promotion 3"
RANDOM: Final = ("random, ASHA 1", "random, ASHA 3")

SHOWN: Final = 20
SHOWN_METHODS: Final = (REFERENCE, *RANDOM, "TPE, ASHA 3", "GP, ASHA 3", DEFAULT)
"""What the picture of the regret shows: searches of so many trials by these methods."""

_TRIMMED: Final = 0.25
"""Share that an interquartile mean leaves out at each end."""


class Standing(NamedTuple):
    """How a method does with a number of trials.

    Regrets are accuracies (fractions) below the best of the space: their interquartile mean over the repeats with its
    95 % interval.  ``better`` is the share of repeats in which the method beats the reference, ties counted half, and
    ``p_value`` that of Wilcoxon's signed-rank test against it, before any correction.  ``epochs`` is a median.
    """

    method: str
    trials: int
    repeats: int
    regret: float
    low: float
    high: float
    better: float
    p_value: float
    epochs: float


def interquartile_mean(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Return the mean of the middle half of values along an axis."""
    return np.asarray(stats.trim_mean(values, _TRIMMED, axis=axis), dtype=np.float64)


def with_known_best(replays: pd.DataFrame) -> pd.DataFrame:
    """Return replays whose regrets are from the best truth that is known.

    The worlds' best are those of many draws from the space, and a search may find better: then that is the best.
    """
    best = (replays["truth"] + replays["regret"]).round(9)
    groups = replays.assign(best=best).groupby(["model", "world", "best"])["truth"]
    return replays.assign(regret=np.maximum(best, groups.transform("max")) - replays["truth"])


def standings(replays: pd.DataFrame) -> list[Standing]:
    """Return how each method stands at each number of trials; ``replays`` are of one family, world and slots."""
    ends = replays[replays["last"]]
    found = []
    for trials in sorted(int(count) for count in ends["trials"].unique()):
        budget = ends[ends["trials"] == trials]
        reference = budget[budget["method"] == REFERENCE].set_index("seed")["regret"]
        for method in (name for name in METHODS if name in set(budget["method"])):
            own = budget[budget["method"] == method].set_index("seed")
            shared = own.index.intersection(reference.index)
            difference = (reference[shared] - own.loc[shared, "regret"]).to_numpy()
            regrets = own["regret"].to_numpy()
            interval = stats.bootstrap(
                (regrets,), interquartile_mean, n_resamples=RESAMPLES, rng=0, method="percentile"
            ).confidence_interval
            tested = method != REFERENCE and bool(np.any(difference != 0))
            found.append(
                Standing(
                    method=method,
                    trials=trials,
                    repeats=len(own),
                    regret=float(interquartile_mean(regrets)),
                    low=float(interval.low),
                    high=float(interval.high),
                    better=float(np.mean((difference > 0) + 0.5 * (difference == 0))),
                    p_value=float(stats.wilcoxon(difference).pvalue) if tested else 1.0,
                    epochs=float(own["epochs"].median()),
                )
            )
    return found


def methods_table(found: list[Standing]) -> str:
    """Return a Markdown table: a row per method, for each number of trials its regret in points and its epochs."""
    budgets = sorted({standing.trials for standing in found})
    corrected = holm([standing.p_value for standing in found])
    cells = {
        (standing.method, standing.trials): (
            f"{standing.regret * 100:.2f} ({standing.low * 100:.2f} to {standing.high * 100:.2f})"
            f"{'*' if p < 0.05 else ''}, {standing.better:.0%}, {standing.epochs:.0f} epochs, n {standing.repeats}"
        )
        for standing, p in zip(found, corrected, strict=True)
    }
    rows = [["method", *(f"{trials} trials" for trials in budgets)], ["---"] * (len(budgets) + 1)]
    methods = dict.fromkeys(standing.method for standing in found)
    rows += [[method, *(cells.get((method, trials), "") for trials in budgets)] for method in methods]
    return _markdown(rows)


def answers_table(replays: pd.DataFrame) -> str:
    """Return in Markdown the two questions that the log put before the runs, and their answers.

    Is the default's regret at most half of the first edition's?  Both are of the seeds that they share, the ratio with
    a 95 % interval (bootstrap over seeds).  And with what share of the epochs of random draws with ASHA does it hand on
    what they have at their end: the epochs from which on its regret stays as low as the interquartile mean of theirs,
    as the median over repeats, over the median of theirs.
    """
    heads = ["trials", "regret of the default", "of the first edition", "ratio, asked 0.50 at most"]
    heads += [f"epochs to the end of {name}" for name in RANDOM]
    rows = [heads, ["---"] * len(heads)]
    for trials, budget in replays.groupby("trials"):
        ends = {str(name): group[group["last"]] for name, group in budget.groupby("method")}
        if not {DEFAULT, REFERENCE} <= ends.keys():
            continue
        own, first = _paired(ends, REFERENCE)
        regrets = [f"{interquartile_mean(values) * 100:.2f}" for values in (own, first)]
        row = [f"{trials}", *regrets, _ratio(own, first)]
        row += [_share_of_epochs(budget, ends[name]) if name in ends else "" for name in RANDOM]
        rows.append(row)
    return _markdown(rows)


def against_random_table(replays: pd.DataFrame) -> str:
    """Return in Markdown how the default does against random draws with ASHA, by the seeds that they share.

    The gain is the mean difference of their regrets with its standard error, the p-value Wilcoxon's, corrected for the
    number of all of them by Holm's method.
    """
    heads = ["trials", "against", "points less regret", "better in", "p"]
    found = []
    for trials, budget in replays.groupby("trials"):
        ends = {str(name): group[group["last"]] for name, group in budget.groupby("method")}
        for name in RANDOM if DEFAULT in ends else ():
            if name in ends:
                own, theirs = _paired(ends, name)
                found.append((f"{trials}", name, theirs - own))
    p_values = holm([float(stats.wilcoxon(gain).pvalue) for _, _, gain in found])
    rows = [heads, ["---"] * len(heads)]
    for (trials, name, gain), p_value in zip(found, p_values, strict=True):
        mean, error = gain.mean() * 100, stats.sem(gain) * 100
        rows.append([trials, name, f"{mean:.2f} ± {error:.2f}", f"{np.mean(gain > 0):.0%}", p_text(float(p_value))])
    return _markdown(rows)


def _paired(ends: Mapping[str, pd.DataFrame], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the regrets of the default and of a method, of the seeds that they share."""
    own, theirs = (ends[method].set_index("seed")["regret"] for method in (DEFAULT, name))
    shared = own.index.intersection(theirs.index)
    return own[shared].to_numpy(np.float64), theirs[shared].to_numpy(np.float64)


def _ratio(own: NDArray[np.float64], first: NDArray[np.float64]) -> str:
    def ratio(one: NDArray[np.float64], other: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return interquartile_mean(one, axis) / interquartile_mean(other, axis)

    ends = stats.bootstrap(
        (own, first), ratio, paired=True, n_resamples=RESAMPLES, rng=0, method="percentile"
    ).confidence_interval
    return f"{ratio(own, first):.2f} ({ends.low:.2f} to {ends.high:.2f})"


def _share_of_epochs(budget: pd.DataFrame, theirs: pd.DataFrame) -> str:
    target = float(interquartile_mean(theirs["regret"].to_numpy()))
    own = budget[budget["method"] == DEFAULT]
    reached = [_stays(run.sort_values("epochs"), target) for _, run in own.groupby("seed")]
    epochs, whole = float(np.median(reached)), float(theirs["epochs"].median())
    return f"{epochs:.0f} of {whole:.0f} ({epochs / whole:.0%})" if np.isfinite(epochs) else f"never, of {whole:.0f}"


def _stays(run: pd.DataFrame, target: float) -> float:
    """Return after how many epochs a search's regret stays at a target or below; infinite if it ends above."""
    above = np.flatnonzero(run["regret"] > target)
    first = int(above[-1]) + 1 if len(above) else 0
    return float(run["epochs"].iloc[first]) if first < len(run) else math.inf


def _markdown(rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def correlations(curves: pd.DataFrame) -> pd.DataFrame:
    """Return how the ranks after each epoch agree with those at the end, per judge: (epochs, judges), Spearman's.

    The end is the accuracy of the last epoch on the images that no search sees.
    """
    keys = ["number", "repeat"]
    end = curves.pivot_table(index=keys, columns="epoch", values="held_accuracy").iloc[:, -1]
    found = {}
    for judge, (column, over) in JUDGES.items():
        seen = curves.pivot_table(index=keys, columns="epoch", values=column).T
        judged = seen.rolling(over, min_periods=1).mean() if over else seen.cummax()
        found[judge] = judged.apply(lambda row: stats.spearmanr(row, end[row.index]).statistic, axis=1)
    return pd.DataFrame(found)


def annealed(curves: pd.DataFrame) -> pd.DataFrame:
    """Return what the end of a shorter schedule says of the end of the longest one, a row per shorter horizon.

    ``annealed`` is the rank correlation (Spearman's) of the accuracy seen at its end with the end of the same training
    over the longest schedule, on the images that no search sees; ``cut_off`` that of the longest training itself after
    as many epochs, on the same ``trainings``, which share a seed.  Both are of the weights as trained.
    """
    keys, longest = ["number", "repeat"], curves["horizon"].max()
    whole, rows = curves[curves["horizon"] == longest], {}
    end = whole.pivot_table(index=keys, columns="epoch", values="held_accuracy").iloc[:, -1]
    for horizon in sorted(int(epochs) for epochs in curves["horizon"].unique() if epochs < longest):
        short = curves[(curves["horizon"] == horizon) & (curves["epoch"] == horizon)].set_index(keys)["seen_accuracy"]
        after = whole[whole["epoch"] == horizon].set_index(keys)["seen_accuracy"]
        both = short.index.intersection(end.index).intersection(after.index)
        with_end = [float(stats.spearmanr(judged[both], end[both]).statistic) for judged in (short, after)]
        rows[horizon] = [len(both), *with_end]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["trainings", "annealed", "cut_off"])


def annealed_table(folder: Path) -> str:
    """Return in Markdown what the ends of shorter schedules say, of the families that have such curves."""
    heads = ["family", "trainings", "epochs", "at the end of so short a schedule", "after so many of the longest one"]
    rows = [heads, ["---"] * len(heads)]
    for model in PLANS:
        found = annealed(pq.read_table(folder / f"curves_{model}.parquet").to_pandas())
        rows += [
            [model.upper(), f"{row.trainings}", f"{row.Index}", f"{row.annealed:.2f}", f"{row.cut_off:.2f}"]
            for row in found.itertuples()
        ]
    return _markdown(rows)


def draw_correlations(axes: Axes, found: pd.DataFrame, short: pd.DataFrame, title: str) -> None:
    """Draw the rank correlations of one family; ``short`` are those of shorter schedules, by their length."""
    found.plot(ax=axes, marker=".", legend=False)
    if len(short):
        axes.plot(short.index, short["annealed"], "k^", label="annealed: the end of a schedule of that length")
    axes.set(title=title, xlabel="epoch", ylabel="rank correlation with the end", ylim=(0.0, 1.0))


def draw_regret(axes: Axes, replays: pd.DataFrame, methods: list[str], title: str) -> None:
    """Draw the median regret against the epochs spent, of one number of trials; a dot is a method's median end."""
    for method in methods:
        of = replays[replays["method"] == method]
        grid = np.arange(of["epochs"].min(), of["epochs"].max() + 1)
        paths = [
            run.drop_duplicates("epochs", keep="last").set_index("epochs")["regret"].reindex(grid, method="ffill")
            for _, run in of.sort_values("epochs").groupby("seed")
        ]
        median = np.nanmedian(np.stack([path.to_numpy() for path in paths]), axis=0) * 100
        (line,) = axes.plot(grid, median, label=method)
        # Where half of the searches have ended.
        ended = float(of.loc[of["last"], "epochs"].median())
        axes.plot([ended], [float(np.interp(ended, grid, median))], "o", color=line.get_color())
    axes.set(title=title, xlabel="epochs spent", ylabel="points below the best of the space, median", ylim=(0.0, None))
    axes.legend()


def world_errors(folder: Path) -> str:
    """Return in Markdown how far the models of a folder's curves are from configurations that they were not given."""
    heads = ["family", "curves", "regression", "after 3 epochs", "at the end", "rank correlation", "seeds differ by"]
    rows = [heads, ["---"] * len(heads)]
    kinds: tuple[Kind, ...] = ("gp", "trees")
    for model in PLANS:
        space, recorded = space_of(model), read_recorded(model, folder)
        true = 1.0 - np.exp(recorded.errors)
        early, end = (SERIES.index("held_accuracy") * recorded.horizon + epoch for epoch in (2, recorded.horizon - 1))
        seeds = float(np.sqrt(pd.Series(true[:, end]).groupby(recorded.number).var(ddof=1).dropna().mean()))
        for kind in kinds:
            expected = held_out(space, recorded, kind)
            errors = [float(np.sqrt(np.mean((expected[:, at] - true[:, at]) ** 2))) for at in (early, end)]
            rank = float(stats.spearmanr(expected[:, end], true[:, end]).statistic)
            points = [f"{error * 100:.2f}" for error in errors]
            rows.append([model.upper(), f"{len(true)}", kind, *points, f"{rank:.2f}", f"{seeds * 100:.2f}"])
    return _markdown(rows)


def _groups(replays: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (model, world, slots), group in replays.groupby(["model", "world", "slots"]):
        yield f"{str(model).upper()}, {world} regression, {slots} slots", group


def main(folder: Path = HERE) -> None:
    """Write the tables into README.md, and the pictures beside it."""
    readme = folder / "README.md"
    write_between(readme, ("<!-- worlds -->", "<!-- /worlds -->"), world_errors(folder))
    figure, panels = plt.subplots(1, len(PLANS), figsize=(10, 4), layout="constrained")
    for axes, model in zip(panels, PLANS, strict=True):
        curves = pq.read_table(folder / f"curves_{model}.parquet").to_pandas()
        curves = curves[curves["number"] < AT_BOUNDS]
        whole = curves[curves["horizon"] == curves["horizon"].max()]
        count = whole.groupby(["number", "repeat"]).ngroups
        draw_correlations(axes, correlations(whole), annealed(curves), f"{model.upper()}, {count} curves")
    panels[0].legend()
    write_between(readme, ("<!-- annealed -->", "<!-- /annealed -->"), annealed_table(folder))
    _publish(figure, folder / "correlations.png")
    replays = with_known_best(pq.read_table(folder / "replays.parquet").to_pandas())
    parts = [f"{title}:\n\n{methods_table(standings(group))}" for title, group in _groups(replays)]
    write_between(readme, ("<!-- methods -->", "<!-- /methods -->"), "\n".join(parts))
    answers = [f"{title}:\n\n{answers_table(group)}" for title, group in _groups(replays)]
    write_between(readme, ("<!-- answers -->", "<!-- /answers -->"), "\n".join(answers))
    chances = [f"{title}:\n\n{against_random_table(group)}" for title, group in _groups(replays)]
    write_between(readme, ("<!-- random -->", "<!-- /random -->"), "\n".join(chances))
    shown = replays[(replays["trials"] == SHOWN) & (replays["world"] == "gp") & (replays["slots"] == 2)]
    models = shown["model"].unique()
    figure, panels = plt.subplots(1, len(models), figsize=(10, 4), layout="constrained", squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        group = shown[shown["model"] == model]
        names = [name for name in SHOWN_METHODS if name in set(group["method"])]
        draw_regret(axes, group, names, f"{model.upper()}, {SHOWN} trials")
    _publish(figure, folder / "regret.png")


def _publish(figure: Figure, file: Path) -> None:
    with publish(file) as partial:
        figure.savefig(partial, format="png", dpi=150)


if __name__ == "__main__":
    main()
