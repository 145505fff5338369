"""What `retrain` does where its options do not say: what was done before, or was planned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.records import make_record
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.retrain import _plan

PLANNED = {"wanted": False, "top_k": 3, "seeds": 4, "confirm": 2}


@pytest.mark.parametrize(
    ("last", "given", "wanted"),
    [
        (None, {}, (3, 4, 2)),
        ({"top_k": 5, "seeds": 7, "confirm": 1}, {}, (5, 7, 1)),
        # Confirmations alone had been run when it was interrupted.
        ({"confirm": 1}, {}, (3, 4, 1)),
        ({"top_k": 5, "seeds": 7, "confirm": 1}, {"top_k": 1, "retrain_seeds": 2, "confirm": 0}, (1, 2, 0)),
    ],
)
def test_what_is_not_said_is_as_before(
    last: dict[str, int] | None, given: dict[str, int], wanted: tuple[int, int, int]
) -> None:
    session: Any = SimpleNamespace(record=make_record(retrain_plan=PLANNED, retrain=last), options=Options.of(**given))
    plan = _plan(session)
    assert (plan.top_k, plan.seeds, plan.confirm) == wanted
    assert plan.wanted
