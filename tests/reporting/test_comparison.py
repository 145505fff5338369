"""Searches are compared by their tables: on the same images, each with its own seeds, and said so in words."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from tests.fake_search import add_confirmations, add_retrains, make_search
from tune_fmnist import compare
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting import comparison
from tune_fmnist.reporting.results import open_search, rows_of
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.screen import console
from tune_fmnist.reporting.wording import DASH


def test_the_first_ranks_are_compared_on_the_same_test_images(tmp_path: Path) -> None:
    for name, level in (("good", 0.9), ("poor", 0.1)):
        add_retrains(make_search(tmp_path / name), [level], baseline=0.0)
    found = compare([tmp_path / "poor", tmp_path / "good"])
    poor, good = rows_of(found.table)
    tested = Retrained.of(open_search(tmp_path / "good"))
    assert tested is not None
    right = tested.predictions["label"] == tested.predictions["predicted"]
    assert good["test"] == pytest.approx(right.mean())
    assert found.findings[0] == "All validate on the same images: their scores can be compared."
    points = (good["test"] - poor["test"]) * 100
    assert found.findings[1].startswith(f"In the test the first rank of good is {points:.2f} points above that of poor")
    assert found.findings[1].endswith("p < 0.001): more than chance.")
    low, high = map(float, re.findall(r"interval ([\d.]+) to ([\d.]+)", found.findings[1])[0])
    assert low < points < high
    page = found.write_page(tmp_path / "both.html").read_text()
    assert "<title>poor and good</title>" in page
    for said in (*found.findings, f"{good['test'] * 100:.2f}\N{NO-BREAK SPACE}%"):
        assert said.replace(" %", "\N{NO-BREAK SPACE}%").replace("<", "&lt;") in page.replace(
            " %", "\N{NO-BREAK SPACE}%"
        )
    with pytest.raises(InputError, match="--page: folder not found; make it"):
        found.write_page(tmp_path / "none" / "both.html")
    # A search is not better than itself, whatever the order.
    add_retrains(make_search(tmp_path / "again"), [0.9], baseline=0.0)
    assert compare([tmp_path / "good", tmp_path / "again"]).findings[1].endswith(": this may be chance.")


def test_searches_on_other_images_or_without_a_test_are_not_compared_in_what_they_do_not_share(tmp_path: Path) -> None:
    first, second = make_search(tmp_path / "a" / "x"), make_search(tmp_path / "b" / "x")
    record = second.record
    record.split_hash, record.searcher = "other", record.searcher.model_copy(update={"name": "random"})
    record.space = {"model": "ann", "parameters": {"dropout": {"type": "float", "low": 0.0, "high": 0.3}}}
    record.write(second.paths)
    found = compare([first.paths.folder, second.paths.folder])
    assert [row["name"] for row in rows_of(found.table)] == ["a/x", "b/x"]
    assert all(math.isnan(row["test"]) for row in rows_of(found.table))
    assert "within these groups only: a/x; b/x." in found.findings[0]
    assert found.findings[1].startswith("No two of them have tested models")
    assert ("searcher.name", first.record.searcher.name, "random") in found.differences
    assert any(line[0] == "dropout" and line[2] == "0 to 0.3" for line in found.differences)
    out = console()
    with out.capture() as captured:
        comparison.print_comparison(found, out)
    assert "what differs:" in captured.get()


def test_scores_that_mean_something_else_are_not_compared(tmp_path: Path) -> None:
    first, second, third = (make_search(tmp_path / name) for name in "abc")
    record = second.record
    record.scored_epochs = None
    record.scheduler = record.scheduler.model_copy(update={"grace": 2})
    record.space = record.space | {"fixed": {"batch_size": 128}, "max_parameters": 500_000}
    record.write(second.paths)
    add_confirmations(third, [0.8], baseline=0.1)
    found = compare([first.paths.folder, second.paths.folder, third.paths.folder])
    assert found.caution == "The searches' scores are of different epochs"
    assert (
        found.findings[0] == "Their scores are of different epochs, and compare within these groups only: a and c; b."
    )
    assert found.findings[1].startswith("The validation of c is a mean of confirmations; of the others it is the best ")
    differing = {key: values for key, *values in found.differences}
    assert differing["scored_epochs"] == ["3", DASH, "3"]
    assert differing["scheduler.grace"][1] == "2"
    assert differing["batch_size"] == [DASH, "always 128", DASH]
    assert differing["max_parameters"] == [DASH, "500,000", DASH]


def test_of_three_each_pair_is_compared_and_the_p_values_are_corrected(tmp_path: Path) -> None:
    for name, level in (("good", 0.9), ("fair", 0.6), ("poor", 0.3)):
        add_retrains(make_search(tmp_path / name), [level], baseline=0.0)
    found = compare([tmp_path / "poor", tmp_path / "good", tmp_path / "fair"])
    pairs = [re.findall(r"first rank of (\w+) is .* above that of (\w+) ", said) for said in found.findings[1:]]
    assert pairs == [[("good", "poor")], [("fair", "poor")], [("good", "fair")]]
    record = open_search(tmp_path / "fair").record
    record.test_hash = "other"
    record.write(open_search(tmp_path / "fair").paths)
    found = compare([tmp_path / "poor", tmp_path / "good", tmp_path / "fair"])
    assert len(found.findings) == 2, "other test images"


def test_one_search_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FOLDER: missing; name two searches or more"):
        compare([tmp_path])
