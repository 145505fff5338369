"""Version 1 of ``search.json`` and of the tables, read as version 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.errors import InputError

_FROM_RECORD: Final = {
    "search_id": "search_id",
    "max_epochs": "max_epochs",
    "train_size": "train_size",
    "split_hash": "split_hash",
    "horizon": "max_epochs",
}
"""Columns that version 1 lacks, by the key of ``search.json`` that holds their value."""

_HINT: Final = "restore the file: tables of version 1 are read with it"


def record_from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """Return the keys and values of version 2; the first releases left out some that ``--resume`` needs."""
    new = {"dataset": FASHION_MNIST.name, "resumed_at": [], **values, "schema_version": 2}
    images, train_size, done = new.get("images"), new.get("train_size"), new.get("retrain")
    # What is of a wrong type is told when version 2 is checked.
    if isinstance(images, int) and isinstance(train_size, int):
        new.setdefault("validation_size", images - train_size)
    sizes = {"top_k": 3, "seeds": 3, **(done if isinstance(done, dict) else {})}
    new.setdefault("retrain_plan", {"wanted": True, "top_k": sizes["top_k"], "seeds": sizes["seeds"]})
    if "gpu_probe" in new:
        new["gpu_sharing"] = new.pop("gpu_probe")
    return new


def table_from_version_1(table: pa.Table, schema: pa.Schema, file: Path) -> pa.Table:
    """Return a table with the columns of version 2, from its own and from ``search.json`` beside it.

    Raises:
        InputError: there is no ``search.json`` beside it that holds what is missing.
    """
    beside = file.with_name("search.json")
    record: dict[str, Any] = {}
    for field in schema:
        if field.name in table.column_names:
            continue
        if field.name in _FROM_RECORD:
            record = record or _record(beside)
            column = _repeated(record, _FROM_RECORD[field.name], len(table), field.type, beside)
        elif field.name == "dataset":
            column = pa.array([FASHION_MNIST.name] * len(table), field.type)
        elif field.name == "score" and table.column_names.count("best_val_accuracy") == 1:
            column = table["best_val_accuracy"]
        elif field.nullable:
            column = pa.nulls(len(table), field.type)
        else:
            # The reader tells which one is missing.
            continue
        table = table.append_column(field, column)
    return table


def _repeated(record: dict[str, Any], key: str, count: int, kind: pa.DataType, file: Path) -> pa.Array:
    if key not in record:
        raise InputError("missing", file=file, key=key, hint=_HINT)
    try:
        return pa.array([record[key]] * count, kind)
    except (pa.ArrowException, OverflowError):
        raise InputError(f"invalid value {record[key]!r}", file=file, key=key, hint=_HINT) from None


def _record(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read ({error})", file=file, hint=_HINT) from None
    return values if isinstance(values, dict) else {}
