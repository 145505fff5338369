"""How a search was computed is said in words, with units, and what is not known is left out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake_search import record_of
from tune_fmnist.reporting.provenance import provenance
from tune_fmnist.store.record import SearchRecord


def told(**changes: Any) -> dict[str, str]:
    return dict(provenance(SearchRecord.model_validate(record_of("cnn") | changes)))


def test_what_is_not_known_is_left_out() -> None:
    words = told(hardware={}, versions={}, git_commit=None, placement=None, utilisation=None)
    assert not {"Machine", "Software"} & words.keys()
    assert words["Time"] == "9:31 min in all, 5:00 min for the trials."


def test_times_and_memory_have_units() -> None:
    retrain = {"top_k": 3, "seeds": 5, "confirm": 2, "confirmation_seconds": 75.2, "seconds": 3720.0}
    words = told(hardware={"memory_bytes": 2**31, "gpus": ["H100"]}, placement=None, retrain=retrain)
    assert words["Machine"] == "2.0 GiB of memory; GPUs: H100."
    assert "1:15 min for the confirmations, 1:02 h for the retrains" in words["Time"]
    assert words["Retrains and test"] == (
        "The best 3 configurations and the baseline, each trained anew with 5 seeds on all images. Before, "
        "candidates are trained again with 2 further seeds, by which they rank."
    )
    planned = {"wanted": True, "top_k": 1, "seeds": 5}
    assert told(retrain_plan=planned)["Retrains and test"].startswith(
        "Planned: the best configuration and the baseline, "
    )


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ({"name": "fifo"}, "None: every trial trains to the end."),
        (
            {"name": "asha", "grace": 3, "reduction_factor": 3},
            "Successive halving: after epoch 3 about one trial in 3 goes on; the others are stopped.",
        ),
        (
            {"name": "promotion", "grace": 3, "reduction_factor": 3},
            "Successive halving: after epoch 3 about one trial in 3 goes on; a trial waits until it is among the best "
            "there.",
        ),
    ],
)
def test_early_stopping_is_named_with_its_rungs(scheduler: dict[str, Any], words: str) -> None:
    assert told(scheduler=scheduler)["Which go on"] == words


def test_a_search_that_is_to_retrain_nothing_says_so() -> None:
    plan = {"wanted": False, "top_k": 3, "seeds": 3}
    assert told(retrain_plan=plan)["Retrains and test"] == "None are planned."
