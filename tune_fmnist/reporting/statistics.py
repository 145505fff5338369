"""Is a difference in accuracy more than chance?  Intervals and tests over seeds and images; confused classes.

Both the seeds and the images are a sample: another draw of either would give another accuracy.  The two are crossed, as
readers and cases are in a study of readers, and the analysis is the one of that field: random effects of seed and
image, their variances from the two-way analysis of variance (Gallas et al. 2009, Communications in Statistics 38;
Hillis 2007, Statistics in Medicine 26).  Owen's pigeonhole bootstrap (2007, Annals of Applied Statistics 1) is the same
by resampling.  Two configurations are compared on the same images, and each has seeds of its own, which have nothing to
do with the other's even where the numbers are equal: readers nested within tests (Hillis 2014, Statistics in Medicine
33).
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


Hits = NDArray[np.bool_] | NDArray[np.float64]
"""Which images were right under each seed, or in what share of some epochs: (seeds, images)."""


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

    def swapped(self) -> Comparison:
        """Return the comparison of the second with the first."""
        return Comparison(-self.difference, -self.high, -self.low, self.p_value)


class ConfusedPair(NamedTuple):
    """The share of a true class's images that are predicted as another class."""

    true: str
    predicted: str
    share: float


def interval(correct: Hits, confidence: float = 0.95) -> Estimate:
    """Return the mean accuracy of ``correct`` (seeds, images) and its interval, within 0 and 1.

    The interval says where the accuracy over all seeds and all images of this kind lies; with one seed, the accuracy
    of that one model over all images, and is Wilson's (1927) then.
    """
    values = correct.astype(np.float64)
    (seeds, images), mean = values.shape, float(values.mean())
    error, freedom = _error([values])
    if seeds == 1 or error == 0.0:
        ends = stats.binomtest(round(mean * images), images).proportion_ci(confidence, method="wilson")
        low, high = float(ends.low), float(ends.high)
    else:
        reach = _reach(error, freedom, confidence)
        low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    std = float(values.mean(axis=1).std(ddof=1)) if seeds > 1 else math.nan
    return Estimate(mean, std, low, high, "seeds and images" if seeds > 1 else "images")


def compare(correct: Hits, reference: Hits, confidence: float = 0.95) -> Comparison:
    """Return how much more accurate ``correct`` is than ``reference``, of the same images, each with its own seeds.

    Where one of them has one seed, the comparison is of these models, and says nothing of their configurations.  Two
    models are compared by the images that one of them alone has right: the exact test of McNemar (1947), and Clopper
    and Pearson's interval (1934) of their shares.

    Raises:
        ValueError: the numbers of images differ.
    """
    return _compare(correct.astype(np.float64), reference.astype(np.float64), None, confidence)


