"""What a shell offers at the Tab key, beside commands and options: the searches of a folder, and fixed choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from tune_fmnist.store.paths import RESULTS_DIR


def searches(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the searches in ``--results-dir`` that begin with what is typed."""
    folder = Path(ctx.params.get("results_dir") or RESULTS_DIR)
    return sorted(name for file in folder.glob("*/search.json") if (name := file.parent.name).startswith(incomplete))


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Return what offers those of the values that begin with what is typed."""

    def offered(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return offered
