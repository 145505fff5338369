"""Intervals hold what they promise, p-values are rare under the null, and mistakes are told in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.metrics import class_accuracy, confusion
from tune_fmnist.reporting import statistics

CLASSES = FASHION_MNIST.classes

Hits = NDArray[np.bool_]


def simulated(
    rng: np.random.Generator,
    difficulty: NDArray[np.float64],
    seeds: int,
    *,
    level: float = 1.5,
    seed_spread: float = 0.1,
) -> Hits:
    """Return a configuration's hits (seeds, images): some images are hard, for all or for it alone, some seeds bad."""
    own = rng.normal(0.0, 0.3, len(difficulty))
    seed = rng.normal(0.0, seed_spread, (seeds, 1))
    rest = rng.normal(0.0, 0.5, (seeds, len(difficulty)))
    return level + difficulty + own + seed + rest > 0.0


def table(config_id: str, correct: Hits, label: int = 3) -> pd.DataFrame:
    """Return predictions: the label where ``correct``, else the next class."""
    seeds, images = correct.shape
    return pd.DataFrame(
        {
            "config_id": config_id,
            "seed": np.repeat(np.arange(seeds), images),
            "index": np.tile(np.arange(images), seeds),
            "label": label,
            "predicted": np.where(correct, label, label + 1).ravel(),
        }
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_spread", [0.02, 0.15])
def test_equal_configurations_differ_significantly_one_time_in_twenty(seeds: int, seed_spread: float) -> None:
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(1000):
        difficulty = rng.normal(0.0, 1.0, 500)
        one, other = (simulated(rng, difficulty, seeds, seed_spread=seed_spread) for _ in range(2))
        rejected += statistics.compare(one, other).p_value < 0.05
    assert 0.015 <= rejected / 1000 <= 0.07


def test_configurations_whose_seeds_differ_unequally_rarely_differ_significantly() -> None:
    rng = np.random.default_rng(19)
    rejected = 0
    for _ in range(1000):
        difficulty = rng.normal(0.0, 1.0, 500)
        one, other = (simulated(rng, difficulty, 3, seed_spread=spread) for spread in (0.05, 0.15))
        rejected += statistics.compare(one, other).p_value < 0.05
    assert rejected / 1000 <= 0.09


def test_many_seeds_of_one_say_nothing_of_how_the_few_of_the_other_vary() -> None:
    rng = np.random.default_rng(24)
    rejected = 0
    for _ in range(1000):
        difficulty = rng.normal(0.0, 1.0, 500)
        many = simulated(rng, difficulty, 10, seed_spread=0.03)
        few = simulated(rng, difficulty, 3, seed_spread=0.2)
        rejected += statistics.compare(few, many).p_value < 0.05
    assert rejected / 1000 <= 0.09


def paired_by_seed(one: Hits, other: Hits) -> float:
    """Return the p-value of a test that pairs the seeds, which have nothing to do with each other."""
    difference = one.astype(float) - other
    error, freedom = statistics._error([difference])
    return float(2 * stats.t.sf(abs(difference.mean()) / error, freedom))


@pytest.mark.parametrize(("seeds", "seed_spread", "level"), [(3, 0.02, 1.7), (3, 0.15, 1.9), (5, 0.15, 1.8)])
def test_a_difference_is_found_more_often_than_by_pairing_seeds(seeds: int, seed_spread: float, level: float) -> None:
    rng = np.random.default_rng(20)
    found = np.zeros(2)
    for _ in range(500):
        difficulty = rng.normal(0.0, 1.0, 500)
        one, other = (simulated(rng, difficulty, seeds, level=at, seed_spread=seed_spread) for at in (level, 1.5))
        found += [statistics.compare(one, other).p_value < 0.05, paired_by_seed(one, other) < 0.05]
    assert found[0] > found[1] > 50


def test_interval_covers_the_accuracy_over_all_seeds_and_images() -> None:
    rng = np.random.default_rng(12)
    truth = stats.norm.cdf(1.5 / math.sqrt(1.0**2 + 0.3**2 + 0.1**2 + 0.5**2))
    covered = 0
    for _ in range(1000):
        estimate = statistics.interval(simulated(rng, rng.normal(0.0, 1.0, 500), 5))
        covered += estimate.low <= truth <= estimate.high
    assert 0.92 <= covered / 1000 <= 0.98


def test_an_interval_over_images_alone_would_be_too_short() -> None:
    rng = np.random.default_rng(13)
    correct = simulated(rng, rng.normal(0.0, 1.0, 5000), 5, seed_spread=0.3)
    images_alone = stats.sem(correct.mean(axis=0)) * stats.norm.ppf(0.975)
    estimate = statistics.interval(correct)
    assert (estimate.high - estimate.low) / 2 > 3 * images_alone


def test_interval_agrees_with_the_pigeonhole_bootstrap() -> None:
    rng = np.random.default_rng(14)
    correct = simulated(rng, rng.normal(0.0, 1.0, 1000), 40, seed_spread=0.3)
    means = [
        correct[rng.integers(0, 40, 40)][:, rng.integers(0, 1000, 1000)].mean(dtype=np.float64) for _ in range(2000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    estimate = statistics.interval(correct)
    assert estimate.high - estimate.low == pytest.approx(high - low, rel=0.1)
    assert estimate.low == pytest.approx(low, abs=0.1 * (high - low))


@pytest.mark.parametrize(
    ("rows", "variance", "freedom", "of_two"),
    [
        # Mean squares of seed, image and rest: 1/2, 1/3 and 1/6.
        (
            [[1, 1, 1, 0], [1, 0, 0, 0]],
            (1 / 2 + 1 / 3 - 1 / 6) / 8,
            (2 / 3) ** 2 / (1 / 4 / 1 + 1 / 9 / 3 + 1 / 36 / 3),
            # A second configuration, never right, whose seeds and rest count in the shared estimates.
            (2 / 3) ** 2 / (1 / 4 / 2 + 1 / 9 / 3 + 1 / 36 / 6),
        ),
        # 0, 0 and 2/3: the components of seed and image would be negative.
        ([[1, 1, 0, 0], [0, 0, 1, 1]], 2 / 3 / 8, 3.0, 6.0),
    ],
)
def test_two_way_analysis_by_hand(rows: list[list[int]], variance: float, freedom: float, of_two: float) -> None:
    correct = np.array(rows, dtype=bool)
    reach = math.sqrt(variance) * stats.t.ppf(0.6, freedom)
    estimate = statistics.interval(correct, confidence=0.2)
    assert (estimate.mean, estimate.high - 0.5, 0.5 - estimate.low) == pytest.approx((0.5, reach, reach))
    assert estimate.std == pytest.approx(np.std(correct.mean(axis=1), ddof=1))
    difference = statistics.compare(correct, np.zeros((2, 4), dtype=bool))
    assert difference.p_value == pytest.approx(2 * stats.t.sf(0.5 / math.sqrt(variance), of_two))


def test_one_seed_gives_wilsons_interval_over_images() -> None:
    correct = np.arange(400)[None] % 10 != 0
    estimate = statistics.interval(correct)
    assert estimate.over == "images"
    assert math.isnan(estimate.std)
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    share = stats.norm.ppf(0.975) ** 2 / 400
    middle, reach = 0.9 + share / 2, math.sqrt(share * 0.9 * 0.1 + share**2 / 4)
    expected = (middle - reach) / (1 + share), (middle + reach) / (1 + share)
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    assert statistics.interval(np.vstack([correct, correct])).over == "seeds and images"


@pytest.mark.parametrize(("ours", "theirs", "p_value"), [(4, 0, 0.125), (6, 0, 0.03125), (7, 3, 0.34375), (0, 0, 1.0)])
def test_two_models_are_compared_by_mcnemars_exact_test(ours: int, theirs: int, p_value: float) -> None:
    one, other = np.ones((2, 1, 100), dtype=bool)
    other[0, :ours] = False
    one[0, ours : ours + theirs] = False
    found = statistics.compare(one, other)
    assert (found.difference, found.p_value) == pytest.approx(((ours - theirs) / 100, p_value))
    assert (found.low > 0.0) == (p_value < 0.05)
    assert found.low <= found.difference <= found.high


def test_one_seed_against_several_is_compared_by_a_paired_t_test_over_images() -> None:
    rng = np.random.default_rng(15)
    one, others = rng.random((1, 300)) < 0.8, rng.random((3, 300)) < 0.8
    expected = stats.ttest_rel(one[0].astype(float), others.mean(axis=0))
    assert statistics.compare(one, others).p_value == pytest.approx(expected.pvalue)


def test_equal_hits_do_not_differ() -> None:
    correct = np.random.default_rng(16).random((3, 200)) < 0.9
    found = statistics.compare(correct, correct.copy())
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert found.low == -found.high < 0.0


def test_the_interval_and_the_p_value_tell_the_same() -> None:
    rng = np.random.default_rng(21)
    for level in np.linspace(1.4, 1.9, 40):
        difficulty = rng.normal(0.0, 1.0, 300)
        one, other = (simulated(rng, difficulty, count, level=at) for count, at in ((3, level), (4, 1.5)))
        found = statistics.compare(one, other)
        assert (found.low > 0.0 or found.high < 0.0) == (found.p_value < 0.05)


def test_shares_are_compared_as_hits_are() -> None:
    rng = np.random.default_rng(22)
    correct, reference = (rng.random((3, 200)) < share for share in (0.9, 0.8))
    as_shares = statistics.compare(correct.astype(float), reference.astype(float))
    assert as_shares == statistics.compare(correct, reference)


def test_each_rank_is_compared_with_the_first_and_the_p_values_are_corrected() -> None:
    rng = np.random.default_rng(23)
    difficulty = rng.normal(0.0, 1.0, 2000)
    levels = (1.9, 1.88, 1.0, 1.88, 2.6)
    ranks = [simulated(rng, difficulty, 3, level=level, seed_spread=0.02) for level in levels]
    found = statistics.compare_with_first(ranks)
    assert [one.p_value < 0.05 for one in found] == [False, True, False, True]
    assert [one.difference > 0.0 for one in found[1::2]] == [False, True]
    assert statistics.compare_with_first(ranks[:1]) == []
    # The worst one's p-value, of four, is a multiple of what it is without the others.
    assert found[0].p_value > 1.5 * statistics.compare_with_first([ranks[0], ranks[1]])[0].p_value


def test_few_seeds_of_many_ranks_tell_more_together_than_in_pairs() -> None:
    rng = np.random.default_rng(25)
    together = in_pairs = 0
    for _ in range(200):
        difficulty = rng.normal(0.0, 1.0, 500)
        ranks = [simulated(rng, difficulty, 2, level=level, seed_spread=0.1) for level in (1.9, 1.4, 1.4, 1.4)]
        together += statistics.compare_with_first(ranks)[0].p_value < 0.05
        in_pairs += statistics.holm([statistics.compare(other, ranks[0]).p_value for other in ranks[1:]])[0] < 0.05
    assert together > in_pairs


def test_equal_ranks_with_two_seeds_rarely_differ() -> None:
    rng = np.random.default_rng(26)
    rejected = 0
    for _ in range(500):
        difficulty = rng.normal(0.0, 1.0, 500)
        ranks = [simulated(rng, difficulty, 2) for _ in range(3)]
        rejected += any(found.p_value < 0.05 for found in statistics.compare_with_first(ranks))
    assert rejected / 500 <= 0.07


def test_a_perfect_score_may_still_be_luck() -> None:
    perfect = np.ones((3, 50), dtype=bool)
    assert statistics.interval(perfect)[:4] == pytest.approx((1.0, 0.0, 0.929, 1.0), abs=1e-3)
    assert statistics.compare(perfect, ~perfect) == (1.0, 1.0, 1.0, 0.0)


def test_interval_stays_within_zero_and_one() -> None:
    almost = np.ones((2, 50), dtype=bool)
    almost[0, :5] = False
    assert statistics.interval(almost).high == 1.0
    assert statistics.interval(~almost).low == 0.0


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same images"):
        statistics.compare(np.ones((3, 10), dtype=bool), np.ones((3, 9), dtype=bool))


def test_holm_on_a_worked_example() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.7, 0.8]) == pytest.approx([1.0, 1.0])


def test_summary_compares_each_configuration_with_the_baseline() -> None:
    rng = np.random.default_rng(17)
    difficulty = rng.normal(0.0, 1.0, 2000)
    levels = {"base": 1.5, "good": 1.9, "same": 1.52}
    hits = {name: simulated(rng, difficulty, 3, level=level) for name, level in levels.items()}
    predictions = pd.concat([table(name, correct) for name, correct in hits.items()])
    summary = statistics.summarise(predictions.sample(frac=1.0, random_state=1), "base").set_index("config_id")
    raw = {name: statistics.compare(hits[name], hits["base"]) for name in ("good", "same")}
    corrected = statistics.holm([raw["good"].p_value, raw["same"].p_value])
    assert summary.loc[["good", "same"], "p_value"].tolist() == pytest.approx(corrected.tolist())
    assert summary.loc["good", "difference"] == pytest.approx(hits["good"].mean() - hits["base"].mean())
    assert summary.loc["good", "difference_low"] == pytest.approx(raw["good"].low)
    assert summary.loc["good", "difference_high"] == pytest.approx(raw["good"].high)
    for column in ("mean", "std", "low", "high"):
        assert summary.loc["same", column] == pytest.approx(getattr(statistics.interval(hits["same"]), column))
    assert summary.loc["base", ["difference", "difference_low", "difference_high", "p_value"]].isna().all()
    assert summary["seeds"].tolist() == [3, 3, 3]


def test_summary_compares_all_seeds_whatever_their_numbers() -> None:
    rng = np.random.default_rng(18)
    base, new = (rng.random((3, 400)) < share for share in (0.8, 0.9))
    predictions = pd.concat([table("base", base[:2]), table("new", new)])
    summary = statistics.summarise(predictions, "base").set_index("config_id")
    assert summary.loc["new", "difference"] == pytest.approx(new.mean() - base[:2].mean())
    assert summary.loc["new", "mean"] == pytest.approx(new.mean())
    predictions.loc[predictions["config_id"] == "base", "seed"] += 100
    assert statistics.summarise(predictions, "base").set_index("config_id").equals(summary)
    assert statistics.summarise(predictions, None)["p_value"].isna().all()


def test_predictions_with_a_gap_are_refused() -> None:
    predictions = table("a", np.ones((2, 10), dtype=bool))
    with pytest.raises(ValueError, match="did not predict the same images"):
        statistics.summarise(predictions.iloc[1:], None)
    with pytest.raises(ValueError, match="duplicate"):
        statistics.summarise(pd.concat([predictions, predictions]), None)


PULLOVER, COAT, SHIRT, TSHIRT = (CLASSES.index(name) for name in ("pullover", "coat", "shirt", "T-shirt/top"))


@pytest.fixture
def counts() -> NDArray[np.int64]:
    """A hundred images a class but ten bags: pullover and coat for each other, shirt for T-shirt/top one way."""
    matrix = np.diag([100] * 10).astype(np.int64)
    matrix[8, 8] = 10
    for true, predicted, number in [(PULLOVER, COAT, 12), (COAT, PULLOVER, 8), (SHIRT, TSHIRT, 10), (TSHIRT, SHIRT, 3)]:
        matrix[true, predicted] += number
        matrix[true, true] -= number
    matrix[8, 8], matrix[8, 9] = 9, 1
    return matrix


def images_of(counts: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Return labels and predictions that give these counts, in the types of the tables."""
    true, predicted = np.indices((10, 10))
    return np.repeat(true.ravel(), counts.ravel()).astype(np.int8), np.repeat(predicted.ravel(), counts.ravel())


def test_confusion_counts_true_by_predicted(counts: NDArray[np.int64]) -> None:
    found = confusion(*images_of(counts), len(CLASSES))
    np.testing.assert_array_equal(found, counts)
    assert found.dtype == np.int64


def test_class_accuracy_is_a_share_of_the_true_class(counts: NDArray[np.int64]) -> None:
    accuracy = class_accuracy(*images_of(counts), len(CLASSES))
    assert accuracy[[PULLOVER, COAT, SHIRT, 8]] == pytest.approx([0.88, 0.92, 0.90, 0.9])
    counts[8] = 0
    assert math.isnan(class_accuracy(*images_of(counts), len(CLASSES))[8])


def test_confused_pairs_are_ordered_by_share_of_the_true_class(counts: NDArray[np.int64]) -> None:
    assert statistics.confused_pairs(counts, CLASSES, top=3) == [
        statistics.ConfusedPair("pullover", "coat", 0.12),
        statistics.ConfusedPair("shirt", "T-shirt/top", 0.10),
        statistics.ConfusedPair("bag", "ankle boot", 0.10),
    ]
    assert len(statistics.confused_pairs(counts, CLASSES, top=50)) == 5


def test_confusion_in_words_merges_classes_predicted_as_each_other(counts: NDArray[np.int64]) -> None:
    assert statistics.confusion_sentence(counts, CLASSES, top=2) == (
        "Pullover and coat are confused (12.0 % and 8.0 %), shirt is predicted as T-shirt/top (10.0 %)."
    )
    assert statistics.confusion_sentence(counts, CLASSES, top=9).endswith(
        "bag is predicted as ankle boot (10.0 %), T-shirt/top is predicted as shirt (3.0 %)."
    )
    none = statistics.confusion_sentence(np.diag([5] * 10).astype(np.int64), CLASSES)
    assert none == "No image is predicted as another class."
