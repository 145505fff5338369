"""The closing summary of a search, on one screen: what was found, beside the founding report's row."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from tune_fmnist.config import baseline
from tune_fmnist.names import CLASSES, REPORT_FIGURES, STATUSES
from tune_fmnist.results import Results
from tune_fmnist.screen import duration
from tune_fmnist.statistics import class_accuracy, confusion, mix_up_sentence


def print_summary(results: Results, out: Console) -> None:
    """Print what a finished search found, on one screen of 80 columns."""
    info, figures = results.info, REPORT_FIGURES[results.info["model"]]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "validation", "test", "95 % interval", "difference", "p"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("founding report", f"{figures.validation:.4f}", f"{figures.test:.4f}", "", "", "")
    retrained = results.paths.retrains.exists()
    if retrained:
        tested = {row["config_id"]: row for row in results.comparison.to_dict("records")}
        for row in results.retrains.sort_values("rank").drop_duplicates("config_id").to_dict("records"):
            test = tested[row["config_id"]]
            names = [f"rank {row['rank']:.0f}"] if row["rank"] == row["rank"] else []
            names += ["the report's, here"] if row["is_baseline"] else []
            compared = ["", ""] if row["is_baseline"] else [f"{test['difference']:+.4f}", f"{test['p_value']:.2g}"]
            interval = f"{test['low']:.4f} to {test['high']:.4f}"
            validation = f"{row['best_val_accuracy']:.4f}"
            table.add_row(", ".join(names), validation, f"{test['mean']:.4f}", interval, *compared)
    else:
        best = results.trials.sort_values("best_val_accuracy", ascending=False).iloc[0]
        table.add_row(f"trial {best['number']}", f"{best['best_val_accuracy']:.4f}", "", "", "", "")
    out.print()
    out.print(table)
    if retrained:
        best = results.retrains.sort_values(["rank", "seed"]).iloc[0]
        out.print(f"best configuration: {_settings(best)}; {best['epochs']} epochs, {best['parameters']:,} parameters")
        of_best = results.predictions[results.predictions["config_id"] == best["config_id"]]
        label, predicted = of_best["label"].to_numpy(), of_best["predicted"].to_numpy()
        classes = class_accuracy(label, predicted)
        worst, easiest = int(classes.argmin()), int(classes.argmax())
        extremes = [f"{CLASSES[index]} ({classes[index]:.3f})" for index in (worst, easiest)]
        out.print(f"hardest class {extremes[0]}, easiest {extremes[1]}. {mix_up_sentence(confusion(label, predicted))}")
    counts = results.trials["status"].value_counts()
    states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
    out.print(
        f"{len(results.trials)} trials ({states}), {len(results.epochs)} epochs in {duration(info['search_seconds'])}; "
        f"slots {info['utilisation']:.0%} busy, {info['utilisation_while_trials_wait']:.0%} while trials waited"
    )
    folder = results.paths.folder
    out.print(f"tables, model and report: {folder}; open {results.paths.report}")
    out.print(f"go on: python -c \"import pandas; print(pandas.read_parquet('{results.paths.trials}'))\"")
    if not retrained:
        out.print(f"       python -m tune_fmnist.retrain {folder}")


def _settings(row: Any) -> str:
    """Return what differs from the founding report's configuration, in words."""
    values = {name.removeprefix("config_"): row[name] for name in row.index if name.startswith("config_")}
    first = baseline(values["model"]).model_dump()
    return ", ".join(f"{key} {_short(values[key])}" for key in first if values[key] != first[key]) or "the report's own"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) and value != int(value) else f"{value}"
