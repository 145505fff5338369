"""What the tests say, in sentences for the page and the screen: none says more than its test."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.statistics import SIGNIFICANT, Comparison
from tune_fmnist.reporting.wording import between, counted, filled_up, p_equation, percent, points

_ONE_SEED = "With one seed each, the figures are those of these models, and say nothing of how the configurations rank."


def ties(against_first: Mapping[int, Comparison] | None, images: str) -> str | None:
    """Return which ranks cannot be told from the first one, and which are better; None if there are no others.

    Args:
        against_first: each further rank compared with the first, or None where a configuration has a single seed.
        images: what the comparison is on.
    """
    if against_first is None:
        return _ONE_SEED
    if not against_first:
        return None
    alike = [rank for rank, found in against_first.items() if found.p_value >= SIGNIFICANT]
    better = [rank for rank, found in against_first.items() if found.p_value < SIGNIFICANT and found.difference > 0.0]
    said = []
    if better:
        said.append(f"{_ranks(better)} {'is' if len(better) == 1 else 'are'} better than rank 1 by more than chance")
    if alike:
        said.append(f"{_ranks(alike)} cannot be told from rank 1")
    if not said:
        said.append(f"rank 1 is better than {_ranks(list(against_first))} by more than chance")
    told = ", and ".join(said)
    return f"{told[0].upper()}{told[1:]} on the {images} images."


def _ranks(ranks: list[int]) -> str:
    """Return ranks in words, one at least, in order."""
    *most, last = map(str, ranks)
    return f"ranks {', '.join(most)} and {last}" if most else f"rank {last}"


def confirmation(confirmed: Confirmed | None) -> str | None:
    """Return what the confirmations say of the ranks and of the best trial's luck; None if there are none."""
    if confirmed is None:
        return None
    winner = confirmed.winner
    several = f" ({between(winner['lowest'], winner['highest'])} %)" if winner["seeds"] > 1 else ""
    said = (
        f"Trial {winner['number']}, the best of {counted(confirmed.trials, 'trial')} with a score of "
        f"{percent(winner['score'])}, has {percent(winner['mean'])} when it is trained again with "
        f"{counted(winner['seeds'], 'other seed')}{several}: {abs(confirmed.optimism) * 100:.2f} points "
        f"{'less' if confirmed.optimism >= 0 else 'more'}."
    )
    told = ties(confirmed.against_first, "validation")
    return f"{said} {told}" if told else said


def tested_ranks(retrained: Retrained) -> str | None:
    """Return which of the retrained ranks cannot be told apart on the test images; None if there is one rank."""
    return ties(retrained.against_first, "test")


def diverged(retrained: Retrained) -> str | None:
    """Return how many retrains diverged, None if none did."""
    if not retrained.diverged:
        return None
    return (
        f"{counted(retrained.diverged, 'retrain')} of {len(retrained.retrains)} diverged: the test counts what such a "
        "model gets right."
    )


def against_start(retrained: Retrained) -> str | None:
    """Return whether the search found more than its start; None if the space has no start, or it is not retrained."""
    start = retrained.start
    if start is None:
        return None
    if start["rank"] == 1:
        return "The best configuration is the start, which was written by hand: the search found no better one."
    if retrained.against_start is None:
        return None
    return (
        f"Against its start, which was written by hand, the search's best has {gained(retrained.against_start)}"
        f"{', for these two models' if retrained.one_seed else ''}."
    )


def all_of(retrained: Retrained | None, confirmed: Confirmed | None) -> list[str]:
    """Return all that is to be said besides the table of what was tested, for the screen."""
    said = [confirmation(confirmed)]
    if retrained is not None:
        said += [filled_up(retrained.unfinished), diverged(retrained), tested_ranks(retrained)]
        said.append(against_start(retrained))
    return [sentence for sentence in said if sentence]


def gained(comparison: Comparison) -> str:
    """Return a difference with its interval, its p-value, and whether it may be chance."""
    found = "more than chance" if comparison.p_value < SIGNIFICANT else "which may be chance"
    return (
        f"{points(comparison.difference)} points (95 % interval {between(comparison.low, comparison.high)}, "
        f"{p_equation(comparison.p_value)}), {found}"
    )


def answer(retrained: Retrained, dataset: str) -> str:
    """Return in two sentences how good the best configuration is, and whether it differs from the baseline by chance.

    Args:
        retrained: the retrained configurations.
        dataset: the title of the images.
    """
    best = retrained.best
    images = len(retrained.predictions) // best["seeds"]
    first = (
        f"The best model found gets {percent(best['mean'], 1)} of {images:,} {dataset} images right that it had never "
        f"seen{', in the mean of ' + counted(best['seeds'], 'training') if best['seeds'] > 1 else ''}. "
    )
    if best["is_baseline"]:
        return first + "It is the baseline, where the search began: nothing ranks before it in validation."
    if math.isnan(best["p_value"]):
        return first + "The baseline, where the search began, has not been retrained yet, so there is no comparison."
    theirs = percent(best["mean"] - best["difference"], 1)
    if best["p_value"] >= SIGNIFICANT:
        return first + f"The baseline, where the search began, gets {theirs}: the difference may be chance."
    gap = f"{abs(best['difference']) * 100:.1f} points {'more' if best['difference'] >= 0 else 'less'}"
    of = ", for these two models" if retrained.one_seed else ""
    return first + f"That is {gap} than the {theirs} of the baseline, where the search began: more than chance{of}."


def details(retrained: Retrained) -> str:
    """Return the figures behind the answer: settings, intervals and the p-value."""
    best, one = retrained.best, retrained.one_seed
    over = "the images, with one seed" if best["seeds"] == 1 else f"{best['seeds']} seeds and the images"
    who = "The model of the best configuration" if best["seeds"] == 1 else "The best configuration"
    images = len(retrained.predictions) // best["seeds"]
    first = (
        f"{who} by validation ({best['settings']}) classifies {percent(best['mean'])} of the {images:,} test images "
        f"correctly (95 % interval {between(best['low'], best['high'])} %, over {over})."
    )
    if math.isnan(best["p_value"]):
        return first
    whose = "the baseline's model" if one else "the baseline"
    verdict = "more than chance" if best["p_value"] < SIGNIFICANT else "this may be chance"
    return first + (
        f" That is {abs(best['difference']) * 100:.2f} percentage points "
        f"{'more' if best['difference'] >= 0 else 'less'} than {whose} reaches when it is retrained in the same "
        f"way (95 % interval of the difference {between(best['difference_low'], best['difference_high'])}, "
        f"{p_equation(best['p_value'])}): "
        f"{verdict}{', for these two models' if one else ''}."
    )
