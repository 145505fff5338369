"""Searches that never ran: schema-valid tables by chance, for tests of what reads them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.metrics import score_of
from tune_fmnist.base.vocabulary import PUBLISHED, ModelName
from tune_fmnist.data.thumbnails import thumbnail
from tune_fmnist.models.config import Ann, Cnn, baseline, config_id
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.confirmation_table import packed
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.tuning.space_files import default_space, read_space, to_json

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SEARCH_ID = "f0f0f0f0"


def drawn(rng: np.random.Generator, model: ModelName) -> Ann | Cnn:
    """Return a configuration of a family at random."""
    shared: dict[str, Any] = {
        "learning_rate": float(10 ** rng.uniform(-3.5, -2.5)),
        "dropout": float(rng.uniform(0.05, 0.5)),
        "schedule": str(rng.choice(["constant", "cosine"])),
    }
    if model == "ann":
        return Ann(hidden1=int(rng.integers(128, 512)), hidden2=int(rng.integers(64, 256)), **shared)
    return Cnn(conv1_channels=int(rng.integers(16, 48)), flip=bool(rng.integers(2)), **shared)


def record_of(
    model: ModelName, *, name: str = "fake", trials: int = 6, epochs: int = 5, images: int = 60_000
) -> dict[str, Any]:
    """Return the keys and values of a complete ``search.json``, in Python's types."""
    validation = images // 5
    return {
        "name": name,
        "search_id": SEARCH_ID,
        "state": "finished",
        "model": model,
        "command": f"python -m tune_fmnist.search --model {model}",
        "started_at": START,
        "finished_at": START + timedelta(seconds=600),
        "seed": 0,
        "split_seed": 0,
        "trials": trials,
        "max_epochs": epochs,
        "limit_train": None if images == 60_000 else images,
        "searcher": {"name": "tpe", "multivariate": True},
        "scheduler": {"name": "asha", "grace": 1, "reduction_factor": 3},
        "retrain_plan": {"wanted": True, "top_k": 3, "seeds": 3},
        "space": to_json(read_space(default_space(model))),
        "dataset": FASHION_MNIST.name,
        "data": "a made-up folder",
        "images": images,
        "train_size": images - validation,
        "validation_size": validation,
        "split_hash": "c0ffee" * 10,
        "scored_epochs": 3,
        "versions": {"torch": "2.15.0", "ray": "2.60.0"},
        "hardware": {"processor": "a processor", "cores": 2, "memory_bytes": 8 * 2**30, "gpus": []},
        "placement": {"cpus": 1.0, "gpus": 0.0, "slots": 2, "nodes": 1},
        "search_seconds": 300.0,
        "slot_seconds": 600.0,
        "wall_seconds": 571.4,
        "utilisation": 0.973,
    }


