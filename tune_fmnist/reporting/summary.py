"""The closing summary of a search, on one screen: what was found, beside the founding report's row."""

from __future__ import annotations

from typing import Any, cast

from rich.console import Console
from rich.table import Table

from tune_fmnist.base.vocabulary import CLASSES, REPORT_FIGURES, STATUSES
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.statistics import class_accuracy, confusion, mix_up_sentence
from tune_fmnist.reporting.wording import duration, p_text, settings


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
            ranks = [f"rank {row['rank']:.0f}"] if row["rank"] == row["rank"] else []
            name = ", ".join(ranks + ["report's, here"] * row["is_baseline"]) or "no longer ranked"
            compared = ["", ""] if row["is_baseline"] else [f"{test['difference']:+.4f}", p_text(test["p_value"])]
            interval = f"{test['low']:.4f} to {test['high']:.4f}"
            validation = f"{row['best_val_accuracy']:.4f}"
            table.add_row(name, validation, f"{test['mean']:.4f}", interval, *compared)
    else:
        best = results.trials.sort_values("best_val_accuracy", ascending=False).iloc[0]
        table.add_row(f"trial {best['number']}", f"{best['best_val_accuracy']:.4f}", "", "", "", "")
    out.print()
    out.print(table)
    if retrained:
        best = results.retrains.sort_values(["rank", "seed"]).iloc[0]
        size = f"{best['epochs']} epochs, {best['parameters']:,} parameters"
        out.print(f"best configuration: {settings(cast(dict[str, Any], best.to_dict()))}; {size}")
        of_best = results.predictions[results.predictions["config_id"] == best["config_id"]]
        label, predicted = of_best["label"].to_numpy(), of_best["predicted"].to_numpy()
        classes = class_accuracy(label, predicted)
        worst, easiest = int(classes.argmin()), int(classes.argmax())
        extremes = [f"{CLASSES[index]} ({classes[index]:.3f})" for index in (worst, easiest)]
        out.print(f"hardest class {extremes[0]}, easiest {extremes[1]}. {mix_up_sentence(confusion(label, predicted))}")
    counts = results.trials["status"].value_counts()
    states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
    # A search that was cut off and is only retrained has neither.
    busy = f"; slots {info['utilisation']:.0%} busy" if "utilisation" in info else ""
    if info.get("utilisation_while_trials_wait") is not None:
        busy += f", {info['utilisation_while_trials_wait']:.0%} while trials waited"
    took = duration(info["search_seconds"])
    out.print(f"{len(results.trials)} trials ({states}), {len(results.epochs)} epochs in {took}{busy}")
    folder = results.paths.folder
    # Without line ends of its own, what is longer than the screen can be copied whole.
    out.print(f"tables, model and report: {folder}; open {results.paths.report}", soft_wrap=True)
    read = f"import pandas; print(pandas.read_parquet('{results.paths.trials}'))"
    out.print(f'go on: python -c "{read}"', soft_wrap=True)
    if not retrained:
        out.print(f"       python -m tune_fmnist.retrain {folder}", soft_wrap=True)
