"""ASHA neither stops nor counts the baseline, and stops by the epochs and shares that it is given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from tests.records import make_job, make_result, scheduler_settings
from tune_fmnist.store.jobs import JOB, METRIC, RESULT
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.scheduler import Asha, Promotion

CONTROLLER: Any = None


def judge(scheduler: Asha | Promotion, number: int, epoch: int, score: float) -> str:
    """Return what a scheduler makes of a trial's epoch; it is admitted with its first one."""
    trial: Any = SimpleNamespace(config={JOB: make_job(number)})
    if epoch == 1:
        scheduler.on_trial_add(CONTROLLER, trial)
    return scheduler.on_trial_result(
        CONTROLLER, trial, {"epoch": epoch, METRIC: score, RESULT: make_result(epoch, score)}
    )


def test_the_baseline_is_neither_stopped_nor_counted() -> None:
    scheduler = Asha(9, grace=1, reduction_factor=3, audit=Audit(0.0, 1))
    for number in (1, 2, 3):
        judge(scheduler, number, 1, 0.8)
    assert [judge(scheduler, 0, epoch, 0.1) for epoch in range(1, 10)] == [TrialScheduler.CONTINUE] * 8 + [
        TrialScheduler.STOP
    ]
    alone = Asha(9, grace=1, reduction_factor=3, audit=Audit(0.0, 1))
    judge(alone, 0, 1, 0.99)
    assert judge(alone, 1, 1, 0.5) == TrialScheduler.CONTINUE, "a better baseline does not stop the first trial"


def test_a_resumed_search_does_not_count_it_either() -> None:
    scheduler = Asha(9, grace=1, reduction_factor=3, audit=Audit(0.0, 1))
    scheduler.resume([{"number": 0, "epoch": 1, METRIC: 0.99}])
    assert judge(scheduler, 1, 1, 0.5) == TrialScheduler.CONTINUE


@pytest.mark.parametrize(("grace", "factor", "stopped"), [(1, 3, 1), (3, 3, 3), (2, 4, 2)])
def test_a_poor_trial_ends_at_the_first_rung(grace: int, factor: int, stopped: int) -> None:
    scheduler = Asha(9, grace=grace, reduction_factor=factor, audit=Audit(0.0, 1))
    for number in range(1, 9):
        for epoch in range(1, grace + 1):
            judge(scheduler, number, epoch, 0.9)
    actions = [judge(scheduler, 9, epoch, 0.1) for epoch in range(1, grace + 1)]
    assert actions.index(TrialScheduler.STOP) + 1 == stopped


def test_an_audited_trial_runs_on_and_does_not_count_where_it_would_not_have_got() -> None:
    audit = Audit(1.0, 1)
    scheduler = Asha(9, grace=1, reduction_factor=3, audit=audit)
    for epoch in range(1, 10):
        judge(scheduler, 1, epoch, 0.9)
    poor = [judge(scheduler, 2, epoch, 0.1 if epoch == 1 else 0.99) for epoch in range(1, 10)]
    assert poor == [TrialScheduler.CONTINUE] * 8 + [TrialScheduler.STOP]
    assert audit.stopped_at == {2: 1}
    assert audit.counted(2, {1: 0.1, 2: 0.99}) == {1: 0.1}
    # At epoch 3 it is compared with trial 1 alone, which was worse there than trial 2.
    assert [judge(scheduler, 3, epoch, 0.95) for epoch in range(1, 4)] == [TrialScheduler.CONTINUE] * 3
    assert audit.stopped_at == {2: 1}


def test_the_audit_takes_its_share_by_number() -> None:
    audit = Audit(0.3, 5)
    spared = [number for number in range(1, 1001) if audit.spares(number, 3)]
    assert 250 <= len(spared) <= 350
    assert spared == [number for number in range(1, 1001) if Audit(0.3, 5).spares(number, 3)]


def test_the_baseline_never_waits_and_does_not_count() -> None:
    rungs = Rungs.resumed(scheduler_settings("promotion"), 9, {}, [])
    scheduler = Promotion(rungs, Audit(0.0, 1))
    assert [judge(scheduler, 0, epoch, 0.9) for epoch in range(1, 10)] == [TrialScheduler.CONTINUE] * 9
    assert [judge(scheduler, number, 1, 0.5) for number in (1, 2, 3)] == [TrialScheduler.STOP] * 3
    assert rungs.candidate() == 1, "the best of three, of which the baseline is none"


def test_what_has_been_decided_is_not_decided_again() -> None:
    rungs = Rungs.resumed(scheduler_settings("promotion"), 9, {}, [])
    scheduler = Promotion(rungs, Audit(0.0, 1))

    def told(epoch: int, **job: Any) -> str:
        trial: Any = SimpleNamespace(config={JOB: make_job(1, **job)})
        result = make_result(epoch, 0.5, passed=epoch == 1 and not job)
        return scheduler.on_trial_result(CONTROLLER, trial, {"epoch": epoch, METRIC: 0.5, RESULT: result})

    assert told(1) == TrialScheduler.CONTINUE, "it has gone on before the search was interrupted"
    assert told(3) == TrialScheduler.STOP
    assert told(2, judged=2, ended=True) == TrialScheduler.STOP, "it had ended there"
    assert dict(rungs.waiting) == {1: 3}


def test_one_that_diverges_at_a_rung_does_not_wait_there() -> None:
    rungs = Rungs.resumed(scheduler_settings("promotion"), 9, {}, [])
    scheduler = Promotion(rungs, Audit(0.0, 1))
    trial: Any = SimpleNamespace(config={JOB: make_job(1)})
    lost = make_result(1, train_loss=float("nan"))
    action = scheduler.on_trial_result(CONTROLLER, trial, {"epoch": 1, METRIC: -1.0, RESULT: lost})
    assert (action, dict(rungs.waiting)) == (TrialScheduler.CONTINUE, {})