def make_search(
    folder: Path,
    model: ModelName = "ann",
    *,
    trials: int = 6,
    epochs: int = 5,
    name: str = "fake",
    images: int = 60_000,
) -> Results:
    """Write the tables of a search that has retrained nothing: trial 3 diverged, 4 failed, 5 runs, others by chance."""
    rng, paths = np.random.default_rng(5), SearchPaths(folder)
    record = SearchRecord.model_validate(record_of(model, name=name, trials=trials, epochs=epochs, images=images))
    first = PUBLISHED[model].validation
    trial_rows, epoch_rows, clock = [], [], [0.0, 0.7]
    for number in range(trials):
        config = baseline(model) if number == 0 else drawn(rng, model)
        slot = number % 2
        started, top = clock[slot], first + (0.0 if number == 0 else float(rng.uniform(-0.03, 0.01)))
        status, reason = "completed", "trained for the full length"
        length = epochs
        if number == 3:
            status, reason, length = "diverged", "training loss nan in epoch 2", 1
        elif number == 4:
            status, reason, length = "failed", "RuntimeError: <out of memory> & lost", 0
        elif number == 5:
            status, reason, length = "running", "in progress", 2
        elif top < first:
            status, reason, length = "stopped", "not in the best third at its rung", max(1, epochs // 3)
        accuracies: list[float] = []
        for epoch in range(1, length + 1):
            clock[slot] += float(rng.uniform(1.0, 1.6))
            accuracies.append(top - 0.06 * math.exp(-epoch / 4) + float(rng.normal(0, 0.0015)))
            epoch_rows.append(
                {
                    "search_id": SEARCH_ID,
                    "trial_id": f"{SEARCH_ID}-{number:05d}",
                    "epoch": epoch,
                    "train_loss": 0.6 * math.exp(-epoch / 8),
                    "train_accuracy": accuracies[-1] + 0.004 * epoch,
                    "val_loss": 0.4 * math.exp(-epoch / 9),
                    "val_accuracy": accuracies[-1],
                    "learning_rate": config.learning_rate,
                    "train_seconds": 1.2,
                    "eval_seconds": 0.1,
                    "overhead_seconds": 0.01,
                    "reported_at": START + timedelta(seconds=clock[slot]),
                }
            )
        row: dict[str, Any] = {
            "search_id": SEARCH_ID,
            "trial_id": f"{SEARCH_ID}-{number:05d}",
            "number": number,
            "origin": "baseline" if number == 0 else "random",
            "status": status,
            "reason": reason,
            "epochs": length,
            "max_epochs": epochs,
            "seconds": clock[slot] - started,
            "seed": 0,
            "started_at": START + timedelta(seconds=started),
            "dataset": record.dataset,
            "train_size": record.train_size,
            "split_hash": record.split_hash,
            "parameters": 235_146,
            "config_id": config_id(config),
            **tables.config_columns(config),
        }
        if accuracies:
            best = int(np.argmax(accuracies))
            row |= {"best_epoch": best + 1, "best_val_accuracy": accuracies[best], "score": score_of(accuracies)}
            row |= {"val_accuracy": accuracies[-1], "val_loss": 0.4 * math.exp(-length / 9)}
        trial_rows.append(row)
    tables.write(tables.to_table(trial_rows, tables.TRIALS), paths.trials)
    tables.write(tables.to_table(epoch_rows, tables.EPOCHS), paths.epochs)
    record.write(paths)
    return Results(paths)


def hits(rng: np.random.Generator, easy: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Return which images one retrain gets right."""
    return easy + rng.normal(0.0, 0.4, len(easy)) + level > 0.0


def add_retrains(
    results: Results, levels: list[float], *, baseline: float | None, seeds: int = 3, images: int = 2000
) -> None:
    """Write the tables of retrains: the ``levels`` of the best trials' configurations, and of the baseline's."""
    rng, paths, record = np.random.default_rng(6), results.paths, results.record
    trials = tables.read(paths.trials, tables.TRIALS).to_pylist()
    usable = [row for row in trials if row["status"] in ("completed", "stopped") and row["number"] > 0]
    usable = ranked(usable)
    chosen: list[tuple[dict[str, Any], int | None, float]]
    chosen = [(row, rank + 1, level) for rank, (row, level) in enumerate(zip(usable, levels, strict=False))]
    if baseline is not None:
        chosen.append((trials[0], None, baseline))
    label = rng.integers(0, 10, images).astype(np.int8)
    easy = rng.normal(1.9, 1.2, images) - 1.2 * (label == 6)
    neighbour = np.array([6, 3, 4, 1, 2, 7, 0, 5, 9, 7])
    rows: dict[str, list[dict[str, Any]]] = {"retrains": [], "retrain_epochs": [], "predictions": [], "test_reads": []}
    picture = thumbnail(np.arange(784, dtype=np.uint8).reshape(28, 28))
    for row, rank, level in chosen:
        cells = {key: value for key, value in row.items() if key.startswith("config_")}
        own = easy + rng.normal(0.0, 0.2, images)
        for seed in range(seeds):
            name = {"search_id": SEARCH_ID, "config_id": row["config_id"], "seed": seed}
            right = hits(rng, own, level + float(rng.normal(0, 0.02)))
            by_class = [float(right[label == number].mean()) for number in range(10)]
            figures = {"test_accuracy": float(right.mean()), "test_loss": 0.3, "class_accuracy": by_class}
            rows["retrains"].append(
                cells
                | name
                | figures
                | {"rank": rank, "is_baseline": row["number"] == 0, "epochs": record.max_epochs}
                | {"horizon": record.max_epochs, "train_size": record.images}
                | {"score": row["score"], "best_val_accuracy": row["best_val_accuracy"]}
                | {"train_loss": 0.1, "seconds": 30.0}
                | {"parameters": 235_146, "node": "here", "device": "cpu", "precision": "bfloat16"}
            )
            for epoch in range(1, record.max_epochs + 1):
                loss = 0.5 * math.exp(-epoch * (0.1 + level / 10)) + 0.005 * seed
                curve = {"epoch": epoch, "train_loss": loss, "train_accuracy": 1 - loss / 3}
                rows["retrain_epochs"].append(name | curve | {"learning_rate": 1e-3, "train_seconds": 1.5})
            predicted = np.where(right, label, neighbour[label])
            for index in range(images):
                cell = {"index": index, "label": int(label[index]), "predicted": int(predicted[index])}
                rows["predictions"].append(name | cell | {"confidence": 0.9})
                if rank == 1 and not right[index]:
                    rows["predictions"][-1]["picture"] = picture
            rows["test_reads"].append(name | {"read_at": START, "by": "retrain"})
    for table, listed in rows.items():
        tables.write(tables.to_table(listed, getattr(tables, table.upper())), getattr(paths, table))


def add_confirmations(results: Results, levels: list[float], *, baseline: float, seeds: int = 3) -> None:
    """Write the confirmations of the best trials' configurations, as good as ``levels`` say, and of the baseline."""
    rng, record = np.random.default_rng(7), results.record
    trials = ranked(tables.read(results.paths.trials, tables.TRIALS).to_pylist(), ended=True)
    others = [row for row in trials if row["number"] > 0]
    easy = rng.normal(1.9, 1.2, record.validation_size)
    rows = []
    for trial, level in [
        *zip(others, levels, strict=False),
        (next(row for row in trials if not row["number"]), baseline),
    ]:
        for seed in range(seeds):
            of_seed = level + float(rng.normal(0, 0.03))
            epochs = [hits(rng, easy, of_seed) for _ in range(3)]
            row = {"search_id": SEARCH_ID, "number": trial["number"], "config_id": trial["config_id"], "seed": seed}
            row |= {"status": "completed", "epochs": record.max_epochs, "score": float(np.mean(epochs))}
            row |= {"val_accuracy": float(epochs[-1].mean()), "seconds": 20.0, "parameters": 235_146, "node": "here"}
            row |= {"device": "cpu", "precision": "bfloat16", "split_hash": record.split_hash}
            rows.append(row | {"correct": [packed(correct) for correct in epochs]})
    tables.write(tables.to_table(rows, tables.CONFIRMATIONS), results.paths.confirmations)


def begin_with_start(results: Results) -> Results:
    """Let trial 1 be the start of the search's space; return the search as it is then."""
    values = results.record.model_dump()
    record = SearchRecord.model_validate(values | {"space": {**results.record.space, "start": [{}]}})
    record.write(results.paths)
    return Results(results.paths)


def edit_trials(results: Results, changes: dict[int, dict[str, Any]]) -> Results:
    """Change cells of ``trials.parquet``, by the trials' numbers; return the search as it is then."""
    rows = tables.read(results.paths.trials, tables.TRIALS).to_pylist()
    edited = [row | changes.get(row["number"], {}) for row in rows]
    tables.write(tables.to_table(edited, tables.TRIALS), results.paths.trials)
    return Results(results.paths)


def mean_of(results: Results, config_id: str) -> float:
    """Return a configuration's mean test accuracy from its predictions."""
    own = results.predictions[results.predictions["config_id"] == config_id]
    return float((own["label"] == own["predicted"]).mean())
