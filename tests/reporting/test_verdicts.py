"""What is said of confirmations, ties, luck and the start: no more than the tests and the tables say."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.fake_search import add_confirmations, add_retrains, begin_with_start, edit_trials, make_search, mean_of
from tests.reporting.test_page import text_of
from tune_fmnist.reporting import statistics, verdicts
from tune_fmnist.reporting.confirmed import Confirmed
from tune_fmnist.reporting.readme_table import results_table
from tune_fmnist.reporting.results import Results
from tune_fmnist.reporting.retrained import Retrained
from tune_fmnist.reporting.summary import print_summary
from tune_fmnist.store import tables
from tune_fmnist.store.confirmation_table import hits

LEVELS = [0.30, 0.315, -0.8]


def searched(folder: Path, **confirmations: int) -> Results:
    results = make_search(folder, trials=16)
    add_confirmations(results, LEVELS, baseline=-0.9, **confirmations)
    return Results(results.paths)


def confirmed(results: Results) -> Confirmed:
    found = Confirmed.of(results)
    assert found is not None
    return found


def screen_of(results: Results) -> str:
    out = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    print_summary(Results(results.paths), out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_without_confirmations_nothing_is_said_of_them(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    assert Confirmed.of(results) is None
    assert verdicts.confirmation(None) is None
    assert "trained again" not in text_of(tmp_path)


def test_the_confirmed_rank_by_their_mean_and_not_by_the_trial(tmp_path: Path) -> None:
    results = searched(tmp_path)
    found = confirmed(results)
    means = results.confirmations.groupby("config_id")["score"].mean().sort_values(ascending=False)
    assert found.summary["config_id"].tolist() == means.index.tolist()
    assert found.summary["mean"].tolist() == pytest.approx(means.tolist())
    assert found.summary["name"].tolist() == ["rank 1", "rank 2", "rank 3", "baseline (rank 4)"]
    trials = results.trials.set_index("config_id")
    for row in found.summary.to_dict("records"):
        assert (row["number"], row["score"]) == tuple(trials.loc[row["config_id"], ["number", "score"]])


def test_the_luck_of_the_best_trial_is_its_score_without_its_confirmed_mean(tmp_path: Path) -> None:
    results = searched(tmp_path)
    found, best = confirmed(results), results.ranked.iloc[0]
    mean = results.confirmations.loc[results.confirmations["number"] == best["number"], "score"].mean()
    assert found.winner["number"] == best["number"] != found.summary["number"].iloc[0]
    assert found.optimism == pytest.approx(best["score"] - mean)
    said = (
        f"Trial {best['number']}, the best of {len(results.ranked)} trials with a score of "
        f"{best['score'] * 100:.2f} %, "
        f"has {mean * 100:.2f} % when it is trained again with 3 other seeds "
        f"({found.winner['lowest'] * 100:.2f} to {found.winner['highest'] * 100:.2f} %): "
        f"{abs(best['score'] - mean) * 100:.2f} points {'less' if best['score'] > mean else 'more'}."
    )
    assert said in text_of(tmp_path)
    assert said in " ".join(screen_of(results).split())


def test_ranks_that_cannot_be_told_apart_on_the_validation_images_are_named(tmp_path: Path) -> None:
    results = searched(tmp_path)
    images = results.record.validation_size
    shares = {
        name: np.array([hits(row, images) for row in rows.to_dict("records")])
        for name, rows in results.confirmations.groupby("config_id")
    }
    found = confirmed(results)
    # The baseline, which has rank 4, is no candidate.
    two, three = statistics.compare_with_first([shares[name] for name in found.summary["config_id"][:3]])
    assert found.against_first == {2: two, 3: three}
    assert two.p_value >= 0.05 > three.p_value
    says = "Rank 2 cannot be told from rank 1 on the validation images."
    assert says in text_of(tmp_path)
    assert says in " ".join(screen_of(results).split())


def test_one_seed_gives_no_verdict_about_configurations(tmp_path: Path) -> None:
    results = searched(tmp_path, seeds=1)
    add_retrains(results, [0.9, 0.1], baseline=0.1, seeds=1)
    assert confirmed(results).against_first is None
    text = text_of(tmp_path)
    assert "from rank 1" not in text
    assert text.count("With one seed each, the figures are those of these models") == 2
    assert "The model of the best configuration by validation (" in text
    assert "than the baseline's model reaches" in text
    assert ": more than chance, for these two models." in text
    assert "One model of rank 1 classifies" in text


def test_a_configuration_that_diverged_again_counts_as_bad_and_is_named(tmp_path: Path) -> None:
    results = searched(tmp_path)
    rows = results.confirmations.to_dict("records")
    best = confirmed(results).summary["config_id"].iloc[0]
    empty = np.zeros(results.record.validation_size // 8, np.uint8).tobytes()
    changed = {"status": "diverged", "score": 0.0, "val_accuracy": None, "correct": [empty]}
    place = next(place for place, row in enumerate(rows) if row["config_id"] == best)
    rows[place] |= changed
    tables.write(tables.to_table(rows, tables.CONFIRMATIONS), results.paths.confirmations)
    after = confirmed(Results(results.paths)).summary
    assert after["config_id"].iloc[-1] == best
    assert after["diverged"].tolist() == [0, 0, 0, 1]
    assert "3 seeds, std" in (text := text_of(tmp_path))
    assert ", 1 diverged" in text


def test_validation_is_the_mean_of_the_confirmations_where_there_are_some(tmp_path: Path) -> None:
    results = searched(tmp_path)
    add_retrains(results, [0.9], baseline=0.1)
    retrained = Retrained.of(Results(results.paths))
    assert retrained is not None
    means = results.confirmations.groupby("config_id")["score"].mean()
    for row in retrained.summary.to_dict("records"):
        assert row["validation"] == pytest.approx(means[row["config_id"]])
        assert f"{row['validation'] * 100:.2f} %" in results_table([tmp_path])
    assert "validation: mean score of the confirmations." in screen_of(results)


def test_tested_ranks_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=16)
    add_retrains(results, [0.3, 0.3, -0.9], baseline=0.1)
    says = "Rank 2 cannot be told from rank 1 on the test images."
    assert says in text_of(tmp_path)
    assert says in " ".join(screen_of(results).split())
    add_retrains(results, [0.9, -0.9], baseline=0.1)
    assert "Rank 1 is better than rank 2 by more than chance on the test images." in text_of(tmp_path)
    add_retrains(results, [-0.9, 0.9, -0.9], baseline=0.1)
    says = "Rank 2 is better than rank 1 by more than chance, and rank 3 cannot be told from rank 1 on the test images."
    assert says in text_of(tmp_path)


def test_retrains_that_diverged_are_counted_and_leave_the_confidence_alone(tmp_path: Path) -> None:
    results = make_search(tmp_path)
    add_retrains(results, [0.9], baseline=0.1)
    assert "diverged: the test counts" not in text_of(tmp_path)
    epochs = tables.read(results.paths.retrain_epochs, tables.RETRAIN_EPOCHS).to_pylist()
    predictions = tables.read(results.paths.predictions, tables.PREDICTIONS).to_pylist()
    best = next(row for row in results.retrains.to_dict("records") if row["rank"] == 1)
    for row in (*epochs, *predictions):
        if (row["config_id"], row["seed"]) == (best["config_id"], best["seed"]):
            row |= {"train_loss": math.nan} if "train_loss" in row else {"confidence": math.nan}
    tables.write(tables.to_table(epochs, tables.RETRAIN_EPOCHS), results.paths.retrain_epochs)
    tables.write(tables.to_table(predictions, tables.PREDICTIONS), results.paths.predictions)
    says = f"1 retrain of {len(results.retrains)} diverged: the test counts what such a model gets right."
    assert says in (text := text_of(tmp_path))
    assert says in " ".join(screen_of(results).split())
    assert "over 2 seeds)" in text[text.index("Expected calibration error") :][:120]


@pytest.mark.parametrize(("level", "says"), [(0.9, "more than chance"), (-0.28, "which may be chance")])
def test_the_search_is_compared_with_its_start(tmp_path: Path, level: float, says: str) -> None:
    results = begin_with_start(edit_trials(make_search(tmp_path, trials=8), {1: {"score": 0.8}}))
    order = results.ranked.loc[results.ranked["number"] > 0, "number"].tolist()
    levels = [-0.3] * len(order)
    levels[0] = level
    add_retrains(results, levels, baseline=-0.9)
    results = Results(results.paths)
    start = results.trials.loc[results.trials["number"] == 1, "config_id"].iloc[0]
    best = results.retrains.loc[results.retrains["rank"] == 1, "config_id"].iloc[0]
    correct = statistics.correctness(results.predictions)
    retrained = Retrained.of(results)
    assert retrained is not None
    # The start is a rank as well: the p-value is that of the comparisons of all ranks.
    names = retrained.summary.loc[retrained.summary["rank"].notna(), "config_id"].tolist()
    assert names[0] == best
    among = statistics.compare_with_first([correct[name].to_numpy() for name in names])
    expected = among[names.index(start) - 1].swapped()
    assert retrained.against_start == expected
    assert retrained.start is not None
    assert retrained.start["name"] == f"start (rank {order.index(1) + 1})"
    text = text_of(tmp_path)
    assert "Against its start, which was written by hand, the search's best has " in text
    assert says in text[text.index("Against its start") :][:160]
    *_, row_of_start, row_of_best, compared, _, told = results_table([tmp_path]).splitlines()
    assert "| start, written by hand, " in row_of_start
    assert f"| {mean_of(results, start) * 100:.2f} ± " in row_of_start
    assert "| best found, " in row_of_best
    assert says in told[told.index("Against its start") :]
    points = f"{expected.difference * 100:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert compared.startswith(f"| ANN | best found, against the start |  |  |  | {points} | ")


def test_a_start_that_ranks_first_is_said_to(tmp_path: Path) -> None:
    results = make_search(tmp_path, trials=2)
    add_retrains(results, [0.9], baseline=0.1)
    results = begin_with_start(results)
    text = text_of(tmp_path)
    assert "The best configuration is the start, which was written by hand: the search found no better one." in text
    assert "Start (rank 1)" in text
    assert "start, written by hand, the best found" in (table := results_table([tmp_path]))
    assert ", the best found, 3 seeds |" in table
    assert "| best found, against the start" not in table
