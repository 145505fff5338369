"""The pages in a browser: drawn, quiet, offline, answering the pointer, sorted; on a phone, by night, on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.fake_search import add_confirmations, add_retrains, begin_with_start, edit_trials, make_search
from tune_fmnist.reporting.comparison import compare_searches
from tune_fmnist.reporting.page import page_of
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt install chromium")

PUBLISHED = Path(__file__).parents[2] / "results"

SCREENS = Path(__file__).parents[2] / ".reports" / "pages"
"""Where the screenshots are kept, to be looked at."""

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

MARKS = """element => [...element.querySelectorAll(
        '.mark-symbol path, .mark-rect path, .mark-line path, .mark-rule line'
    )].map(mark => mark.getBoundingClientRect()).filter(box => box.width + box.height > 0)
    .map(box => [box.x + box.width / 2, box.y + box.height / 2])"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def written(results: Results) -> Path:
    """Write a search's page without its figures' files."""
    results = Results(SearchPaths(results.paths.folder))
    results.paths.page.write_text(page_of(results)[1], encoding="utf-8")
    return results.paths.page


def change(results: Results, **values: Any) -> Results:
    """Change the record of a search."""
    SearchRecord.model_validate(results.record.model_dump() | values).write(results.paths)
    return results


def of_an_own_model(folder: Path) -> Results:
    """Make a search of a network that no process knows, with a parameter of its own, on images of 100 classes."""
    results = make_search(folder, trials=20)
    add_retrains(results, [0.9], baseline=0.1)
    _into_a_hundred(results)
    own = {"config_model": "nets:Mine", "config_hidden1": None, "config_hidden2": None}
    for path, schema in ((results.paths.trials, tables.TRIALS), (results.paths.retrains, tables.RETRAINS)):
        rows = tables.read(path, schema).to_pylist()
        widths = pa.array([8 * (1 + int(row["config_id"], 16) % 7) for row in rows])
        table = tables.to_table([row | own for row in rows], schema)
        tables.write(table.append_column(pa.field("config_width", pa.int64()), widths), path)
    parameters = {
        "width": {"type": "int", "low": 8, "high": 64, "step": 8},
        "learning_rate": {"type": "float", "low": 3e-4, "high": 4e-3, "log": True},
    }
    signature = {"width": {"type": "integer", "default": 8}}
    space = {"model": "nets:Mine", "parameters": parameters, "fixed": {}, "start": []}
    images = {"dataset": "patches/", "input_shape": [3, 32, 32], "classes": [f"patch {one}" for one in range(100)]}
    return change(results, model="nets:Mine", signature=signature, space=space, **images)


def _into_a_hundred(results: Results) -> None:
    """Divide each of the ten classes of what was tested into ten."""
    predictions = tables.read(results.paths.predictions, tables.PREDICTIONS).to_pylist()
    finer = [row | {name: row[name] * 10 + row["index"] % 10 for name in ("label", "predicted")} for row in predictions]
    tables.write(tables.to_table(finer, tables.PREDICTIONS), results.paths.predictions)
    rows = tables.read(results.paths.retrains, tables.RETRAINS).to_pylist()
    each = [row | {"class_accuracy": [one for one in row["class_accuracy"] for _ in range(10)]} for row in rows]
    tables.write(tables.to_table(each, tables.RETRAINS), results.paths.retrains)


def finished(folder: Path) -> Results:
    results = make_search(folder, "cnn", trials=24)
    add_confirmations(results, [0.3, 0.2], baseline=-0.5)
    add_retrains(results, [0.9, 0.5, 0.4], baseline=0.1)
    return begin_with_start(results)


def running(folder: Path) -> Results:
    return change(make_search(folder, trials=6), state="running", finished_at=None)


def failed(folder: Path) -> Results:
    lost = {"status": "failed", "reason": "RuntimeError: out of memory"}
    return change(edit_trials(make_search(folder), dict.fromkeys(range(6), lost)), state="failed")


def many(folder: Path) -> Results:
    return make_search(folder, trials=1000, epochs=9)


