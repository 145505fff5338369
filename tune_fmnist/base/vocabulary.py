"""The one vocabulary: models, statuses, searchers, schedulers, and the baseline.

Every module, column, option and text takes its words from here.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

ModelName = Literal["ann", "cnn"]
MODELS: Final[tuple[str, ...]] = get_args(ModelName)

Status = Literal["running", "paused", "completed", "stopped", "diverged", "failed"]
RUNNING: Final[Status] = "running"
PAUSED: Final[Status] = "paused"
COMPLETED: Final[Status] = "completed"
STOPPED: Final[Status] = "stopped"
DIVERGED: Final[Status] = "diverged"
FAILED: Final[Status] = "failed"
UNFINISHED: Final[tuple[Status, ...]] = (RUNNING, PAUSED)
STATUSES: Final[tuple[str, ...]] = get_args(Status)

Origin = Literal["baseline", "start", "random", "model"]
ORIGINS: Final[tuple[str, ...]] = get_args(Origin)
"""Who proposed a trial: trial 0, the space's start, a random draw, or the searcher's model of the results so far."""

SearchState = Literal["running", "finished", "interrupted", "failed"]
SearcherName = Literal["tpe", "gp", "random"]
SEARCHERS: Final[tuple[str, ...]] = get_args(SearcherName)
SchedulerName = Literal["promotion", "asha", "fifo"]
Precision = Literal["float32", "bfloat16"]
Tool = Literal["tensorboard", "mlflow", "wandb"]
"""What a search can be exported to; each is an extra of the package as well."""


class Published(NamedTuple):
    """The accuracies (fractions) that the baseline's report published, each from one run with one seed."""

    validation: float
    test: float


BASELINE_REPORT: Final = "Fashion-MNIST Classification using ANN and CNN"
"""The report whose ANN and CNN are the baseline, trial 0 of every search: ``Ann()`` and ``Cnn()``."""

PUBLISHED: Final[dict[str, Published]] = {
    "ann": Published(0.8818, 0.8698),
    "cnn": Published(0.9179, 0.9079),
}