def compare_with_first(ranks: Sequence[Hits]) -> list[Comparison]:
    """Return how much more accurate each further rank is than the first one; each has at least two seeds.

    The variances over seeds are estimated from all ranks together, as there are few seeds of each.  The p-values are
    corrected by Holm's method.

    Args:
        ranks: of each configuration, the best first, at least one.
    """
    values = [rank.astype(np.float64) for rank in ranks]
    spread = _spread(values)
    found = [_compare(other, values[0], spread, 0.95) for other in values[1:]]
    p_values = holm([one.p_value for one in found])
    return [one._replace(p_value=float(p_value)) for one, p_value in zip(found, p_values, strict=True)]


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
        baseline_id: what to compare with; None compares nothing.

    Returns:
        One row per configuration: ``config_id, mean, std, low, high, seeds, over, difference, difference_low,
        difference_high, p_value``.  The p-values are corrected by Holm's method for the number of comparisons.  The
        last four columns are NaN for the baseline.
    """
    matrices = correctness(predictions)
    reference = matrices.get(baseline_id) if baseline_id is not None else None
    rows: list[dict[str, Any]] = []
    for config_id, matrix in matrices.items():
        row = {"config_id": config_id, **interval(matrix.to_numpy())._asdict(), "seeds": len(matrix)}
        compared = Comparison(math.nan, math.nan, math.nan, math.nan)
        if reference is not None and config_id != baseline_id:
            compared = compare(matrix[reference.columns].to_numpy(), reference.to_numpy())
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


class _Spread(NamedTuple):
    """Variances of what one image and seed give: over seeds, of the rest, and the degrees of freedom of the first."""

    seed: float
    rest: float
    freedom: int


def _spread(groups: Sequence[NDArray[np.float64]]) -> _Spread:
    """Return the variances within groups (seeds, images), each of two seeds at least."""
    images, freedom = groups[0].shape[1], sum(len(group) - 1 for group in groups)
    seed_squares = rest_squares = 0.0
    for group in groups:
        by_seed = group.mean(axis=1) - group.mean()
        seed_squares += float(by_seed @ by_seed)
        rest_squares += float(((group - by_seed[:, None] - group.mean(axis=0)) ** 2).sum())
    return _Spread(seed_squares / freedom, rest_squares / freedom / (images - 1), freedom)


def _compare(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], spread: _Spread | None, confidence: float
) -> Comparison:
    """Return what ``compare`` does, with the variances of all ranks or else of the two."""
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"shapes {ours.shape} and {theirs.shape} are not of the same images")
    difference = float(ours.mean() - theirs.mean())
    if len(ours) == len(theirs) == 1 and set(np.unique([ours, theirs])) <= {0.0, 1.0}:
        return _models(ours[0] - theirs[0], confidence)
    error, freedom = _error([ours, theirs], spread)
    if error == 0.0:
        return Comparison(difference, difference, difference, p_value=float(difference == 0.0))
    reach = _reach(error, freedom, confidence)
    p_value = float(2.0 * stats.t.sf(abs(difference) / error, freedom))
    return Comparison(difference, difference - reach, difference + reach, p_value)


def _models(by_image: NDArray[np.float64], confidence: float) -> Comparison:
    """Return how two models compare, of which each image says 1 or -1 if one of them alone has it right, or else 0."""
    differ = int(np.count_nonzero(by_image))
    if differ == 0:
        return Comparison(0.0, 0.0, 0.0, p_value=1.0)
    test = stats.binomtest(int((by_image > 0.0).sum()), differ, 0.5)
    low, high = (
        (2.0 * float(share) - 1.0) * differ / len(by_image) for share in test.proportion_ci(confidence, method="exact")
    )
    return Comparison(float(by_image.mean()), low, high, float(test.pvalue))


def _error(groups: Sequence[NDArray[np.float64]], spread: _Spread | None = None) -> tuple[float, float]:
    """Return the standard error of a group's mean, or of the difference of two means, and its degrees of freedom.

    A group is (seeds, images); two have the same images, and seeds of their own.  Where one of them has one seed, the
    error is that over images alone.  Otherwise the variance is that over seeds plus that over images; each contains
    what is particular to one seed and image, so that this rest is taken off once.  A component that comes out negative
    is set to zero.  Groups of as many seeds share the estimates of the variances within them, which such a comparison
    bears where they differ; others have their own, as Welch (1947) has it; unless ``spread`` gives those of all ranks.
    The degrees of freedom are Satterthwaite's (1946); the seeds always count in them, as in Hillis 2007: leaving them
    out where their component is zero by luck makes intervals over three seeds too short.
    """
    images = groups[0].shape[1]
    means = [group.mean(axis=0) for group in groups]
    by_image = means[0] if len(means) == 1 else means[0] - means[1]
    of_image = float(by_image.var(ddof=1)) / images
    if min(map(len, groups)) == 1:
        return math.sqrt(of_image), images - 1.0
    if spread is None and len({len(group) for group in groups}) == 1:
        spread = _spread(groups)
    if spread is None:
        parts = [(_spread([group]), 1.0 / len(group)) for group in groups]
    else:
        parts = [(spread, sum(1.0 / len(group) for group in groups))]
    of_seeds = [part.seed * per_mean for part, per_mean in parts]
    of_rests = [part.rest * per_mean / images for part, per_mean in parts]
    of_seed, of_rest = sum(of_seeds), sum(of_rests)
    seed_counts, image_counts = of_seed > of_rest, of_image > of_rest
    rest_weight = 1 - seed_counts - image_counts
    total = seed_counts * of_seed + image_counts * of_image + rest_weight * of_rest
    uncertain = (image_counts * of_image) ** 2 / (images - 1)
    for (part, _), seeds, rest in zip(parts, of_seeds, of_rests, strict=True):
        uncertain += seeds**2 / part.freedom + (rest_weight * rest) ** 2 / (part.freedom * (images - 1))
    return math.sqrt(total), total**2 / uncertain if uncertain else math.inf


def _reach(error: float, freedom: float, confidence: float) -> float:
    return error * float(stats.t.ppf((1.0 + confidence) / 2.0, freedom)) if error else 0.0
