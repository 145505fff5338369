"""The score, confusion counts and the accuracy of each class."""

from __future__ import annotations

import numpy as np
import pytest

from tune_fmnist.base.metrics import class_accuracy, confusion, score_of, shares

LABEL = np.array([0, 0, 0, 1, 1, 3], np.int8)
PREDICTED = np.array([0, 0, 1, 1, 1, 2], np.int8)


@pytest.mark.parametrize(
    ("accuracies", "score"),
    [([0.8], 0.8), ([0.8, 0.9], 0.85), ([0.99, 0.6, 0.7, 0.8], 0.7), ([0.7, 0.8, 0.6, 0.1], 0.5)],
)
def test_a_score_is_the_mean_of_the_last_three_epochs_not_the_best_of_all(
    accuracies: list[float], score: float
) -> None:
    assert score_of(accuracies) == pytest.approx(score)


def test_confusion_counts_true_classes_in_rows_and_predicted_ones_in_columns() -> None:
    assert confusion(LABEL, PREDICTED, 4).tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert confusion(LABEL[:0], PREDICTED[:0], 2).tolist() == [[0, 0], [0, 0]]


def test_a_class_number_above_what_fits_in_a_byte_is_counted_in_its_cell() -> None:
    label = np.array([99, 0], np.int8)
    assert np.argwhere(confusion(label, label, 100)).tolist() == [[0, 0], [99, 99]]


def test_a_class_without_images_has_no_accuracy() -> None:
    accuracy = class_accuracy(LABEL, PREDICTED, 4)
    assert accuracy[[0, 1, 3]].tolist() == [2 / 3, 1.0, 0.0]
    assert np.isnan(accuracy[2])
    assert shares(confusion(LABEL, PREDICTED, 4))[0].tolist() == [2 / 3, 1 / 3, 0.0, 0.0]
