"""Environment variables that Ray reads when it is imported; the folders that import Ray set them first."""

from __future__ import annotations

import os
from typing import Final

VARIABLES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run`, Ray would build an environment for each worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A search keeps its own tables, so Ray's loggers and snapshots only cost time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # Ray's own handling of Ctrl-C would swallow the interruption.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def set_defaults() -> None:
    """Set each variable that the user has not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
