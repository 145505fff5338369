"""A search's results in Python: what they show of themselves, and what they say of what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_search import add_retrains, edit_trials, make_search, mean_of
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.results import Results
from tune_fmnist.store.paths import SearchPaths

OF_RETRAINS = ("retrains", "retrain_epochs", "predictions", "test_reads")


def test_repr_is_one_line_that_says_what_was_found(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    best = results.ranked.iloc[0]
    first = (
        "<Results fake: ann on fashion-mnist, 6 trials (1 running, 3 completed, 1 diverged, 1 failed), "
        f"best score {best['score']:.4f} (trial {best['number']})"
    )
    assert repr(results) == f"{first}>"
    add_retrains(results, [0.5, 0.9], baseline=0.1)
    name = results.retrains.loc[results.retrains["rank"] == 1, "config_id"].iloc[0]
    assert repr(Results(results.paths)) == f"{first}, test accuracy {mean_of(results, name):.4f}>"


def test_repr_of_a_search_without_a_score(tmp_path: Path) -> None:
    lost = {"status": "failed", "reason": "out of memory"}
    results = edit_trials(make_search(tmp_path), dict.fromkeys(range(6), lost))
    assert repr(results) == "<Results fake: ann on fashion-mnist, 6 trials (6 failed)>"


def test_repr_of_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    shown = repr(Results(SearchPaths(tmp_path / "none")))
    assert shown.startswith(f"<Results {tmp_path}/none: ")
    assert "search.json: file not found" in shown
    assert len(shown.splitlines()) == 1


def test_a_notebook_shows_the_best_trials(tmp_path: Path) -> None:
    results = make_search(tmp_path, name="<b>night</b>", trials=8)
    shown = results._repr_html_()
    assert "&lt;b&gt;night&lt;/b&gt;: ann on fashion-mnist, 8 trials" in shown
    assert "report.html" not in shown
    for row in results.ranked.to_dict("records"):
        assert f"<td>{row['number']}</td>" in shown
    assert "<td>3</td>" not in shown.replace(f"<td>{results.ranked['epochs'].iloc[0]}</td>", "")
    for heading in ("score", "status", "learning_rate", "hidden1"):
        assert f"<th>{heading}</th>" in shown
    # These are the same in all trials.
    assert "<th>batch_size</th>" not in shown
    results.paths.page.touch()
    assert f'<a href="{results.paths.page}">the page</a>' in results._repr_html_()


def test_what_has_not_been_retrained_says_which_call_retrains(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    assert not results.retrained
    for name in (*OF_RETRAINS, "comparison", "tested_predictions", "best_model"):
        with pytest.raises(InputError, match="nothing has been retrained") as caught:
            results.best_model() if name == "best_model" else getattr(results, name)
        assert caught.value.hint == f"call tune_fmnist.retrain({str(tmp_path)!r}), or run `tune-fmnist retrain`"


def test_missing_table_names_its_file(tmp_path: Path) -> None:
    results = Results(SearchPaths(tmp_path))
    for name in ("trials", "epochs"):
        with pytest.raises(InputError, match="table not found") as caught:
            getattr(results, name)
        assert caught.value.file == tmp_path / f"{name}.parquet"
    for name in OF_RETRAINS:
        with pytest.raises(InputError, match="nothing has been retrained") as caught:
            getattr(results, name)
        assert caught.value.file == tmp_path / f"{name}.parquet"


def test_ranked_are_those_that_count_best_first(tmp_path: Path) -> None:
    results = edit_trials(make_search(tmp_path, trials=8), {3: {"score": 0.999}})
    usable = results.trials[results.trials["score"].notna() & ~results.trials["status"].isin(["diverged", "failed"])]
    expected = usable.sort_values(["score", "number"], ascending=[False, True])
    assert results.ranked["number"].tolist() == expected["number"].tolist()
    assert 3 not in results.ranked["number"].tolist()


def test_of_equal_scores_the_earlier_trial_ranks_higher(tmp_path: Path) -> None:
    same = {"score": 0.9}
    results = edit_trials(make_search(tmp_path), {0: same, 2: same, 1: same})
    assert results.ranked["number"].tolist()[:3] == [0, 1, 2]
