"""The one vocabulary: models, classes, statuses, searchers, schedulers and the founding report's figures.

Every module, column, option and text takes its words from here.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

SCHEMA_VERSION: Final = 1

ModelName = Literal["ann", "cnn"]
MODELS: Final[tuple[str, ...]] = get_args(ModelName)

Status = Literal["running", "completed", "stopped", "diverged", "failed"]
RUNNING: Final[Status] = "running"
COMPLETED: Final[Status] = "completed"
STOPPED: Final[Status] = "stopped"
DIVERGED: Final[Status] = "diverged"
FAILED: Final[Status] = "failed"
STATUSES: Final[tuple[str, ...]] = get_args(Status)

SearcherName = Literal["tpe", "gp", "random"]
SchedulerName = Literal["asha", "fifo"]
Precision = Literal["float32", "bfloat16"]

CLASSES: Final = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class ReportFigures(NamedTuple):
    """The founding report's accuracies (fractions), each from one run with one seed."""

    validation: float
    test: float


REPORT_FIGURES: Final[dict[str, ReportFigures]] = {
    "ann": ReportFigures(0.8818, 0.8698),
    "cnn": ReportFigures(0.9179, 0.9079),
}
