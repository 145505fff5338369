"""The main job from end to end, and what a user finds afterwards."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import PIL.Image
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.faults.harness import Run
from tests.integration.conftest import tune
from tests.outputs import trouble
from tune_fmnist import data
from tune_fmnist.models import load
from tune_fmnist.models.config import baseline, config_id
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.confirmation_table import hits
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.tuning.selection import confirmations, retrain_seeds
from tune_fmnist.workflow.search import search


def study_of(paths: SearchPaths) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def test_every_file_of_the_contract_is_there(finished: Results) -> None:
    paths = finished.paths
    for file in (
        paths.search, paths.trials, paths.epochs, paths.confirmations, paths.retrains, paths.retrain_epochs,
        paths.predictions, paths.test_reads, paths.journal, paths.page, paths.best / "model.safetensors",
        paths.best / "config.json",
    ):  # fmt: skip
        assert file.stat().st_size > 0, file
    assert list(paths.figures.glob("*.png"))
    assert not list(paths.folder.rglob("*.partial"))
    assert finished.record.state == "finished"


def test_trials_and_epochs_agree(finished: Results) -> None:
    trials, epochs = finished.trials, finished.epochs
    assert list(trials["number"]) == list(range(6))
    assert set(trials["status"]) <= {"completed", "stopped"}
    assert trials["epochs"].sum() == len(epochs)
    assert trials["config_id"][0] == config_id(baseline("ann"))
    by_trial = epochs.sort_values("epoch").groupby("trial_id")["val_accuracy"]
    assert (trials.set_index("trial_id")["best_val_accuracy"] == by_trial.max()).all()
    scores = by_trial.apply(lambda accuracies: accuracies.tail(3).mean())
    assert np.allclose(trials.set_index("trial_id")["score"], scores, atol=1e-12)
    spent = epochs.groupby("trial_id")[["train_seconds", "eval_seconds", "overhead_seconds"]].sum().sum(axis=1)
    assert (spent.to_numpy() > 0).all()


def test_the_study_holds_the_same_trials(finished: Results) -> None:
    told = study_of(finished.paths).trials
    states = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert [trial.state for trial in told] == [states[status] for status in finished.trials["status"]]


def test_the_best_and_the_baseline_are_confirmed_with_each_seed(finished: Results) -> None:
    rows, record = finished.confirmations, finished.record
    wanted = confirmations(tables.read(finished.paths.trials, tables.TRIALS).to_pylist(), record, top_k=1, count=2)
    assert set(zip(rows["config_id"], rows["seed"], strict=True)) == {job.key for job in wanted}
    best = {row["config_id"] for row in ranked(finished.trials.to_dict("records"))[:3]}
    assert set(rows["config_id"]) == best | {config_id(baseline("ann"))}
    assert len(rows) == len(wanted) == 2 * rows["config_id"].nunique()
    assert not set(rows["seed"]) & {*finished.trials["seed"], *finished.retrains["seed"]}
    assert set(rows["status"]) == {"completed"}
    for row in rows.to_dict("records"):
        assert len(row["correct"]) == 3
        assert hits(row, record.validation_size).mean() == pytest.approx(row["score"], abs=1e-12)
        last = np.unpackbits(np.frombuffer(row["correct"][-1], np.uint8), count=record.validation_size)
        assert last.mean() == pytest.approx(row["val_accuracy"], abs=1e-12)
    assert record.retrain is not None
    assert (record.retrain.confirm, record.retrain_plan.confirm) == (2, 2)


def test_retrains_are_the_best_and_the_baseline_with_each_seed(finished: Results) -> None:
    retrains, trials = finished.retrains, finished.trials
    means = finished.confirmations.groupby("config_id")["score"].mean()
    best = trials[trials["config_id"] == means.idxmax()].iloc[0]
    first = config_id(baseline("ann"))
    expected = {(name, seed) for name in (best["config_id"], first) for seed in retrain_seeds(finished.record, 2)}
    assert set(zip(retrains["config_id"], retrains["seed"], strict=True)) == expected
    assert set(retrains.loc[retrains["rank"] == 1, "config_id"]) == {best["config_id"]}
    assert set(retrains["epochs"]) == {3}
    assert set(retrains["train_size"]) == {6000}
    assert set(retrains.loc[retrains["is_baseline"], "config_id"]) == {first}
    curves = finished.retrain_epochs.groupby(["config_id", "seed"]).size()
    assert curves.to_dict() == retrains.set_index(["config_id", "seed"])["epochs"].to_dict()


def test_each_retrain_reads_the_test_set_once_and_its_predictions_give_its_accuracy(finished: Results) -> None:
    retrains = finished.retrains.set_index(["config_id", "seed"])
    groups = finished.predictions.assign(correct=lambda t: t["label"] == t["predicted"]).groupby(["config_id", "seed"])
    assert set(groups.size()) == {10_000}
    assert groups["correct"].mean().sort_index().equals(retrains["test_accuracy"].sort_index().rename("correct"))
    reads = finished.test_reads.set_index(["config_id", "seed"]).index
    assert sorted(reads) == sorted(retrains.index)


def test_the_best_models_surest_mistakes_have_pictures(finished: Results, source: data.Source) -> None:
    images, best = source.read_test().images, finished.retrains.loc[finished.retrains["rank"] == 1, "config_id"].iloc[0]
    for (name, _), own in finished.predictions.groupby(["config_id", "seed"]):
        shown = own[own["picture"].notna()]
        if name != best:
            assert shown.empty
            continue
        wrong = own.loc[own["label"] != own["predicted"], "confidence"].sort_values(ascending=False)
        assert shown["confidence"].sort_values(ascending=False).tolist() == wrong.head(100).tolist()
        for index, picture in zip(shown["index"], shown["picture"], strict=True):
            assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(picture))), images[index])


def test_the_best_model_loads_in_two_lines_and_predicts_the_same(finished: Results, source: data.Source) -> None:
    model = load(finished.paths.best)
    test = source.read_test()
    with torch.inference_mode():
        images = torch.tensor(test.images).unsqueeze(1).float().div(127.5).sub(1.0)
        predicted = model(images).argmax(1).numpy()
    (first,) = retrain_seeds(finished.record, 1)
    best = finished.retrains[(finished.retrains["rank"] == 1) & (finished.retrains["seed"] == first)].iloc[0]
    rows = finished.predictions[
        (finished.predictions["config_id"] == best["config_id"]) & (finished.predictions["seed"] == first)
    ]
    assert (rows["predicted"].to_numpy() == predicted).mean() > 0.9999


def test_the_summary_fits_one_screen(finished: Results) -> None:
    summary = (finished.paths.folder.parent / "x.out").read_text()
    assert 0 < summary.count("\n") <= 20
    assert "rank 1" in summary
    assert "\nbaseline: the ANN of the report " in summary
    assert "\nnext: python -m tune_fmnist.search --resume " in summary
    assert str(finished.paths.page) in summary


def test_the_summary_alone_goes_to_the_standard_output(finished: Results) -> None:
    folder = finished.paths.folder.parent
    out, err = (folder / "x.out").read_text().splitlines(), (folder / "x.err").read_text().splitlines()
    shown = tune("show", "x", "--results-dir", folder)
    assert (shown.stdout.splitlines(), shown.stderr) == (out, "")
    # Where a line has no time before it, it is said before or after the trials.
    kinds = [
        "Fashion-MNIST: ",
        "search x: ",
        "Ray: ",
        "4,800 training",
        "confirming ",
        "retraining ",
        "writing the page",
    ]
    untimed = [line for line in err if line and not re.match(r"\d\d:\d\d:\d\d (trial|confirmed|retrained) ", line)]
    assert len(untimed) == len(kinds)
    assert all(any(line.startswith(kind) for line in untimed) for kind in kinds)


@pytest.mark.long
def test_a_quiet_search_says_its_result_alone(finished: Results, tmp_path: Path) -> None:
    shutil.copytree(finished.paths.folder, tmp_path / "x")
    before = tune("show", tmp_path / "x").stdout
    again = tune("search", "--resume", "--results-dir", tmp_path, "--name", "x", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, before, "")
    again = tune("retrain", tmp_path / "x", "-q")
    assert (again.returncode, again.stdout, again.stderr) == (0, before, "")


def test_retraining_again_keeps_what_is_there_and_adds_what_is_asked(finished: Results, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(finished.paths.folder, folder)
    more = tune("retrain", folder, "--confirm", 2, "--top-k", 1, "--retrain-seeds", 3)
    assert more.returncode == 0, more.stderr
    after = Results(SearchPaths(folder)).retrains
    configurations = finished.retrains["config_id"].nunique()
    assert len(after) == 3 * configurations
    kept = ["config_id", "seed", "rank", "test_accuracy", "seconds"]
    assert after.head(2 * configurations)[kept].equals(finished.retrains[kept])


@pytest.mark.long
def test_an_interrupted_retrain_says_how_to_go_on(finished: Results, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.paths.folder, tmp_path / "x")
    # More than any machine retrains before the signal.
    wanted = ("--confirm", "2", "--top-k", "1", "--retrain-seeds", "500")
    command = [sys.executable, "-m", "tune_fmnist.retrain", str(folder), *wanted]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if " retrained " in line)
        process.send_signal(signal.SIGINT)
        *_, interrupted, then = process.stderr.read().splitlines()
    assert process.returncode == 130
    held = len(Results(SearchPaths(folder)).retrains)
    assert held > len(finished.retrains)
    assert interrupted == f"interrupted; the tables in {folder} hold {held} retrains"
    assert shlex.split(then) == ["next:", "python", *command[1:]]


def test_a_search_never_opens_the_test_set(tmp_path: Path, source: data.Source) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for file in source.folder.glob("train-*"):
        shutil.copy(file, root)
    noise = np.random.default_rng(0)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (root / name).write_bytes(gzip.compress(noise.bytes(1000)))
    common = ("--data-root", root)
    done = tune(
        "search", "--model", "ann", "--trials", 2, "--max-epochs", 1, "--limit-train", 1000, "--no-retrain",
        "--results-dir", tmp_path, "--name", "x", *common,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "x" / "retrains.parquet").exists()
    unusable = tune("retrain", tmp_path / "x", *common)
    assert unusable.returncode == 2
    (line,) = trouble(unusable.stderr)
    assert "t10k-" in line


@pytest.mark.long
def test_the_same_seed_gives_the_same_accuracies(tmp_path: Path) -> None:
    options = {"trials": 4, "max_epochs": 3, "limit_train": 2000, "max_concurrent": 1, "retrain": False}
    first, second = (search("ann", results_dir=tmp_path, name=name, **options) for name in ("first", "second"))
    columns = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert first.epochs[columns].equals(second.epochs[columns])
    assert first.trials["config_id"].equals(second.trials["config_id"])


@pytest.mark.long
def test_a_trial_that_waited_goes_on_to_the_same_accuracies(tmp_path: Path) -> None:
    """Those that it has without a wait, to the bit: its state is in a checkpoint."""
    options = {"trials": 8, "max_epochs": 4, "limit_train": 1000, "searcher": "random", "retrain": False}
    options |= {"results_dir": tmp_path, "max_concurrent": 1}
    waits = search("ann", name="waits", scheduler="promotion", grace=1, **options)
    never = search("ann", name="never", scheduler="fifo", **options)
    order = waits.epochs.sort_values("reported_at")["trial_id"]
    begun_again = order[(order != order.shift()) & order.duplicated()]
    assert len(begun_again), "trials of which other trials ran in between"
    one, other = (found.epochs.merge(found.trials[["trial_id", "number"]]) for found in (waits, never))
    both = one.merge(other, on=["number", "epoch"], suffixes=("", "_never"))
    assert len(both) == len(waits.epochs) < len(never.epochs)
    for column in ("val_accuracy", "val_loss", "train_loss"):
        assert (both[column] == both[f"{column}_never"]).all()
    assert not waits.paths.checkpoints.exists()


@pytest.mark.long
def test_the_split_seed_alone_decides_the_images(tmp_path: Path) -> None:
    options = {"trials": 1, "max_epochs": 1, "limit_train": 500, "retrain": False, "results_dir": tmp_path}
    seeds = {"a": (0, 0), "b": (1, 0), "c": (0, 1)}
    found = {
        name: search("ann", name=name, seed=seed, split_seed=split_seed, **options)
        for name, (seed, split_seed) in seeds.items()
    }
    hashes = {name: results.record.split_hash for name, results in found.items()}
    assert hashes["a"] == hashes["b"] != hashes["c"]
    assert found["c"].record.split_seed == 1
    assert found["a"].trials["seed"].equals(found["c"].trials["seed"])
    assert not found["a"].trials["seed"].equals(found["b"].trials["seed"])


@pytest.mark.long
def test_a_diverged_trial_is_a_row_and_the_search_goes_on(tmp_path: Path) -> None:
    space = tmp_path / "wild.toml"
    space.write_text(
        'model = "ann"\n[parameters]\nlearning_rate = { type = "categorical", choices = [0.01, 1e30] }\n'
        '[fixed]\noptimizer = "sgd"\n[[start]]\nlearning_rate = 1e30\n[[start]]\nlearning_rate = 0.01\n'
    )
    results = search(
        "ann", space=space, trials=4, max_epochs=2, limit_train=2000, results_dir=tmp_path, name="x", retrain=False
    )
    trials = results.trials.set_index("number")
    assert trials.loc[1, "status"] == "diverged"
    assert "training loss nan" in trials.loc[1, "reason"]
    assert trials.loc[2, "status"] in ("completed", "stopped")
    assert study_of(results.paths).trials[1].state is TrialState.PRUNED
    assert trials["epochs"].sum() == len(results.epochs)


def ended(paths: SearchPaths) -> int:
    """Return how many trials have ended by the table on the disk."""
    return sum(row["status"] != "running" for row in tables.read(paths.trials, tables.TRIALS).to_pylist())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_rows_reach_the_disk_while_it_runs_and_an_interruption_keeps_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    paths = SearchPaths(tmp_path / "x")
    # More trials than any machine ends before the signal.
    options = ("--model", "ann", "--trials", 100_000, "--max-epochs", 3, "--limit-train", 2000)
    run = Run(paths, options, tmp_path)
    try:
        assert run.await_line(start="trial ", count=20), run.said
        while ended(paths) < 20:
            assert run.await_event(paths.folder, lambda event: event.name == "trials.parquet"), run.said
        run.process.send_signal(number)
        assert run.ended() == 130, run.said
    finally:
        run.clean()
    interrupted, then = run.lines[-2:]
    assert interrupted.startswith(f"interrupted; the tables in {paths.folder} hold ")
    assert then == f"next: python -m tune_fmnist.search --resume --results-dir {tmp_path} --name x"
    assert ended(paths) >= sum(line.startswith("trial ") for line in run.lines)
    results = Results(paths)
    assert results.trials["epochs"].sum() == len(results.epochs)
    assert results.record.state == "interrupted"
