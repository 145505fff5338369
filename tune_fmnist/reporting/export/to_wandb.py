"""Runs as those of Weights & Biases: one per trial and one per retrain that has ended, in the search's group.

A run is written by W&B into a folder aside, and that folder moved to its place when the run is whole: what lies there
has been exported.  One that was cut off is written again.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import FailedError, InputError, last_line
from tune_fmnist.reporting.export.runs import Run, Runs
from tune_fmnist.reporting.export.target import library

_PARTIAL: Final = ".partial"


class Wandb:
    """W&B's folder of runs, which W&B sends to a server unless it is told to work offline (``WANDB_MODE=offline``).

    Args:
        into: the folder.

    Raises:
        InputError: W&B is not installed.
    """

    def __init__(self, into: Path) -> None:
        self._wandb = library("wandb", "wandb")
        self._into = into
        self._project = os.environ.get("WANDB_PROJECT", "tune_fmnist")
        offline = os.environ.get("WANDB_MODE") == "offline"
        self.view = (
            f"wandb sync {shlex.quote(str(into))}/offline-run-*" if offline else f"project {self._project} of W&B"
        )

    def export(self, runs: Runs) -> int:
        """Write the runs that have ended and are not in the folder."""
        # W&B's names: run-DATE_TIME-ID, or offline-run-DATE_TIME-ID.
        there = {folder.name.partition("run-")[2].partition("-")[2] for folder in self._into.glob("*run-*-*")}
        missing = [run for run in runs.runs if run.ended is not None and run.key not in there]
        partial = self._into / _PARTIAL
        try:
            shutil.rmtree(partial, ignore_errors=True)
            for run in missing:
                partial.mkdir(parents=True)
                self._write(run, runs, partial)
                (folder,) = (partial / "wandb").glob(f"*run-*-{run.key}")
                folder.rename(self._into / folder.name)
                shutil.rmtree(partial)
        except self._wandb.errors.Error as error:
            raise FailedError(f"--to wandb: {last_line(error)}") from error
        except OSError as error:
            raise InputError(
                f"cannot be written ({error.strerror})", file=self._into, key="--into", hint="name another folder"
            ) from None
        return len(missing)

    def _write(self, run: Run, runs: Runs, folder: Path) -> None:
        """Let W&B write a run, and send it, if it is to."""
        assert run.ended is not None
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_save_requirements=False,
            x_start_time=run.began.timestamp(),
        )
        written = self._wandb.init(
            project=self._project,
            group=f"{runs.record.name}-{runs.record.search_id}",
            job_type=run.kind,
            id=run.key,
            name=run.name,
            tags=[run.kind, str(run.ended_with["status"])],
            config={"kind": run.kind, **run.begun_with, **run.ended_with, **run.config},
            dir=folder,
            # A server that has a part of it takes the rest, and drops the steps that it has.
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        for epoch in run.epochs:
            written.log({**epoch.metrics, "_timestamp": epoch.at.timestamp()}, step=epoch.number)
        written.summary.update(run.results)
        written.finish(exit_code=0 if run.succeeded else 1)