class Pages:
    """One page of each kind of search, and one that compares two, made when it is first read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        kinds = {"tested": finished, "running": running, "failed": failed, "own": of_an_own_model, "many": many}
        if (published := PUBLISHED / name / "report.html").exists():
            return published
        if name == "compared" and name not in self.written:
            both = [self["tested"].parent, self["own"].parent, self["running"].parent]
            self.written[name] = compare_searches(both).write_page(self.folder / "compared.html")
        if name not in self.written:
            self.written[name] = written(kinds[name](self.folder / name))
        return self.written[name]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


class Reader:
    """A page in a browser, with all that it said and asked for."""

    def __init__(self, browser: Any, file: Path, **options: Any) -> None:
        self.page = browser.new_context(**options).new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn]", state="attached")

    def keep(self, name: str) -> None:
        """Keep what the page looks like."""
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=True)

    def charts(self) -> list[Any]:
        found: list[Any] = self.page.query_selector_all(".chart")
        return found

    def colour(self, selector: str, name: str = "background-color") -> str:
        return str(self.page.eval_on_selector(selector, f"one => getComputedStyle(one).getPropertyValue('{name}')"))


@pytest.mark.parametrize(
    ("name", "screen"),
    [
        *((name, WIDE) for name in ("tested", "running", "failed", "own", "compared")),
        *(pytest.param(name, WIDE, marks=pytest.mark.long) for name in ("many", "ann", "ann-wide", "cnn")),
        *((name, PHONE) for name in ("tested", "own", "compared")),
    ],
)
def test_a_page_is_drawn_whole_and_offline(browser: Any, pages: Pages, name: str, screen: dict[str, int]) -> None:
    reader = Reader(browser, pages[name], viewport=screen)
    reader.keep(f"{name}-{screen['width']}")
    assert reader.said == []
    assert [url for url in reader.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    shows_mistakes = name in ("tested", "own", "ann", "ann-wide", "cnn")
    assert len(reader.page.query_selector_all(".mistakes img")) == (20 if shows_mistakes else 0)
    charts = reader.charts()
    assert bool(charts) == (name != "failed")
    for chart in charts:
        assert chart.evaluate(MARKS), chart.get_attribute("data-figure")
        box = chart.bounding_box()
        assert box["width"] > 150
        # Not shrunk: the type has the size that it was given.
        assert (
            chart.eval_on_selector("svg", "svg => svg.getBoundingClientRect().width / svg.getAttribute('width')") > 0.97
        )
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= screen["width"]
    assert reader.page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
    reader.page.context.close()


@pytest.mark.parametrize("name", ["tested", "compared"])
def test_every_figure_answers_the_pointer(browser: Any, pages: Pages, name: str) -> None:
    reader = Reader(browser, pages[name], viewport=WIDE)
    charts = reader.charts()
    assert charts
    for chart in charts:
        chart.scroll_into_view_if_needed()
        told = False
        for x, y in chart.evaluate(MARKS)[:60]:
            reader.page.mouse.move(x, y)
            if told := reader.page.query_selector("#vg-tooltip-element.visible") is not None:
                break
        assert told, chart.get_attribute("data-figure")
        reader.page.mouse.move(0, 0)
    assert reader.said == []
    reader.page.context.close()


def test_a_network_of_ones_own_has_the_name_that_it_was_given(browser: Any, pages: Pages) -> None:
    reader = Reader(browser, pages["own"], viewport=WIDE)
    assert reader.page.inner_text("h1") == "fake: nets:Mine search on patches"
    assert {"width", "learning_rate"} <= set(reader.page.inner_text("#all-trials thead").split())
    reader.page.context.close()


@pytest.mark.parametrize("name", ["slices", "parallel"])
def test_a_part_of_one_figure_is_chosen_in_all_and_in_the_table(browser: Any, pages: Pages, name: str) -> None:
    reader = Reader(browser, pages["tested"], viewport=WIDE)
    chart = reader.page.query_selector(f"[data-figure={name}]")
    chart.scroll_into_view_if_needed()
    plot = chart.query_selector(".mark-symbol").bounding_box()
    # The upper part: of lines, on the last axis, which is the score's.
    left = plot["x"] - 4 if name == "slices" else plot["x"] + plot["width"] - 12
    reader.page.mouse.move(left, plot["y"] - 4)
    reader.page.mouse.down()
    reader.page.mouse.move(plot["x"] + plot["width"] + 4, plot["y"] + plot["height"] / 2, steps=4)
    reader.page.mouse.up()
    bar = reader.page.wait_for_selector("#chosen:not([hidden])")
    count = int(bar.inner_text().split()[0])
    shown = "#all-trials tbody tr:not([hidden])"
    scores = [
        float(text.split()[0])
        for text in reader.page.eval_on_selector_all(
            "#all-trials tbody tr", "all => all.filter(row => !row.hidden).map(row => row.cells[2].innerText)"
        )
    ]
    everything = Results(SearchPaths(pages["tested"].parent)).ranked["score"] * 100
    assert 0 < count == len(scores) < 24
    assert min(scores) > (everything.min() + everything.max()) / 2 - 1
    pale = "[...document.querySelectorAll('[data-figure=learning_curves] .mark-line path')]"
    pale += ".filter(line => Number(line.getAttribute('stroke-opacity')) < 0.1).length"
    reader.page.wait_for_function(f"{pale} > 0")
    reader.page.click("#chosen button")
    reader.page.wait_for_function(f"{pale} === 0")
    assert len(reader.page.query_selector_all(shown)) == 24
    assert reader.said == []
    reader.page.context.close()


def test_the_table_of_trials_sorts_by_number_and_by_text(browser: Any, pages: Pages) -> None:
    reader = Reader(browser, pages["tested"], viewport=WIDE)
    heads = [head.inner_text() for head in reader.page.query_selector_all("#all-trials th")]

    def column(name: str) -> list[str]:
        cells = f"#all-trials tbody td:nth-child({heads.index(name) + 1})"
        return [str(text) for text in reader.page.eval_on_selector_all(cells, "all => all.map(cell => cell.innerText)")]

    for name, key in (("trial", int), ("status", str), ("learning_rate", float)):
        button = f"#all-trials th:nth-child({heads.index(name) + 1}) button"
        reader.page.click(button)
        upwards = [key(text) for text in column(name)]
        assert upwards == sorted(upwards)
        reader.page.click(button)
        downwards = [key(text) for text in column(name)]
        assert downwards == sorted(downwards, reverse=True)
    assert reader.page.get_attribute(f"#all-trials th:nth-child({heads.index('learning_rate') + 1})", "aria-sort")
    reader.page.context.close()


def test_the_night_is_dark_and_paper_is_white(browser: Any, pages: Pages) -> None:
    reader = Reader(browser, pages["tested"], viewport=WIDE, color_scheme="dark")
    axis = "[data-figure=learning_curves] .role-axis-label text"
    assert reader.colour("body") == "rgb(20, 23, 27)"
    assert reader.colour(axis, "fill") == "rgb(163, 171, 183)"
    reader.keep("tested-night")
    reader.page.emulate_media(media="print")
    assert reader.colour("body") == "rgb(255, 255, 255)"
    assert reader.colour(axis, "fill") == "rgb(89, 98, 110)"
    assert reader.page.query_selector("nav").is_visible() is False
    reader.page.set_viewport_size({"width": 720, "height": 1000})
    reader.page.wait_for_function("document.documentElement.scrollWidth <= 720")
    reader.keep("tested-print")
    reader.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["tested", "own", "compared"])
def test_nothing_keeps_anyone_out(browser: Any, pages: Pages, name: str, scheme: str) -> None:
    reader = Reader(browser, pages[name], viewport=PHONE, color_scheme=scheme)
    found = axe.Axe().run(reader.page).response["violations"]
    assert [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found] == []
    reader.page.context.close()


@pytest.mark.long
def test_a_page_of_a_thousand_trials_is_at_most_3_megabytes(pages: Pages) -> None:
    assert pages["many"].stat().st_size < 3_000_000
