"""Numbers, settings and facts of a search as a person writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.vocabulary import BASELINE_REPORT, PUBLISHED, STATUSES, Published

if TYPE_CHECKING:
    import pandas as pd

    from tune_fmnist.store.record import SearchRecord

DASH: Final = "\N{EN DASH}"
"""Stands in an empty cell."""

PUBLISHED_IMAGES: Final = 60_000
"""Training images behind the published figures: all that Fashion-MNIST has."""

_MINUS: Final = "\N{MINUS SIGN}"


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction as ``92.41 %``; NaN as a dash."""
    return DASH if math.isnan(fraction) else f"{fraction * 100:.{digits}f} %"


def points(difference: float) -> str:
    """Return a difference of fractions in percentage points, signed; NaN as a dash."""
    return DASH if math.isnan(difference) else f"{difference * 100:+.2f}".replace("-", _MINUS)


def between(low: float, high: float) -> str:
    """Return two fractions as percentages without the sign, ``92.03 to 92.80``; NaN as a dash."""
    return DASH if math.isnan(low) else f"{low * 100:.2f} to {high * 100:.2f}".replace("-", _MINUS)


def p_text(p_value: float) -> str:
    """Return a p-value as it is printed; NaN as a dash."""
    if math.isnan(p_value):
        return DASH
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_equation(p_value: float) -> str:
    """Return a p-value in a sentence: ``p = 0.582`` or ``p < 0.001``."""
    text = p_text(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def counted(count: int, noun: str) -> str:
    """Return a number of things: ``1 trial``, ``1,200 trials``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """Return seconds as a person says them: ``42 s``, ``3:07 min``, ``1:02 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def plain(value: Any) -> str:
    """Return a cell as text: three digits of a float, yes or no, an empty cell as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"


def configuration_name(rank: int | None, *, is_baseline: bool = False, is_start: bool = False) -> str:
    """Return what a configuration is called; ``rank`` is None for one that is not among the top."""
    name = "baseline" if is_baseline else "start" if is_start else None
    if rank is None:
        return name or "not among the top"
    return f"{name} (rank {rank})" if name else f"rank {rank}"


def settings(row: Mapping[str, Any], record: SearchRecord) -> str:
    """Return in words where the ``config_*`` cells of a row differ from the search's baseline."""
    first = record.baseline
    changed = {key: row[f"config_{key}"] for key, value in first.items() if row[f"config_{key}"] != value}
    return ", ".join(f"{key} {plain(value)}" for key, value in changed.items()) or "the baseline's settings"


def baseline_source(record: SearchRecord) -> str:
    """Return where the baseline of a search comes from."""
    if record.is_own:
        return f"{record.model} with the defaults of its signature"
    return f'the {record.model.upper()} of the report "{BASELINE_REPORT}"'


def published(record: SearchRecord) -> Published | None:
    """Return the accuracies that were published for the baseline of a search; None if it is another one's."""
    return PUBLISHED.get(record.model) if record.dataset == FASHION_MNIST.name else None


def baseline_definition(record: SearchRecord) -> str:
    """Return in a sentence what the baseline of a search is, and the accuracies that were published for it."""
    if record.is_own:
        return f"Baseline: {baseline_source(record)}, and the usual training."
    if (by_report := published(record)) is None:
        return f"Baseline: {baseline_source(record)}."
    return (
        f"Baseline: {baseline_source(record)}, which published {percent(by_report.test)} in the test and "
        f"{percent(by_report.validation)} in validation, each from one run."
    )


def score_definition(record: SearchRecord) -> str:
    """Return in a sentence what the scores of a search are."""
    if record.scored_epochs is None:
        return "A score is the validation accuracy of a trial's best epoch, as an earlier release had it."
    return f"A score is the mean validation accuracy of a trial's last {record.scored_epochs} epochs, or of all it has."


def filled_up(unfinished: Sequence[str]) -> str | None:
    """Return in a sentence that too few trials reached the last epoch; None if none of these names had to fill up."""
    if not unfinished:
        return None
    names = " and ".join(unfinished)
    return f"Too few trials reached the last epoch: those of {names} did not."


def smaller_than_published(record: SearchRecord) -> str | None:
    """Return in a sentence that a search used fewer images than the published figures did; None if it did not."""
    if published(record) is None or record.images >= PUBLISHED_IMAGES:
        return None
    return (
        f"The published figures are of {PUBLISHED_IMAGES:,} training images; this search used {record.images:,}, "
        "so the two cannot be compared."
    )


def ends(trials: pd.DataFrame, epochs: pd.DataFrame, seconds: float) -> str:
    """Return how the trials ended and how much they trained, from the rows of both tables, and for how long."""
    text = f"{counted(len(trials), 'trial')} ({states(trials) or 'none yet'}), {counted(len(epochs), 'epoch')}"
    if len(trials):
        text += f" of the {trials['max_epochs'].sum():,} that training every trial to the end would take"
    if len(epochs):
        text += f", in {duration(seconds)}"
    return text + "."


def proposers(trials: pd.DataFrame) -> str | None:
    """Return who proposed the trials, in a sentence; None where an earlier release did not tell."""
    if trials.empty or trials["origin"].isna().any():
        return None
    counts = trials["origin"].value_counts()
    names = {
        "model": "by the searcher's model",
        "random": "at random",
        "start": "in the space's start",
        "baseline": "as the baseline",
    }
    parts = [f"{counts[origin]} {words}" for origin, words in names.items() if origin in counts]
    return f"Proposed: {', '.join(parts)}."


def states(trials: pd.DataFrame) -> str:
    """Return how many trials have each status: ``1 running, 4 completed``."""
    counts = trials["status"].value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if status in counts)
