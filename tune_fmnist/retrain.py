"""``python -m tune_fmnist.retrain``: the best configurations, several seeds each, on all training images, and the test.

The only module that reads the test set.  Each read is a row in ``test_reads.parquet``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from tune_fmnist import data, interruption, tables
from tune_fmnist.cli import Debug
from tune_fmnist.config import Config, baseline, config_id, read_config, to_config
from tune_fmnist.errors import InputError
from tune_fmnist.lock import only_writer
from tune_fmnist.names import COMPLETED, STOPPED
from tune_fmnist.paths import SearchPaths
from tune_fmnist.results import Results, read_info, write_info

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from rich.console import Console

    from tune_fmnist.engine import Placement


_NEEDS: Final = ("name", "model", "seed", "max_epochs", "limit_train", "images", "train_size", "split_hash")
"""What ``search.json`` must hold."""


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


def train_and_test(job: Job, train: data.Images, sealed: list[Any], gpu: bool, threads: int) -> dict[str, Any]:
    """Train one job on all training images and test it once; runs as a Ray task.

    Args:
        train: all training images.
        sealed: holds the reference to the test images, which is opened only after the training.

    Returns:
        The rows ``retrain``, ``read`` and ``epochs``, the arrays ``predicted`` int8 and ``confidence`` float32, both
        (10,000,), and the model's ``weights``.
    """
    import platform

    import ray
    import torch

    from tune_fmnist.statistics import class_accuracy
    from tune_fmnist.training import choose_precision, fit, predict, score, to_device

    started = time.perf_counter()
    torch.set_num_threads(threads)
    device = torch.device("cuda" if gpu else "cpu")
    precision = choose_precision(device)
    epochs: list[dict[str, Any]] = []
    fitted = fit(
        job.config,
        to_device(train, device, precision),
        None,
        epochs=job.epochs,
        horizon=job.horizon,
        seed=job.seed,
        on_epoch=lambda result, state: epochs.append(result._asdict()),
    )
    test = ray.get(sealed[0])
    read_at = datetime.now(UTC)
    # In float32, so that whoever loads the saved weights gets these very predictions.
    images = to_device(test, device, "float32")
    logits = predict(fitted.model, images)
    loss, accuracy = score(logits, images.labels)
    confidence, predicted = (part.cpu().numpy() for part in logits.softmax(1).max(1))
    name, seed = job.key
    return {
        "retrain": {
            "config_id": name,
            "rank": job.rank,
            "is_baseline": job.is_baseline,
            "seed": seed,
            "epochs": len(epochs),
            "train_size": len(train.labels),
            "best_val_accuracy": job.best_val_accuracy,
            "train_loss": fitted.last.train_loss,
            "test_accuracy": accuracy,
            "test_loss": loss,
            "seconds": time.perf_counter() - started,
            "parameters": sum(weight.numel() for weight in fitted.model.parameters()),
            "class_accuracy": class_accuracy(test.labels, predicted).tolist(),
            "node": platform.node(),
            "device": device.type,
            "precision": precision,
            **tables.config_columns(job.config),
        },
        "read": {"read_at": read_at, "by": "retrain", "config_id": name, "seed": seed},
        "epochs": [
            {key: row[key] for key in tables.RETRAIN_EPOCHS.names if key in row} | {"config_id": name, "seed": seed}
            for row in epochs
        ],
        "predicted": predicted.astype("int8"),
        "confidence": confidence,
        "weights": {key: value.cpu().numpy() for key, value in fitted.model.state_dict().items()},
    }


def pending(paths: SearchPaths, *, top_k: int, seeds: int) -> list[Job]:
    """Return the retrains that are still to be run.

    Raises:
        InputError: see ``choose``.
    """
    trials = tables.read(paths.trials, tables.TRIALS).to_pylist()
    jobs = choose(trials, read_info(paths), top_k=top_k, seeds=seeds)
    done = _Writer(paths, jobs).done
    return [job for job in jobs if job.key not in done]


def run_retrain(
    paths: SearchPaths,
    source: data.Source,
    images: data.Images,
    placement: Placement,
    *,
    top_k: int,
    seeds: int,
    out: Console,
) -> None:
    """Choose, retrain, test and record, on the Ray cluster that this process has joined.

    Each retrain's rows are published when it ends; those that are there already are kept.

    Args:
        source: where the test set lies.
        images: all training images of the search.
        top_k: how many configurations beside the report's, 1 or more.
        seeds: retrains of each, 1 or more.

    Raises:
        InputError: no trial to choose from, or the test set is not what it should be.
    """
    from tune_fmnist import environment

    info = read_info(paths)
    trials = tables.read(paths.trials, tables.TRIALS).to_pylist()
    chosen = choose(trials, info, top_k=top_k, seeds=seeds)
    writer = _Writer(paths, chosen)
    jobs = [job for job in chosen if job.key not in writer.done]
    test = data.read_test(source)
    began = time.monotonic()
    configurations = len({config_id(job.config) for job in jobs})
    out.print(
        f"retraining {configurations} configurations on {len(images.labels):,} images, {len(jobs)} retrains in all"
    )
    _run_jobs(jobs, images, test, writer, placement, out)
    before = info.get("retrain", {}).get("seconds", 0.0)
    info["retrain"] = {
        "top_k": top_k,
        "seeds": seeds,
        "seconds": round(before + time.monotonic() - began, 1),
        "placement": placement._asdict(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "git_commit": environment.git_commit(),
    }
    write_info(paths, info)


def _run_jobs(
    jobs: list[Job], train: data.Images, test: data.Images, writer: _Writer, placement: Placement, out: Console
) -> None:
    import ray

    from tune_fmnist.screen import RetrainDisplay

    display = RetrainDisplay(out, [job.expected_seconds for job in jobs], placement.slots)
    task = ray.remote(train_and_test).options(num_cpus=placement.cpus, num_gpus=placement.gpus)
    train_ref, test_ref = ray.put(train), ray.put(test)
    threads = max(1, int(placement.cpus))
    # The longest first: a long one that starts last would leave the other slots idle.
    waiting = sorted(jobs, key=lambda job: -job.expected_seconds)
    running: dict[ray.ObjectRef[Any], Job] = {}
    with display.shown():
        while waiting or running:
            while waiting and len(running) < placement.slots:
                job = waiting.pop(0)
                running[task.remote(job, train_ref, [test_ref], placement.gpus > 0, threads)] = job
            ended, _ = ray.wait(list(running), timeout=0.25)
            for ref in ended:
                job = running.pop(ref)
                result = ray.get(ref)
                writer.add(job, result, test.labels)
                display.step(result["retrain"], job.expected_seconds)
            display.step(None)
            interruption.check()


class _Writer:
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
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._tables[name]
        if instead_of is not None:
            config, seed = instead_of
            same = pc.and_(pc.equal(table["config_id"], config), pc.equal(table["seed"], seed))
            table = table.filter(pc.invert(same))
        self._tables[name] = pa.concat_tables([table, rows])
        tables.write(self._tables[name], _files(self._paths)[name][0])

    def _save_best(self, job: Job, weights: dict[str, Any]) -> None:
        import torch

        from tune_fmnist.models import build, save

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
    import pyarrow as pa

    name, seed = job.key
    columns = [[name] * len(labels), [seed] * len(labels), range(len(labels)), labels.astype("int8")]
    columns += [result["predicted"], result["confidence"]]
    schema = tables.PREDICTIONS
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return tables.checked(pa.Table.from_arrays(arrays, schema=schema), schema)


def retrain(
    folder: Path,
    *,
    top_k: int = 3,
    seeds: int = 3,
    data_root: Path | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    out: Console | None = None,
) -> Results:
    """Retrain and test the best configurations of a finished search; what has been retrained already is kept.

    Raises:
        InputError: the folder is no search, or the data is not what was searched on.
    """
    from tune_fmnist import screen
    from tune_fmnist.plan import Plan
    from tune_fmnist.report import report
    from tune_fmnist.summary import print_summary

    Plan.of(top_k=top_k, retrain_seeds=seeds, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial)
    out = out or screen.console()
    paths = SearchPaths(folder)
    info = read_info(paths, *_NEEDS)
    source = data.locate(data_root, out.print)
    images = data.limited(data.read_training(source), info["limit_train"], info["seed"])
    found = data.split(images, info["seed"]).hash
    if found != info["split_hash"]:
        raise InputError(
            f"{info['split_hash']!r} is not the {found!r} of {source.folder}",
            file=paths.search,
            key="split_hash",
            mend="give the --data-root it ran on",
        )
    data.verify(source)
    with only_writer(paths):
        if pending(paths, top_k=top_k, seeds=seeds):
            from tune_fmnist import engine

            with engine.running_ray(address):
                placement = engine.place(cpus_per_trial, gpus_per_trial, None)
                run_retrain(paths, source, images, placement, top_k=top_k, seeds=seeds, out=out)
    report(paths.folder)
    results = Results(paths)
    print_summary(results, out)
    return results


def main(
    folder: Annotated[Path, typer.Argument(help="the folder of a finished search")],
    top_k: Annotated[int, typer.Option(help="how many of the best configurations")] = 3,
    retrain_seeds: Annotated[int, typer.Option(help="seeds of each")] = 3,
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs of one retrain")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of one retrain, or a share of one")] = None,
    address: Annotated[str | None, typer.Option(help="a running Ray cluster")] = None,
    debug: Debug = False,
) -> None:
    """Retrain the best configurations of a search on all training images, and test them."""
    retrain(
        folder,
        top_k=top_k,
        seeds=retrain_seeds,
        data_root=data_root,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        address=address,
    )


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("retrain")
