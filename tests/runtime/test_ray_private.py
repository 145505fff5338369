"""What is used of Ray that is not public: it is there, its absence is told by name, and it is used only in a search."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.tune.tune
from packaging.requirements import Requirement
from packaging.version import Version
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from tune_fmnist.runtime import ray_private
from tune_fmnist.runtime.ray_session import running_ray

ROOT = Path(__file__).resolve().parents[2]


def test_this_ray_has_all_names() -> None:
    ray_private.check()


@pytest.mark.parametrize("name", ray_private._NAMES)
def test_name_that_is_missing_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, path = name.partition(":")
    *parents, last = path.split(".")
    owner: Any = import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    monkeypatch.delattr(owner, last)
    with pytest.raises(RuntimeError, match=rf"^Ray {re.escape(ray.__version__)} lacks {re.escape(name)}; ") as caught:
        ray_private.check()
    assert str(caught.value).endswith(f"was tried with Ray {', '.join(ray_private.TRIED)}: install one of these")


def test_all_names_that_are_missing_are_told_before_ray_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = ["ray.tune.tune:NoSuchName", "ray.no_such_module:Name", "ray.tune.tune:TuneController.no_such_method"]
    monkeypatch.setattr(ray_private, "_NAMES", (*made_up[:1], *ray_private._NAMES, *made_up[1:]))
    with pytest.raises(RuntimeError, match=re.escape(f" lacks {', '.join(made_up)}; ")), running_ray(None):
        pytest.fail("Ray was started")
    assert not ray.is_initialized()


def test_controller_whose_instances_lack_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TuneController, "__init__", lambda self: None)
    with pytest.raises(RuntimeError, match=r"its controller lacks _actor_to_trial, _resetting_trials$"):
        ray_private._Controller()


def test_releases_that_pip_may_install_are_those_of_the_tried_minor_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (allowed,) = (needs for text in project["dependencies"] if (needs := Requirement(text)).name == "ray")
    assert allowed.extras == {"tune"}
    ((major, minor),) = {Version(text).release[:2] for text in ray_private.TRIED}
    for text in (*ray_private.TRIED, f"{major}.{minor}.0", f"{major}.{minor}.99"):
        assert allowed.specifier.contains(text), text
    for text in (f"{major}.{minor - 1}.99", f"{major}.{minor + 1}.0", f"{major + 1}.{minor}.0"):
        assert not allowed.specifier.contains(text), text


def test_release_in_use_was_tried() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert pinned["ray"] in ray_private.TRIED
    assert version("ray") in ray_private.TRIED


def test_controller_is_replaced_only_while_a_search_runs() -> None:
    import_module("tune_fmnist.runtime.trials")
    assert ray.tune.tune.TuneController is TuneController  # type: ignore[attr-defined]
    for error in (None, KeyboardInterrupt):
        try:
            with ray_private.resilient_controller():
                assert ray.tune.tune.TuneController is ray_private._Controller  # type: ignore[attr-defined]
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            pass
        assert ray.tune.tune.TuneController is TuneController  # type: ignore[attr-defined]


def test_failure_is_taken_back_once() -> None:
    trial = Trial("none", stub=True)
    trial.run_metadata.num_failures = 2
    left = []
    for _ in range(3):
        ray_private.forgive(trial)
        left.append(trial.num_failures)
    assert left == [1, 0, 0]
