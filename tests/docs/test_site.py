"""The site that `make docs` built: it fetches nothing, its reference is complete, its notebook has answers."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="`make test-docs` runs these in an environment of their own")

import nbclient
import nbformat
import typer

import tune_fmnist
from tests.docs import ROOT
from tune_fmnist.cli import all_commands
from tune_fmnist.reporting.events import EVENTS
from tune_fmnist.store import tables

SITE = ROOT / "build" / "site"


class _Fetched(HTMLParser):
    """What a browser fetches to show a page; links are not followed."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in {"src", "srcset", "poster"} or (tag, name) == ("link", "href")):
                self.found.append(value)
            if value and name == "style":
                self.found += re.findall(r"url\(['\"]?([^'\")]+)", value)


def text(page: str) -> str:
    """Return what a page says, without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", (SITE / page).read_text()))


def test_no_page_fetches_anything_from_elsewhere() -> None:
    fetched = {page: _Fetched(page).found for page in SITE.rglob("*.html")}
    assert len(fetched[SITE / "index.html"]) > 2
    for page, found in fetched.items():
        assert not [one for one in found if one.startswith(("http:", "https:", "//"))], page
    for file in [*SITE.rglob("*.css"), *SITE.rglob("*.svg")]:
        assert not re.search(r"(url\(['\"]?|@import ['\"]|href=['\"])(https?:)?//", file.read_text()), file


def test_what_every_option_of_every_command_does_is_in_the_reference() -> None:
    page = text("reference/commands.html")
    program = typer.main.get_command(all_commands())
    assert isinstance(program, typer.core.TyperGroup)
    for name, command in program.commands.items():
        section = page.split(f"tune-fmnist {name} ")[1].split("tune-fmnist ")[0]
        for parameter in command.params:
            assert isinstance(parameter, typer.core.TyperOption | typer.core.TyperArgument)
            assert parameter.help
            assert parameter.help.replace("`", "") in section, (name, parameter.opts)


def test_every_column_is_in_the_reference() -> None:
    page = text("reference/tables.html")
    for schema in (tables.TRIALS, tables.EPOCHS, tables.CONFIRMATIONS, tables.RETRAINS, tables.PREDICTIONS):
        for field in schema:
            assert field.name in page
            assert field.metadata[b"description"].decode() in page


def test_every_event_is_in_the_reference_with_its_fields() -> None:
    page = text("reference/events.html")
    for event, following in zip_longest(EVENTS, EVENTS[1:]):
        section = page.split(event.__doc__ or "")[1]
        if following is not None:
            section = section.split(following.__doc__ or "")[0]
        for name, field in event.model_fields.items():
            assert name in section
            assert field.description or name == "event"
            assert (field.description or "") in section


def test_every_file_of_the_code_is_in_the_reference() -> None:
    page, package = text("reference/code.html"), Path(tune_fmnist.__file__).parent
    for file in package.rglob("*.py"):
        assert file.relative_to(package).as_posix() in page


def test_every_name_of_the_api_is_in_the_reference_with_its_docstring() -> None:
    page = " ".join(text("reference/python.html").split())
    for name in tune_fmnist.__all__:
        first = getattr(tune_fmnist, name).__doc__.split("\n")[0].replace("``", "")
        assert first in page


def test_the_picture_of_the_terminal_is_its_log() -> None:
    log = re.sub(r"\x1b\[[0-9;]*m", "", (ROOT / "docs" / "pictures" / "terminal.txt").read_text()).strip().splitlines()
    drawn = text("pictures/terminal.svg").replace("\N{NO-BREAK SPACE}", " ")
    assert all(line.strip() in drawn for line in log)


def test_the_notebook_answers_its_questions() -> None:
    page = (SITE / "notebook.html").read_text()
    assert len(re.findall(r'<h2 id="\d', page)) == 5
    assert page.count("data:image/png;base64,") == 2
    said = text("notebook.html")
    assert re.search(r"within 0\.1 points of the end after \d+ of \d+ epochs", said)
    assert re.search(r"test accuracy 9\d\.\d\d%, 95 % interval", said)
    assert "more than chance" in said
    # The mistake that every Fashion-MNIST model makes most.
    assert re.search(r"<td>(shirt|T-shirt/top)</td>", page)


def test_a_search_in_a_notebook_keeps_what_the_cell_printed(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell(
        "print('said before')\n"
        "from tune_fmnist import search\n"
        "found = search('ann', trials=2, max_epochs=3, limit_train=600, retrain=False, name='small')\n"
        "print('said after', len(found.trials))"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    said = "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in outputs)
    parts = ["said before", "2 trials of up to 3 epochs", "2/2 trials", "report.html", "said after 2"]
    places = [said.find(part) for part in parts]
    assert places == sorted(places), said
    assert -1 not in places, said
