"""``python -m tune_fmnist.retrain``: the best configurations, several seeds each, on all training images, and the test.

The only module that reads the test set.  Each read is a row in ``test_reads.parquet``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tune_fmnist.base import signals
from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug
from tune_fmnist.data import fashion_mnist as data
from tune_fmnist.models.config import config_id
from tune_fmnist.reporting.results import Results
from tune_fmnist.store import tables
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import read_info, write_info
from tune_fmnist.store.retrain_tables import Job, RetrainTables, choose, pending

if TYPE_CHECKING:
    from rich.console import Console

    from tune_fmnist.runtime.slots import Placement, Slots


_NEEDS: Final = ("name", "model", "seed", "max_epochs", "limit_train", "images", "train_size", "split_hash")
"""What ``search.json`` must hold."""


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

    from tune_fmnist.reporting.statistics import class_accuracy
    from tune_fmnist.training.fit import choose_precision, fit, predict, score, to_device

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


def run_retrain(
    paths: SearchPaths,
    source: data.Source,
    images: data.Images,
    placement: Placement,
    slots: Slots,
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
    from tune_fmnist.base import provenance

    info = read_info(paths)
    trials = tables.read(paths.trials, tables.TRIALS).to_pylist()
    chosen = choose(trials, info, top_k=top_k, seeds=seeds)
    writer = RetrainTables(paths, chosen)
    jobs = [job for job in chosen if job.key not in writer.done]
    test = data.read_test(source)
    began = time.monotonic()
    configurations = len({config_id(job.config) for job in jobs})
    out.print(
        f"retraining {configurations} configurations on {len(images.labels):,} images, {len(jobs)} retrains in all"
    )
    _run_jobs(jobs, images, test, writer, placement, slots, out)
    before = info.get("retrain", {}).get("seconds", 0.0)
    info["retrain"] = {
        "top_k": top_k,
        "seeds": seeds,
        "seconds": round(before + time.monotonic() - began, 1),
        "placement": placement._asdict(),
        **provenance.record(),
    }
    write_info(paths, info)


def _run_jobs(
    jobs: list[Job],
    train: data.Images,
    test: data.Images,
    writer: RetrainTables,
    placement: Placement,
    slots: Slots,
    out: Console,
) -> None:
    import ray

    from tune_fmnist.reporting.progress import RetrainDisplay

    display = RetrainDisplay(out, [job.expected_seconds for job in jobs], max(1, slots.now))
    # Ray runs one that was lost with its node again, on another.
    task = ray.remote(train_and_test).options(
        num_cpus=placement.cpus, num_gpus=placement.gpus, scheduling_strategy="SPREAD"
    )
    train_ref, test_ref = ray.put(train), ray.put(test)
    threads = max(1, int(placement.cpus))
    # The longest first: a long one that starts last would leave the other slots idle.
    waiting = sorted(jobs, key=lambda job: -job.expected_seconds)
    running: dict[ray.ObjectRef[Any], Job] = {}
    with display.shown():
        while waiting or running:
            slots.count()
            while waiting and len(running) < slots.wanted:
                job = waiting.pop(0)
                running[task.remote(job, train_ref, [test_ref], placement.gpus > 0, threads)] = job
            ended, _ = ray.wait(list(running), timeout=0.25)
            for ref in ended:
                job = running.pop(ref)
                result = ray.get(ref)
                writer.add(job, result, test.labels)
                display.step(result["retrain"], job.expected_seconds)
            display.step(None)
            signals.check()


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
    from tune_fmnist.report import report
    from tune_fmnist.reporting import progress
    from tune_fmnist.reporting.summary import print_summary
    from tune_fmnist.workflow.options import Plan

    Plan.of(top_k=top_k, retrain_seeds=seeds, cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial)
    out = out or progress.console()
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
            from tune_fmnist.runtime.slots import Slots, place, running_ray

            with running_ray(address):
                placement = place(cpus_per_trial, gpus_per_trial, None)
                slots = Slots(placement, joined=address is not None)
                run_retrain(paths, source, images, placement, slots, top_k=top_k, seeds=seeds, out=out)
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
