"""Numbers, settings and records as a reader sees them in a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tune_fmnist.base.vocabulary import COMPLETED, STATUSES

if TYPE_CHECKING:
    import pandas as pd

DASH: Final = "\N{EN DASH}"
"""Stands in an empty cell."""

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


def settings(row: Mapping[str, Any]) -> str:
    """Return in words what the ``config_*`` cells of a row change in the founding report's configuration."""
    from tune_fmnist.models.config import FAMILIES

    first = FAMILIES[row["config_model"]]().model_dump()
    changed = {key: row[f"config_{key}"] for key, value in first.items() if row[f"config_{key}"] != value}
    return ", ".join(f"{key} {plain(value)}" for key, value in changed.items()) or "all as in the founding report"


def ends(trials: pd.DataFrame, epochs: pd.DataFrame) -> str:
    """Return how the trials ended and how much they trained, from the rows of both tables."""
    states = [f"{count} {status}" for status in STATUSES if (count := int((trials["status"] == status).sum()))]
    text = f"{len(trials)} trials ({', '.join(states) or 'none yet'}), {len(epochs):,} epochs"
    longest = trials.loc[trials["status"] == COMPLETED, "epochs"].max()
    if longest == longest:
        text += f" of the {len(trials) * int(longest):,} that training every trial to the end would take"
    if len(epochs):
        began = min(trials["started_at"].min(), epochs["reported_at"].min())
        text += f", in {duration((epochs['reported_at'].max() - began).total_seconds())}"
    return text + "."


def provenance(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what ``search.json`` says of how it was computed, as names and texts; empty values are left out."""
    listed = {key: value for key, value in info.items() if key not in ("schema_version", "space", "name", "model")}
    texts = [(_spaced(key), _text(key, value)) for key, value in listed.items()]
    return [(key, text) for key, text in texts if text]


_UNITS: Final[dict[str, Callable[[float], str]]] = {
    "seconds": duration,
    "bytes": lambda size: f"{size / 2**30:.1f} GiB",
    "utilisation": lambda share: percent(share, 0),
}


def _spaced(key: str) -> str:
    """Return a key in words, without the unit that stands in its text."""
    return key.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")


def _text(key: str, value: Any) -> str:
    """Return a JSON value as text, with the unit that its key names."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, dict):
        parts = [(_spaced(inner), _text(inner, part)) for inner, part in value.items()]
        return ", ".join(f"{inner} {text}" for inner, text in parts if text)
    if isinstance(value, list):
        return ", ".join(_text(key, part) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        named = [unit for word, unit in _UNITS.items() if key.endswith(word) or key.startswith(f"{word}_")]
        return named[0](value) if named else plain(value)
    return plain(value)
