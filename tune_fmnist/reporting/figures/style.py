"""What all figures share: colours by day and by night, type, and how a figure goes into the page and into files."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert

from tune_fmnist.base.files import publish

COLOURS: Final[dict[str, tuple[str, str]]] = {
    "page": ("#ffffff", "#14171b"),
    "ink": ("#1d2126", "#e7e9ec"),
    "quiet": ("#59626e", "#a3abb7"),
    "line": ("#e3e6ea", "#2d333b"),
    "tint": ("#f4f6f8", "#1c2127"),
    "best": ("#1d5fa6", "#74b0f2"),
    "near": ("#79a8d8", "#3f74ab"),
    "base": ("#c4501b", "#f2935c"),
    "start": ("#20806a", "#5cc5a6"),
    "rest": ("#b7bfc9", "#5f6975"),
    "other": ("#848d99", "#828b97"),
    "lost": ("#8e3b76", "#d487bd"),
    "ramp1": ("#c3ccd6", "#56616f"),
    "ramp2": ("#93b5d6", "#43698f"),
    "ramp3": ("#4f88bf", "#5b93cb"),
    "ramp4": ("#17508d", "#a5d0fb"),
}
"""By light and by dark: told apart with any kind of colour vision (checked as Okabe and Ito 2008 advise)."""

RAMP: Final = ("ramp1", "ramp2", "ramp3", "ramp4")

DEPTH: Final = 0.12
"""Accuracies further than this below the best are cut off: a failed start would flatten all the rest."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"

CHOSEN: Final = "!chosen || chosen[datum.n]"
"""Whether a mark of the trial in field ``n`` is among those that the reader has chosen, on whatever figure."""

SHOWN_LINE: Final = f"({CHOSEN}) && (!length(data('kind_store')) || vlSelectionTest('kind_store', datum))"
"""The same, for lines that can be picked by their kind in the legend as well."""

_LEGENDS: Final = {"color", "stroke", "shape", "strokeDash"}
_WIDTH: Final = 720
_GAP: Final = 28


def ink(name: str) -> str:
    """Return a colour of ``COLOURS`` as the page's style sheet knows it: what the reader's device wants counts."""
    return f"var(--{name})"


_AXIS: Final = {"titleColor": ink("quiet"), "labelColor": ink("quiet"), "domainColor": ink("line")}
_AXIS_TYPE: Final = {"titleFontWeight": "normal", "titleFontSize": 12.5, "labelFontSize": 12, "titlePadding": 9}
_AXIS_LINES: Final = {"gridColor": ink("line"), "tickColor": ink("line"), "tickSize": 4, "labelPadding": 5}
CONFIG: Final[dict[str, Any]] = {
    "background": "transparent",
    "font": FONT,
    # The page describes each figure itself; a label on every mark would be read out one by one.
    "aria": False,
    "view": {"stroke": None},
    "axis": {**_AXIS, **_AXIS_TYPE, **_AXIS_LINES, "labelOverlap": True},
    "axisX": {"tickCount": 7},
    "axisY": {"domain": False, "ticks": False},
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": ink("ink"),
        "labelFontSize": 12.5,
        "labelLimit": 320,
        "symbolStrokeWidth": 2.5,
        "columnPadding": 16,
        "offset": 12,
    },
    "text": {"color": ink("ink"), "fontSize": 12},
    "title": {"color": ink("ink"), "anchor": "start", "fontSize": 16, "fontWeight": 600, "subtitleColor": ink("quiet")},
    "header": {"labelColor": ink("ink"), "titleColor": ink("quiet")},
    "point": {"filled": True, "opacity": 1.0},
}

