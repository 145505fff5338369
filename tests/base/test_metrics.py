"""Confusion counts and the accuracy of each class."""

from __future__ import annotations

import numpy as np

from tune_fmnist.base.metrics import class_accuracy, confusion, shares

LABEL = np.array([0, 0, 0, 1, 1, 3], np.int8)
PREDICTED = np.array([0, 0, 1, 1, 1, 2], np.int8)


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
