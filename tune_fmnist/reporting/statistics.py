"""Is a difference in accuracy more than chance?  Intervals and tests over seeds and images; confused classes.

Both the seeds and the test images are a sample: another draw of either would give another accuracy.  The two are
crossed, as readers and cases are in a study of readers, and the analysis is the one of that field: random effects of
seed and image, their variances from the two-way analysis of variance (Gallas et al. 2009, Communications in Statistics
38; Hillis 2007, Statistics in Medicine 26).  Owen's pigeonhole bootstrap (2007, Annals of Applied Statistics 1) is the
same by resampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from tune_fmnist.base.metrics import shares

SIGNIFICANT: Final = 0.05
"""A difference with a smaller p-value is called more than chance."""

_MUTUAL: Final = 0.5
"""Two classes are confused with each other if the rarer mistake is at least this share of the commoner one."""


class Estimate(NamedTuple):
    """A mean accuracy (fraction), its standard deviation over seeds (NaN for one seed) and confidence interval."""

    mean: float
    std: float
    low: float
    high: float
    over: Literal["seeds and images", "images"]


class Comparison(NamedTuple):
    """A difference of two accuracies (fractions), its confidence interval and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


class ConfusedPair(NamedTuple):
    """The share of a true class's images that are predicted as another class."""

    true: str
    predicted: str
    share: float


def interval(correct: NDArray[np.bool_], confidence: float = 0.95) -> Estimate:
    """Return the mean accuracy of ``correct`` (seeds, images) and its interval, within 0 and 1.

    The interval says where the accuracy over all seeds and all images of this kind lies; with one seed, the accuracy
    of that one model over all images.
    """
    values = correct.astype(np.float64)
    seeds = len(values)
    mean, error, freedom = _mean_error(values)
    reach = _reach(error, freedom, confidence)
    return Estimate(
        mean=mean,
        std=float(values.mean(axis=1).std(ddof=1)) if seeds > 1 else math.nan,
        low=max(0.0, mean - reach),
        high=min(1.0, mean + reach),
        over="seeds and images" if seeds > 1 else "images",
    )


def compare(correct: NDArray[np.bool_], reference: NDArray[np.bool_], confidence: float = 0.95) -> Comparison:
    """Return how much more accurate ``correct`` is than ``reference``, both (seeds, images), paired by both.

    Raises:
        ValueError: the shapes differ.
    """
    if correct.shape != reference.shape:
        raise ValueError(f"shapes {correct.shape} and {reference.shape} cannot be paired")
    mean, error, freedom = _mean_error(correct.astype(np.float64) - reference)
    if error == 0.0:
        return Comparison(mean, mean, mean, p_value=float(mean == 0.0))
    reach = _reach(error, freedom, confidence)
    return Comparison(mean, mean - reach, mean + reach, p_value=float(2.0 * stats.t.sf(abs(mean) / error, freedom)))


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6), in their order."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return corrected


