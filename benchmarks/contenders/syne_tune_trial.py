"""The script that Syne Tune runs for each trial: arguments in, reports out, one checkpoint per epoch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from syne_tune import Reporter
from syne_tune.constants import ST_CHECKPOINT_DIR

from benchmarks.contenders.job import Job, note
from benchmarks.contenders.plain import Training
from tune_fmnist.tuning.space import Value
from tune_fmnist.tuning.space_files import read_space


def value_of(text: str) -> Value:
    """Return the boolean, number or word that an argument stands for."""
    for known in (True, False):
        if text == str(known):
            return known
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True)
    parser.add_argument(f"--{ST_CHECKPOINT_DIR}", required=True)
    known, _ = parser.parse_known_args()
    job = Job.read(known.job)
    for name in read_space(Path(job.space)).parameters:
        parser.add_argument(f"--{name}", type=value_of, required=True)
    values: dict[str, Any] = vars(parser.parse_args())
    folder = Path(values.pop(ST_CHECKPOINT_DIR))
    del values["job"]
    folder.mkdir(parents=True, exist_ok=True)
    report = Reporter()
    training = Training(job, values, seed=job.seed)
    for epoch, accuracy, train_seconds, eval_seconds in training.epochs():
        note(job.events, folder.parent.name, epoch, accuracy, train_seconds, eval_seconds)
        torch.save(training.state(), folder / "state.pt")
        report(epoch=epoch, accuracy=accuracy)


if __name__ == "__main__":
    main()
