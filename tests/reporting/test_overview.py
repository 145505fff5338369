"""The list of searches says what their tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_search import add_retrains, make_search
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.overview import Line, lines, table
from tune_fmnist.reporting.results import open_search, rows_of
from tune_fmnist.reporting.screen import console
from tune_fmnist.reporting.wording import percent


def test_each_search_has_a_line_and_one_that_cannot_be_read_its_error(tmp_path: Path) -> None:
    results = make_search(tmp_path / "whole")
    add_retrains(results, [0.9, 0.1], baseline=0.1)
    results = open_search(tmp_path / "whole")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "search.json").write_text("{")
    line, error = lines(tmp_path)
    assert isinstance(line, Line)
    assert (line.name, line.model, line.dataset) == ("whole", results.record.model, "Fashion-MNIST")
    assert line.validation == percent(rows_of(results.ranked)[0]["score"])
    first = results.retrains[results.retrains["rank"] == 1]
    assert line.test == percent(float(first["test_accuracy"].mean()))
    assert line.trials.endswith(f"/{results.record.trials}")
    assert isinstance(error, InputError)
    assert "broken" in str(error)
    out = console()
    with out.capture() as captured:
        out.print(table([line, error]))
    assert len(captured.get().splitlines()) == 2


def test_a_folder_without_a_search_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--results-dir: holds no search; begin one with"):
        lines(tmp_path)
