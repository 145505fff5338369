"""The retrains of a search: which there are to be, their tables and ``best/``, added to as each of them ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import COMPLETED, STOPPED
from tune_fmnist.models.config import Config, baseline, config_id, read_config, to_config
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import read_info


class Job(NamedTuple):
    """One retrain: a configuration, its rank in the search (None for a baseline outside the top), and a seed."""

    config: Config
    rank: int | None
    seed: int
    epochs: int
    horizon: int
    best_val_accuracy: float
    expected_seconds: float

    @property
    def key(self) -> tuple[str, int]:
        return config_id(self.config), self.seed

    @property
    def is_baseline(self) -> bool:
        return self.config == baseline(self.config.model)


def choose(trials: list[dict[str, Any]], info: dict[str, Any], *, top_k: int, seeds: int) -> list[Job]:
    """Return the retrains: the ``top_k`` configurations by validation accuracy and the report's, ``seeds`` of each.

    A configuration is trained for the epochs at which its validation accuracy was highest.

    Args:
        trials: the rows of ``trials.parquet``.
        info: what ``search.json`` holds.

    Raises:
        InputError: no trial has a validation accuracy yet.
    """
    usable = [row for row in trials if row["status"] in (COMPLETED, STOPPED) and row["best_val_accuracy"] is not None]
    ranked: dict[str, dict[str, Any]] = {}
    for row in sorted(usable, key=lambda row: (-row["best_val_accuracy"], row["number"])):
        ranked.setdefault(row["config_id"], row)
    first = config_id(baseline(info["model"]))
    if first not in ranked:
        raise InputError(
            "the report's configuration, trial 0, has no validation accuracy",
            file=info["name"],
            key="trials.parquet: number 0",
            mend="see its reason, and search again",
        )
    chosen = list(ranked)[:top_k]
    horizon, scale = info["max_epochs"], info["images"] / info["train_size"]
    jobs = []
    for name in chosen + [first] * (first not in chosen):
        row = ranked[name]
        per_epoch = row["seconds"] / row["epochs"]
        jobs += [
            Job(
                config=to_config(tables.config_values(row), file="trials.parquet"),
                rank=chosen.index(name) + 1 if name in chosen else None,
                seed=seed,
                epochs=row["best_epoch"],
                horizon=horizon,
                best_val_accuracy=row["best_val_accuracy"],
                expected_seconds=per_epoch * row["best_epoch"] * scale,
            )
            for seed in range(info["seed"], info["seed"] + seeds)
        ]
    return jobs


def pending(paths: SearchPaths, *, top_k: int, seeds: int) -> list[Job]:
    """Return the retrains that are still to be run.

    Raises:
        InputError: see ``choose``.
    """
    trials = tables.read(paths.trials, tables.TRIALS).to_pylist()
    jobs = choose(trials, read_info(paths), top_k=top_k, seeds=seeds)
    done = RetrainTables(paths, jobs).done
    return [job for job in jobs if job.key not in done]


class RetrainTables:
    """The retrain tables and ``best/``; ``retrains.parquet`` is published last, as the mark that a retrain is done.

    Args:
        paths: where they are; what is there is taken up.
        jobs: all retrains of the search; the first is the best one's with the first seed, whose model is kept.
    """

    def __init__(self, paths: SearchPaths, jobs: list[Job]) -> None:
        # Chosen by validation and by order of the seeds, not by the test.
        self._paths, self._best = paths, jobs[0]
        self._tables = read_tables(paths)
        # More trials may have changed the ranks since.
        ranks = {config_id(job.config): job.rank for job in jobs}
        rows = self._tables["retrains"].to_pylist()
        ranked = [row | {"rank": ranks.get(row["config_id"])} for row in rows]
        self._tables["retrains"] = tables.to_table(ranked, tables.RETRAINS)
        self.done = {(row["config_id"], row["seed"]) for row in rows} - self._without_model()

    def _without_model(self) -> set[tuple[str, int]]:
        """Return the best retrain if ``best/`` does not hold its model: it ranked lower when it was retrained."""
        saved = _saved_config(self._paths)
        return set() if saved == self._best.config else {self._best.key}

    def add(self, job: Job, result: dict[str, Any], labels: NDArray[np.uint8]) -> None:
        """Publish the rows of a retrain, and its model if it is the best one's; ``labels`` are the test images'."""
        if job.key == self._best.key:
            self._save_best(job, result["weights"])
        self._publish("test_reads", tables.to_table([result["read"]], tables.TEST_READS))
        self._publish("predictions", _predictions(job, result, labels), instead_of=job.key)
        self._publish("retrain_epochs", tables.to_table(result["epochs"], tables.RETRAIN_EPOCHS), instead_of=job.key)
        self._publish("retrains", tables.to_table([result["retrain"]], tables.RETRAINS), instead_of=job.key)
        self.done.add(job.key)

    def _publish(self, name: str, rows: pa.Table, instead_of: tuple[str, int] | None = None) -> None:
        """Publish a table with these rows added, in place of those of a retrain that was cut off or is run again."""
        table = self._tables[name]
        if instead_of is not None:
            config, seed = instead_of
            same = pc.and_(pc.equal(table["config_id"], config), pc.equal(table["seed"], seed))
            table = table.filter(pc.invert(same))
        self._tables[name] = pa.concat_tables([table, rows])
        tables.write(self._tables[name], _files(self._paths)[name][0])

    def _save_best(self, job: Job, weights: dict[str, Any]) -> None:
        import torch

        from tune_fmnist.models.networks import build, save

        model = build(job.config)
        model.load_state_dict({key: torch.tensor(value) for key, value in weights.items()})
        save(model, job.config, self._paths.best)


def _files(paths: SearchPaths) -> dict[str, tuple[Path, pa.Schema]]:
    return {
        "test_reads": (paths.test_reads, tables.TEST_READS),
        "predictions": (paths.predictions, tables.PREDICTIONS),
        "retrain_epochs": (paths.retrain_epochs, tables.RETRAIN_EPOCHS),
        "retrains": (paths.retrains, tables.RETRAINS),
    }


def _saved_config(paths: SearchPaths) -> Config | None:
    return read_config(paths.best_config) if paths.best_config.exists() else None


def read_tables(paths: SearchPaths) -> dict[str, pa.Table]:
    """Return the retrain tables that are there, empty ones for those that are not.

    Raises:
        InputError: one of them, or the configuration in ``best/``, cannot be used.
    """
    _saved_config(paths)
    return {
        name: tables.read(path, schema) if path.exists() else tables.to_table([], schema)
        for name, (path, schema) in _files(paths).items()
    }


def _predictions(job: Job, result: dict[str, Any], labels: NDArray[np.uint8]) -> pa.Table:
    name, seed = job.key
    columns = [[name] * len(labels), [seed] * len(labels), range(len(labels)), labels.astype("int8")]
    columns += [result["predicted"], result["confidence"]]
    schema = tables.PREDICTIONS
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return tables.checked(pa.Table.from_arrays(arrays, schema=schema), schema)
