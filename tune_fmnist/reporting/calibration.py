"""Whether a model's confidence can be believed, and where it was surest and wrong."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS: Final = 15
"""Bins of equal width from 0 to 1, as in Guo et al. 2017 (ICML)."""


class Bin(NamedTuple):
    """The predictions whose confidence lies in a bin: their share of all, mean confidence and accuracy, fractions."""

    low: float
    high: float
    share: float
    confidence: float
    accuracy: float


class Wrong(NamedTuple):
    """A test image that was taken for another class: by ``seeds`` of the models, and their mean confidence in it.

    ``picture`` is the image as PNG, None where none was kept.
    """

    image: int
    label: int
    predicted: int
    seeds: int
    confidence: float
    picture: bytes | None = None


def reliability(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> list[Bin]:
    """Return the bins that hold a prediction, in order.

    Args:
        confidence: softmax probability of each predicted class, 0 to 1.
        correct: whether each was right, likewise.
    """
    place = np.minimum((confidence.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in range(BINS):
        own = place == number
        if own.any():
            figures = own.mean(), confidence[own].mean(), correct[own].mean()
            bins.append(Bin(number / BINS, (number + 1) / BINS, *(float(figure) for figure in figures)))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error (ECE): the mean distance of confidence and accuracy over predictions."""
    return float(sum(own.share * abs(own.confidence - own.accuracy) for own in bins))


def calibration_errors(predictions: pd.DataFrame) -> list[float]:
    """Return the expected calibration error of each seed's model: models together would look better than each is.

    Args:
        predictions: rows of ``predictions.parquet`` of one configuration, with a confidence in each.
    """
    errors = []
    for _, own in predictions.groupby("seed"):
        correct = (own["label"] == own["predicted"]).to_numpy()
        errors.append(calibration_error(reliability(own["confidence"].to_numpy(), correct)))
    return errors


def surest_mistakes(predictions: pd.DataFrame, top: int) -> list[Wrong]:
    """Return the test images that most models took for the same wrong class, of equally many the surest first.

    Args:
        predictions: rows of ``predictions.parquet`` of one configuration.
        top: how many at most.
    """
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    keys = ["index", "label", "predicted"]
    found = wrong.groupby(keys)["confidence"].agg(["size", "mean"]).reset_index()
    found = found.sort_values(["size", "mean", "index"], ascending=[False, False, True]).head(top)
    pictures = {}
    if "picture" in wrong:
        pictures = wrong[wrong["picture"].notna()].drop_duplicates("index").set_index("index")["picture"].to_dict()
    return [
        Wrong(int(index), int(label), int(predicted), int(size), float(mean), pictures.get(index))
        for index, label, predicted, size, mean in found.itertuples(index=False)
    ]
