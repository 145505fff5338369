"""A confirmation trains as a trial does, with a seed of its own, and a diverged one counts as bad."""

from __future__ import annotations

import numpy as np
import pytest

from tune_fmnist import data
from tune_fmnist.base.metrics import score_of
from tune_fmnist.models.config import Ann
from tune_fmnist.runtime.worker import run_trial
from tune_fmnist.store.confirmation_table import hits
from tune_fmnist.store.jobs import ConfirmationJob, EpochResult, TrialJob
from tune_fmnist.training.tasks import confirm

SMALL = Ann(hidden1=32, hidden2=16)


@pytest.fixture(scope="module")
def split(training: data.Images) -> data.Split:
    return data.split(data.limited(training, 2000, seed=0), seed=0)


def test_a_confirmation_scores_as_a_trial_of_its_seed_does(split: data.Split) -> None:
    result = confirm(ConfirmationJob(3, SMALL, seed=5, epochs=4, expected_seconds=1.0), split, False, 1)
    epochs: list[EpochResult] = []
    run_trial(TrialJob(number=3, seed=5, config=SMALL, max_epochs=4), split, epochs.append)
    accuracies = [epoch.val_accuracy for epoch in epochs]
    assert (result.status, result.epochs, result.parameters) == ("completed", 4, epochs[0].parameters)
    assert result.score == score_of(accuracies)
    assert result.val_accuracy == accuracies[-1]
    bits = [np.unpackbits(np.frombuffer(cell, np.uint8), count=400) for cell in result.correct]
    assert [one.mean() for one in bits] == pytest.approx(accuracies[-3:])
    assert hits(vars(result), 400).mean() == pytest.approx(result.score)


def test_a_confirmation_that_diverges_has_the_worst_score_and_no_image_right(split: data.Split) -> None:
    wild = SMALL.model_copy(update={"learning_rate": 1e30, "optimizer": "sgd"})
    result = confirm(ConfirmationJob(3, wild, seed=5, epochs=4, expected_seconds=1.0), split, False, 1)
    assert (result.status, result.score, result.val_accuracy) == ("diverged", 0.0, None)
    assert result.epochs < 4
    assert not hits(vars(result), 400).any()