def correctness(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return, for each ``config_id``, which images were classified correctly: one row per seed, one column per image.

    Args:
        predictions: columns ``config_id, seed, index, label, predicted``.

    Raises:
        ValueError: an image was predicted twice by one retrain, or not by all of a configuration's.
    """
    marked = predictions.assign(correct=predictions["label"] == predictions["predicted"])
    matrices = {}
    for config_id, group in marked.groupby("config_id", sort=False):
        matrix = group.pivot(index="seed", columns="index", values="correct")
        if matrix.isna().to_numpy().any():
            raise ValueError(f"configuration {config_id}: its seeds did not predict the same images")
        matrices[str(config_id)] = matrix.astype(bool)
    return matrices


def summarise(predictions: pd.DataFrame, baseline_id: str | None) -> pd.DataFrame:
    """Return each configuration's accuracy and its difference to the baseline's.

    Args:
        predictions: columns ``config_id, seed, index, label, predicted``.
        baseline_id: what to compare with, over the seeds that both have; None compares nothing.

    Returns:
        One row per configuration: ``config_id, mean, std, low, high, seeds, over, difference, difference_low,
        difference_high, p_value``.  The p-values are corrected by Holm's method for the number of comparisons.  The
        last four columns are NaN for the baseline and where no seed is shared.
    """
    matrices = correctness(predictions)
    reference = matrices.get(baseline_id) if baseline_id is not None else None
    rows: list[dict[str, Any]] = []
    for config_id, matrix in matrices.items():
        row = {"config_id": config_id, **interval(matrix.to_numpy())._asdict(), "seeds": len(matrix)}
        compared = Comparison(math.nan, math.nan, math.nan, math.nan)
        if reference is not None and config_id != baseline_id:
            shared = matrix.index.intersection(reference.index)
            if len(shared):
                images = reference.columns
                compared = compare(matrix.loc[shared, images].to_numpy(), reference.loc[shared].to_numpy())
        row |= {
            "difference": compared.difference,
            "difference_low": compared.low,
            "difference_high": compared.high,
            "p_value": compared.p_value,
        }
        rows.append(row)
    summary = pd.DataFrame(rows)
    tested = summary["p_value"].notna()
    summary.loc[tested, "p_value"] = holm(summary.loc[tested, "p_value"].to_numpy(np.float64))
    return summary


def confused_pairs(counts: NDArray[np.int64], classes: Sequence[str], top: int) -> list[ConfusedPair]:
    """Return the ``top`` commonest mistakes, largest share of the true class first.

    Args:
        counts: images of each true class (row) by predicted class (column).
        classes: their names.
        top: how many at most; mistakes that were never made are left out.
    """
    wrong = np.nan_to_num(shares(counts))
    np.fill_diagonal(wrong, 0.0)
    ordered = np.argsort(-wrong, axis=None, kind="stable")[:top]
    cells = [divmod(int(cell), len(classes)) for cell in ordered]
    return [ConfusedPair(classes[i], classes[j], float(wrong[i, j])) for i, j in cells if wrong[i, j] > 0.0]


def confusion_sentence(counts: NDArray[np.int64], classes: Sequence[str], top: int = 3) -> str:
    """Return the ``top`` commonest mistakes as a sentence; two classes predicted as each other are one of them."""
    pairs = confused_pairs(counts, classes, top=counts.size)
    share = {(pair.true, pair.predicted): pair.share for pair in pairs}
    clauses: list[str] = []
    told: set[tuple[str, str]] = set()
    for (true, predicted), part in share.items():
        if (true, predicted) in told:
            continue
        back = share.get((predicted, true), 0.0)
        if _MUTUAL * part <= back <= part:
            told.add((predicted, true))
            clauses.append(f"{true} and {predicted} are confused ({part * 100:.1f} % and {back * 100:.1f} %)")
        else:
            clauses.append(f"{true} is predicted as {predicted} ({part * 100:.1f} %)")
    if not clauses:
        return "No image is predicted as another class."
    text = ", ".join(clauses[:top]) + "."
    return text[0].upper() + text[1:]


def _mean_error(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of ``values`` (seeds, images), its standard error and the error's degrees of freedom.

    With S seeds and N images the variance of the mean is s2_seed / S + s2_image / N + s2_rest / (S N), which is a sum
    of the three mean squares over S N.  A component that comes out negative is set to zero.  The degrees of freedom
    are Satterthwaite's (1946); the seeds' mean square always counts in them, as in Hillis 2007: leaving it out where
    its component is zero by luck makes intervals over three seeds too short.
    """
    seeds, images = values.shape
    mean = float(values.mean())
    if seeds == 1:
        return mean, float(values.std(ddof=1)) / math.sqrt(images), images - 1.0
    by_seed = values.mean(axis=1) - mean
    by_image = values.mean(axis=0) - mean
    rest = values - mean - by_seed[:, None] - by_image
    of_seed = images * float(by_seed @ by_seed) / (seeds - 1)
    of_image = seeds * float(by_image @ by_image) / (images - 1)
    of_rest = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    seed_counts, image_counts = of_seed > of_rest, of_image > of_rest
    rest_weight = 1 - seed_counts - image_counts
    total = seed_counts * of_seed + image_counts * of_image + rest_weight * of_rest
    spread = (
        of_seed**2 / (seeds - 1)
        + (image_counts * of_image) ** 2 / (images - 1)
        + (rest_weight * of_rest) ** 2 / ((seeds - 1) * (images - 1))
    )
    return mean, math.sqrt(total / (seeds * images)), total**2 / spread if spread else math.inf


def _reach(error: float, freedom: float, confidence: float) -> float:
    return error * float(stats.t.ppf((1.0 + confidence) / 2.0, freedom)) if error else 0.0
