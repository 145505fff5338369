"""A searcher of the user's own: what it draws, with which seeds, and what is wrong with it in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler

from tune_fmnist import search
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import given_as_itself
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearcherSettings, SearchRecord
from tune_fmnist.tuning import own_sampler
from tune_fmnist.tuning.proposals import Outcome, Searching
from tune_fmnist.tuning.space_files import default_space, read_space

SPACE = read_space(default_space("ann"))
MADE: list[int] = []


class Lowest(BaseSampler):
    """Draws the lowest value of each parameter, and notes how many trials it was shown."""

    shown: ClassVar[list[tuple[int, int]]] = []

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        states = [one.state for one in study.get_trials(deepcopy=False)]
        running = states.count(optuna.trial.TrialState.RUNNING) - 1
        self.shown.append((states.count(optuna.trial.TrialState.COMPLETE), running))
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return distribution.low if hasattr(distribution, "low") else distribution.choices[0]


def lowest(seed: int) -> BaseSampler:
    MADE.append(seed)
    return Lowest()


def test_it_draws_from_the_first_trial_on_and_sees_what_runs() -> None:
    propose = Searching.of(SearcherSettings(name=given_as_itself(lowest), n_startup_trials=0), SPACE, seed=3)
    first = propose(1, [])
    assert first.origin == "model"
    low = {name: getattr(of, "low", None) for name, of in SPACE.parameters.items()}
    assert {name: value for name, value in first.values.items() if low[name] is not None} == {
        name: low[name] for name in first.values if low[name] is not None
    }
    MADE.clear()
    Lowest.shown.clear()
    told = [Outcome(first.values, 0.8), Outcome(first.values, None)]
    propose(2, told)
    propose(2, told)
    propose(3, told)
    # A draw is the same whenever it is made, and another one for each trial.
    assert MADE[0] == MADE[1] != MADE[2]
    assert Lowest.shown == [(1, 1)] * 3


@pytest.mark.long
def test_a_search_with_a_function_is_resumed_with_it(tmp_path: Path) -> None:
    settings = {"trials": 3, "max_epochs": 1, "limit_train": 500, "retrain": False}
    search("ann", searcher=lowest, name="own", results_dir=tmp_path, **settings)  # type: ignore[arg-type]
    paths = SearchPaths(tmp_path / "own")
    rows = tables.read(paths.trials, tables.TRIALS).to_pylist()
    assert [row["origin"] for row in rows] == ["baseline", "model", "model"]
    assert rows[1]["config_learning_rate"] == rows[2]["config_learning_rate"]
    name = f"{__name__}:lowest"
    assert SearchRecord.read(paths).searcher.name == name
    with pytest.raises(InputError, match=f"give searcher {name} again"):
        search(name="own", results_dir=tmp_path, resume=True, trials=4)
    search(name="own", results_dir=tmp_path, resume=True, trials=4, searcher=lowest)
    assert len(tables.read(paths.trials, tables.TRIALS)) == 4


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def make(seed): return 3\n", "--searcher: wrong_sampler:make gives a int, not an Optuna sampler"),
        ("def make(): pass\n", "--searcher: make raised TypeError for seed 0: make() takes 0 positional arguments"),
        ("def make(seed): raise ValueError('no')\n", "--searcher: make raised ValueError for seed 0: no"),
        ("make = 3\n", "--searcher: 'wrong_sampler:make' is not a function; name one that takes a seed"),
        ("other = 3\n", "wrong_sampler has no 'make'; name one that wrong_sampler has"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(
    source: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong_sampler.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wrong_sampler", raising=False)
    with pytest.raises(InputError) as caught:
        own_sampler.check("wrong_sampler:make")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


class Broken(RandomSampler):
    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        raise KeyError("lost")


def broken(seed: int) -> BaseSampler:
    return Broken(seed=seed)


def test_an_error_in_a_draw_names_the_line_of_the_users_code() -> None:
    propose = Searching.of(SearcherSettings(name=given_as_itself(broken), n_startup_trials=0), SPACE, seed=3)
    with pytest.raises(InputError, match=r"test_own_sampler\.py:\d+: --searcher: broken raised KeyError in a draw"):
        propose(1, [])
