"""Several searches beside each other: what each found, whether the best of them differ, and in what they differ."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_fmnist.base.datasets import title_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish
from tune_fmnist.reporting.anytime import best_so_far
from tune_fmnist.reporting.confirmed import Confirmed, validation
from tune_fmnist.reporting.figures.beside import Course, TestedBest, draw_courses, draw_tests
from tune_fmnist.reporting.figures.style import Figure
from tune_fmnist.reporting.html import rendered
from tune_fmnist.reporting.results import Results, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import SIGNIFICANT, Comparison, compare, correctness, holm
from tune_fmnist.reporting.wording import DASH, between, p_text, percent, plain
from tune_fmnist.store.paths import SearchPaths

_METHOD: Final = (
    *("dataset", "limit_train", "images_seed", "seed", "trials", "max_epochs", "scored_epochs"),
    *("searcher.name", "scheduler.name", "scheduler.grace", "scheduler.reduction_factor", "scheduler.audit"),
    *("retrain_plan.confirm",),
)
"""Keys of a record that say how a search was made."""


@dataclass(frozen=True)
class ComparedSearches:
    """Searches beside each other.

    Attributes:
        table: a row for each: ``name, model, dataset, trials, epochs, validation`` (the first rank's, a fraction),
            ``test`` (its mean over seeds, NaN if it is not tested), and ``low`` and ``high``, its 95 % interval.
        findings: sentences: which validation images they share, and how the first ranks differ in the test.
        differences: what differs in method and space, a line for each key: key, then each search's value in words.
        courses: the best score of each search, trial by trial.
        caution: why their scores do not compare, None if they do.
    """

    table: pd.DataFrame
    findings: list[str]
    differences: list[tuple[str, ...]]
    courses: list[Course]
    caution: str | None

    def write_page(self, file: Path | str) -> Path:
        """Write all of it, with pictures, as a page that needs no network; return the page's path.

        Raises:
            InputError: there is no such folder.
        """
        file = Path(file)
        if not file.parent.is_dir():
            raise InputError("folder not found", file=file.parent, key="--page", hint="make it, or name another file")
        rows = rows_of(self.table)
        told = {
            "title": f"{', '.join(row['name'] for row in rows[:-1])} and {rows[-1]['name']}",
            "searches": rows,
            "findings": self.findings,
            "differences": self.differences,
        }
        with publish(file) as partial:
            partial.write_text(rendered("compare.html.jinja", told, self._figures()), encoding="utf-8")
        return file

    def _figures(self) -> list[Figure]:
        tested = [TestedBest(row["name"], row["test"], row["low"], row["high"]) for row in rows_of(self.table)]
        tested = [one for one in tested if not math.isnan(one.mean)]
        begun = [course for course in self.courses if course.points]
        drawn = [draw_tests(tested)] if tested else []
        return [*drawn, draw_courses(begun, self.caution)] if begun else drawn


def compare_searches(folders: Sequence[Path | str]) -> ComparedSearches:
    """Compare searches by their tables.

    The first ranks are compared in the test on the same images, each with its own seeds; the p-values are corrected for
    their number by Holm's method.

    Args:
        folders: of two or more searches.

    Raises:
        InputError: there are fewer than two, a folder is no search, or a table cannot be read.
    """
    if len(folders) < 2:
        raise InputError("missing", key="FOLDER", hint="name two searches or more")
    searches = [Results(SearchPaths(Path(folder))) for folder in folders]
    names = _names([results.paths.folder for results in searches])
    retrained = [Retrained.of(results) for results in searches]
    rows = [_row(*one) for one in zip(names, searches, retrained, strict=True)]
    tested = [one for one in zip(names, searches, retrained, strict=True) if one[2] is not None]
    findings = [*_validation(names, searches), *_tests(tested)]
    courses = [
        Course(name, best_so_far(results.trials, results.epochs, results.record.resumed_at))
        for name, results in zip(names, searches, strict=True)
    ]
    return ComparedSearches(pd.DataFrame(rows), findings, _differences(searches), courses, _caution(searches))


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, with those of their parents where two are alike."""
    short = [folder.resolve().name for folder in folders]
    return [
        name if short.count(name) == 1 else f"{folder.resolve().parent.name}/{name}"
        for name, folder in zip(short, folders, strict=True)
    ]


def _row(name: str, results: Results, retrained: Retrained | None) -> dict[str, Any]:
    record = results.record
    row: dict[str, Any] = {
        "name": name,
        "model": record.model,
        "dataset": title_of(record.dataset),
        "trials": len(results.trials),
        "epochs": len(results.epochs),
        "validation": validation(results),
    }
    if retrained is None:
        return row | dict.fromkeys(("test", "low", "high"), math.nan)
    best = retrained.best
    # What was tested may have been chosen by its trial, although others were confirmed.
    return row | {"validation": best["validation"], "test": best["mean"], "low": best["low"], "high": best["high"]}


def _hits(retrained: Retrained) -> Any:
    """Return which test images the first rank has right, (seeds, images)."""
    return correctness(retrained.predictions)[retrained.best["config_id"]].to_numpy()


def _scored(results: Results) -> tuple[str, int | None]:
    """Return what two searches have alike if their scores can be compared: the images, and the epochs that count."""
    return results.record.split_hash, results.record.scored_epochs


def _caution(searches: Sequence[Results]) -> str | None:
    """Return why the searches' scores do not compare, None if they do."""
    scored = {_scored(results) for results in searches}
    if len(scored) == 1:
        return None
    alike = len({images for images, _ in scored}) == 1
    return "The searches' scores are of different epochs" if alike else "The searches validate on different images"


def _validation(names: Sequence[str], searches: Sequence[Results]) -> Iterator[str]:
    """Say which searches' scores, and which of their accuracies in validation, can be compared."""
    groups: dict[tuple[str, int | None], list[str]] = {}
    for name, results in zip(names, searches, strict=True):
        groups.setdefault(_scored(results), []).append(name)
    listed = "; ".join(" and ".join(group) for group in groups.values())
    if len(groups) == 1:
        yield "All validate on the same images: their scores can be compared."
    elif len({images for images, _ in groups}) == 1:
        yield f"Their scores are of different epochs, and compare within these groups only: {listed}."
    else:
        yield f"They validate on different images, so that scores compare within these groups only: {listed}."
    confirmed = [name for name, results in zip(names, searches, strict=True) if Confirmed.of(results) is not None]
    if 0 < len(confirmed) < len(names):
        yield (
            f"The validation of {' and '.join(confirmed)} is a mean of confirmations; of the others it is the best "
            "trial's score, which is higher than that configuration's mean would be, as a rule."
        )


def _tests(tested: Sequence[tuple[str, Results, Any]]) -> list[str]:
    """Say how the first ranks differ in the test, the higher one first."""
    pairs = []
    for (one, results, retrained), (other, others, theirs) in combinations(tested, 2):
        if _test_images(results) != _test_images(others):
            continue
        found = compare(_hits(retrained), _hits(theirs))
        single = min(retrained.best["seeds"], theirs.best["seeds"]) == 1
        pair = (one, other, found) if found.difference >= 0 else (other, one, found.swapped())
        pairs.append((*pair, single))
    if not pairs:
        return ["No two of them have tested models on the same test images: nothing is compared in the test."]
    corrected = holm([found.p_value for _, _, found, _ in pairs])
    return [_sentence(*pair, p_value=float(p_value)) for pair, p_value in zip(pairs, corrected, strict=True)]


def _sentence(high: str, low: str, found: Comparison, single: bool, *, p_value: float) -> str:
    verdict = "more than chance" if p_value < SIGNIFICANT else "this may be chance"
    return (
        f"In the test the first rank of {high} is {found.difference * 100:.2f} points above that of {low} "
        f"(95 % interval {found.low * 100:.2f} to {found.high * 100:.2f}, p {p_text(p_value)}): {verdict}"
        f"{', for these two models' if single else ''}."
    )


def _test_images(results: Results) -> tuple[str, str | None, int]:
    """Return what two searches have alike if they have the same test images."""
    return results.record.dataset, results.record.test_hash, len(results.predictions["index"].unique())


def _differences(searches: Sequence[Results]) -> list[tuple[str, ...]]:
    """Return what differs in method and space: the key, then each search's value."""
    kept = []
    for key in _METHOD:
        values = [_method(results, key) for results in searches]
        if len(set(values)) > 1:
            kept.append((key, *values))
    spaces = [_space(results) for results in searches]
    for name in dict.fromkeys(name for space in spaces for name in space):
        ranges = [space.get(name, DASH) for space in spaces]
        if len(set(ranges)) > 1:
            kept.append((name, *ranges))
    return kept


def _method(results: Results, key: str) -> str:
    return plain(reduce(getattr, key.split("."), results.record))


def _space(results: Results) -> dict[str, str]:
    """Return what a search space consists of, in words: parameters, fixed settings, starts, the largest size."""
    space = results.record.space
    told = {name: _range(parameter) for name, parameter in space.get("parameters", {}).items()}
    told |= {name: f"always {plain(value)}" for name, value in space.get("fixed", {}).items()}
    starts = [", ".join(f"{name} {plain(value)}" for name, value in start.items()) for start in space.get("start", [])]
    told |= {f"start {place}": start for place, start in enumerate(starts, start=1)}
    if (most := space.get("max_parameters")) is not None:
        told["max_parameters"] = f"{most:,}"
    return told


def _range(parameter: dict[str, Any]) -> str:
    if "choices" in parameter:
        text = ", ".join(json.dumps(choice) for choice in parameter["choices"])
    else:
        text = f"{parameter['low']:g} to {parameter['high']:g}"
        text += f" by {parameter['step']:g}" if parameter.get("step") not in (None, 1) else ""
        text += " log" if parameter.get("log") else ""
    when = parameter.get("when") or {}
    return text + "".join(f", where {name} is {plain(value)}" for name, value in when.items())


def print_comparison(found: ComparedSearches, out: Console) -> None:
    """Print what was compared, on a screen of 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("name", "model", "dataset", "trials", "epochs", "validation", "test", "95 % interval"):
        table.add_column(name, justify="left" if name in ("name", "model", "dataset") else "right", overflow="fold")
    for row in rows_of(found.table):
        counts = [f"{row['trials']}", f"{row['epochs']}"]
        accuracies = [percent(row[name]) for name in ("validation", "test")]
        ends = between(row["low"], row["high"])
        table.add_row(*(Text(row[name]) for name in ("name", "model", "dataset")), *counts, *accuracies, ends)
    out.print(table)
    for said in found.findings:
        out.print(said)
    if found.differences:
        out.print("what differs:")
        differing = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for line in found.differences:
            differing.add_row(*(Text(cell) for cell in line))
        out.print(differing)
