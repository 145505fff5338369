"""A page in HTML: a template, what it tells, the figures, and all that draws them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tune_fmnist.reporting import wording
from tune_fmnist.reporting.figures.style import COLOURS, CONFIG, Figure


def rendered(template: str, told: Mapping[str, Any], drawn: Sequence[Figure]) -> str:
    """Return a page, which needs no other file and no network.

    Args:
        template: its file, beside this one; it extends ``frame.html.jinja``.
        told: what the template asks for.
        drawn: the figures, by whose names the template has them.
    """
    return _environment().get_template(template).render(**told, **_drawn(drawn))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": wording.percent, "points": wording.points, "p": wording.p_text}
    environment.globals |= {"between": wording.between, "counted": wording.counted, "isnan": math.isnan}
    environment.filters["correlation"] = lambda value: f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    return environment


def _drawn(drawn: Sequence[Figure]) -> dict[str, Any]:
    """Return the figures with all that draws them."""
    datasets: dict[str, Any] = {}
    panels = {}
    for figure in drawn:
        panels[figure.name], rows = figure.specifications()
        datasets |= rows
    return {
        "figures": {figure.name: figure for figure in drawn},
        "colours": COLOURS,
        "charts": _embedded({"config": CONFIG, "datasets": datasets, "panels": panels}),
        "library": _library(),
    }


@cache
def _library() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    return Markup(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))  # noqa: S704


def _embedded(content: Mapping[str, Any]) -> Markup:
    """Return JSON that can stand in a script element, whatever its texts hold."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704