Panel = alt.Chart | alt.LayerChart
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A figure as it is drawn: panels side by side, ``columns`` of them where there is room, under one title.

    Attributes:
        name: of its files.
        title: what it shows, in a sentence without a full stop.
        caption: how to read it.
        panels: the charts.
        columns: 1 to 3.
        legend: colours of ``COLOURS`` by what they mean, which all panels share.
        datasets: rows that a chart knows by name only, so that charts share them.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 1
    legend: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, Rows] = field(default_factory=dict)

    def specifications(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the panels as Vega-Lite, as wide as what holds them, and the rows of their data by name.

        ``CONFIG`` is theirs; so are no legends if the figure has one of its own.
        """
        panels, datasets = self._charts
        wide = [{**panel, "width": "container"} for panel in panels]
        return [_without_legends(panel) if self.legend else panel for panel in wide], datasets

    def write(self, folder: Path) -> None:
        """Write ``NAME.png`` and ``NAME.svg``, in the colours of the day."""
        panels, datasets = self._charts
        width = (_WIDTH - _GAP * (self.columns - 1)) // self.columns - 60 * (self.columns > 1)
        title = {"text": _wrapped(self.title, 78), "subtitle": _wrapped(self.caption, 104), "offset": 16}
        drawn = _by_day(
            {
                "concat": [{**_without_reader(panel), "width": width} for panel in panels],
                "columns": self.columns,
                "spacing": _GAP,
                "title": title,
                "config": CONFIG | {"background": "white"},
                "padding": 16,
                "datasets": datasets,
                "params": [{"name": "chosen", "value": False}],
                "resolve": {"scale": dict.fromkeys(("color", "shape"), "shared" if self.legend else "independent")},
            }
        )
        with publish(folder / f"{self.name}.svg") as partial:
            svg = vl_convert.vegalite_to_svg(drawn)
            partial.write_text(svg, encoding="utf-8")
        with publish(folder / f"{self.name}.png") as partial:
            partial.write_bytes(vl_convert.svg_to_png(svg, scale=1.4))

    @cached_property
    def _charts(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The panels without a width, and the rows of their data by name."""
        datasets: dict[str, Any] = {name: plain_rows(rows) for name, rows in self.datasets.items()}
        panels = []
        for panel in self.panels:
            # Whether Vega-Lite takes it shows when it is drawn.
            specification: dict[str, Any] = panel.to_dict(validate=False)
            datasets |= specification.pop("datasets", {})
            for key in ("$schema", "config"):
                specification.pop(key, None)
            panels.append(specification)
        return panels, datasets


def values(rows: Rows) -> alt.InlineData:
    """Return rows as the data of a chart."""
    return alt.InlineData(values=plain_rows(rows))


def plain_rows(rows: Rows) -> list[dict[str, Any]]:
    """Return rows as JSON takes them: six digits of a number, null for what is not finite."""
    return [{key: _plain(value) for key, value in row.items()} for row in rows]


def chart(rows: Rows) -> alt.Chart:
    """Return a chart of rows without a mark."""
    return alt.Chart(values(rows))


def hundredfold(fraction: float | None) -> float | None:
    """Return a fraction in percent, to three digits behind the point."""
    return None if fraction is None or math.isnan(fraction) else round(fraction * 100.0, 3)


def share_of_ink(trials: int) -> float:
    """Return by how much marks are smaller and lines paler where there are many: 1 for up to 80 trials."""
    return min(1.0, max(0.12, math.sqrt(80.0 / max(trials, 1))))


def palette(colours: Mapping[str, str], *, shown: Iterable[str] | None = None) -> alt.Scale:
    """Return the scale of named things to colours; ``shown`` are those that occur, all if not given."""
    names = [name for name in colours if shown is None or name in set(shown)]
    return alt.Scale(domain=names, range=[ink(colours[name]) for name in names])


def accuracy_scale(accuracies: Iterable[float]) -> alt.Scale:
    """Return the scale in percent that holds accuracies, fractions, but none further than ``DEPTH`` below the best."""
    known = [accuracy for accuracy in accuracies if not math.isnan(accuracy)]
    high = max(known)
    low = max(min(known), high - DEPTH)
    margin = 0.06 * (high - low) or 0.01
    return alt.Scale(domain=[(low - margin) * 100.0, (high + margin) * 100.0], nice=False, zero=False)


def whole_numbers(low: int, high: int) -> alt.Axis:
    """Return the axis of whole numbers from ``low`` to ``high``; Vega would write some of few of them twice."""
    few = {"values": list(range(low, high + 1))} if high - low <= 12 else {"tickMinStep": 1, "tickCount": 9}
    return alt.Axis(format="d", grid=False, **few)


def layered(layers: Sequence[alt.Chart], height: int, *, of_trials: bool = False) -> alt.LayerChart:
    """Return charts above each other, the last on top.

    Args:
        layers: the charts.
        height: in pixels, without axes.
        of_trials: whether they ask ``CHOSEN``.
    """
    whole = alt.layer(*layers)
    assert isinstance(whole, alt.LayerChart)
    whole = whole.properties(height=height)
    return whole.add_params(alt.param(name="chosen", value=False)) if of_trials else whole


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < float("inf") else None
    return value


def _without_legends(specification: dict[str, Any]) -> dict[str, Any]:
    """Return a chart without the legends of its layers."""
    if "layer" in specification:
        return specification | {"layer": [_without_legends(layer) for layer in specification["layer"]]}
    encoding = specification.get("encoding", {})
    none = {
        name: {**encoding[name], "legend": None} for name in _LEGENDS & encoding.keys() if "field" in encoding[name]
    }
    return specification | {"encoding": encoding | none}


def _without_reader(specification: dict[str, Any]) -> dict[str, Any]:
    """Return a chart without what only a reader's hand changes."""
    rest = {key: value for key, value in specification.items() if key != "params"}
    kept = [one for one in specification.get("params", []) if one["name"] not in ("chosen", "brush")]
    return rest | ({"params": kept} if kept else {})


def _by_day(specification: dict[str, Any]) -> dict[str, Any]:
    """Return a chart with the colours of the day in place of their names."""
    text = re.sub(r"var\(--(\w+)\)", lambda found: COLOURS[found[1]][0], json.dumps(specification))
    drawn: dict[str, Any] = json.loads(text)
    return drawn


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width) or [""]
