"""The Parquet tables of a search: their Arrow schemas, and how they are checked, written and read.

Each schema serves both families, so that ``results/*/trials.parquet`` reads as one table: a ``config_*`` column that
the row's family does not have is null.  One that a table of an earlier release lacks is read as the setting's default.
A network of the user's own adds columns of its own at the end.  A column's
description stands in its field's metadata under ``description``.  The file's metadata hold the schema version under
``schema_version`` and a checksum of the whole file under ``checksum``, those of the retrains' four tables also the
classes' names, in order, under ``classes``; each page of values has a checksum too, which any reader can verify.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic.fields import FieldInfo

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import SCHEMA_VERSION, check_version, publish
from tune_fmnist.base.metrics import SCORED_EPOCHS
from tune_fmnist.base.vocabulary import ORIGINS, STATUSES
from tune_fmnist.models.config import BUILT_IN, Config, later_settings
from tune_fmnist.store.migration import table_from_version_1

_VERSION_KEY: Final = b"schema_version"
_CLASSES_KEY: Final = b"classes"
_CHECKSUM_KEY: Final = "checksum"
_NO_CHECKSUM: Final = b"crc32:--------"
"""Stands in the file while its checksum is computed."""

_LATER_COLUMNS: Final = frozenset({"multiply_adds", "picture"})
"""What a table of an earlier release may lack, and then nobody knows."""
_ARROW_TYPES: Final[dict[Any, pa.DataType]] = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
_UTC: Final = pa.timestamp("us", tz="UTC")


def _field(name: str, kind: pa.DataType, description: str, *, optional: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=optional, metadata={"description": description})


def _config_fields() -> list[pa.Field]:
    fields: dict[str, pa.Field] = {}
    for config in BUILT_IN.values():
        for key, info in config.model_fields.items():
            owners = [name for name, other in BUILT_IN.items() if key in other.model_fields]
            fields[f"config_{key}"] = _config_field(key, info, owners, optional=key not in Config.model_fields)
    return list(fields.values())


def _config_field(key: str, info: FieldInfo, owners: Iterable[str], *, optional: bool) -> pa.Field:
    choices = get_args(info.annotation)
    kind = _ARROW_TYPES.get(type(choices[0]) if choices else info.annotation, pa.string())
    return _field(f"config_{key}", kind, f"configuration: {key}, of {' and '.join(owners)}", optional=optional)


def with_config(schema: pa.Schema, config: type[Config]) -> pa.Schema:
    """Return a schema with the ``config_*`` columns that only this family has, at the end."""
    own = [
        _config_field(key, info, [config.model_fields["model"].default], optional=True)
        for key, info in config.model_fields.items()
        if f"config_{key}" not in schema.names
    ]
    return pa.schema([*schema, *own])


def config_columns(config: Config) -> dict[str, Any]:
    """Return a configuration as ``config_*`` cells."""
    return {f"config_{key}": value for key, value in config.model_dump().items()}


def config_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``to_config`` takes, from the ``config_*`` cells of a row."""
    return {
        name.removeprefix("config_"): value
        for name, value in row.items()
        if name.startswith("config_") and name != "config_id" and value is not None
    }


_CONFIG_ID = _field("config_id", pa.string(), "name of the configuration: equal ones have equal names")
_SEARCH_ID = _field("search_id", pa.string(), "name of the search: equal in all its tables, no other search's")
_TRIAL_ID = _field("trial_id", pa.string(), "name of the trial, unique among searches")

_SCORE: Final = f"mean val_accuracy of the last {SCORED_EPOCHS} epochs, of all if there are fewer"

TRIALS: Final = pa.schema(
    [
        _SEARCH_ID,
        _TRIAL_ID,
        _field("number", pa.int64(), "order of issue; 0 is the baseline"),
        _field("audited_at", pa.int64(), "epoch at which it was stopped: it ran on, and ranks nowhere", optional=True),
        _field("origin", pa.string(), f"who proposed it: {', '.join(ORIGINS)}; null if not known", optional=True),
        _field("status", pa.string(), f"one of {', '.join(STATUSES)}"),
        _field("reason", pa.string(), "why the trial has its status, in words"),
        _field("epochs", pa.int64(), "epochs reported"),
        _field("max_epochs", pa.int64(), "epochs of a trial that is not stopped"),
        _field("best_epoch", pa.int64(), "epoch of best_val_accuracy, from 1", optional=True),
        _field("val_accuracy", pa.float64(), "validation accuracy after the last epoch", optional=True),
        _field("best_val_accuracy", pa.float64(), "highest validation accuracy of any epoch", optional=True),
        _field("score", pa.float64(), "what trials are ranked by: " + _SCORE, optional=True),
        _field("val_loss", pa.float64(), "validation cross entropy after the last epoch, nats", optional=True),
        _field("seconds", pa.float64(), "time in a slot: training, evaluation and overhead"),
        _field("node", pa.string(), "host name of the machine it ran on", optional=True),
        _field("device", pa.string(), "cpu or cuda", optional=True),
        _field("precision", pa.string(), "type of the matrix products: float32 or bfloat16", optional=True),
        _field("seed", pa.int64(), "seed of weights, dropout and order"),
        _field("started_at", _UTC, "when it started", optional=True),
        _field("dataset", pa.string(), "name of the dataset"),
        _field("train_size", pa.int64(), "training images"),
        _field("split_hash", pa.string(), "equal for equal training and validation images"),
        _field("parameters", pa.int64(), "trainable parameters of the model", optional=True),
        _field("multiply_adds", pa.int64(), "multiply-adds of the model for an image, forward", optional=True),
        _CONFIG_ID,
        *_config_fields(),
    ]
)

EPOCHS: Final = pa.schema(
    [
        _SEARCH_ID,
        _TRIAL_ID,
        _field("epoch", pa.int64(), "from 1"),
        _field("train_loss", pa.float64(), "mean cross entropy over the epoch's steps, dropout on, nats"),
        _field("train_accuracy", pa.float64(), "accuracy over the epoch's steps, dropout on"),
        _field("val_loss", pa.float64(), "validation cross entropy after the epoch, nats"),
        _field("val_accuracy", pa.float64(), "validation accuracy after the epoch"),
        _field("learning_rate", pa.float64(), "at the epoch's last step"),
        _field("train_seconds", pa.float64(), "time in training steps"),
        _field("eval_seconds", pa.float64(), "time in validation"),
        _field("overhead_seconds", pa.float64(), "the slot's other time since the trial's last report or its start"),
        _field("reported_at", _UTC, "when the trial reported the epoch"),
    ]
)

CONFIRMATIONS: Final = pa.schema(
    [
        _SEARCH_ID,
        _field("number", pa.int64(), "the trial whose configuration it is"),
        _CONFIG_ID,
        _field("seed", pa.int64(), "seed of weights, dropout and order"),
        _field("status", pa.string(), "completed, or diverged"),
        _field("epochs", pa.int64(), "epochs trained"),
        _field("score", pa.float64(), f"{_SCORE}; 0 if it diverged"),
        _field("val_accuracy", pa.float64(), "after the last epoch; null if it diverged", optional=True),
        _field("seconds", pa.float64(), "training and validation"),
        _field("parameters", pa.int64(), "trainable parameters of the model"),
        _field("node", pa.string(), "host name of the machine it ran on"),
        _field("device", pa.string(), "cpu or cuda"),
        _field("precision", pa.string(), "type of the matrix products: float32 or bfloat16"),
        _field("split_hash", pa.string(), "equal for equal training and validation images"),
        _field(
            "correct",
            pa.list_(pa.binary()),
            "for each epoch of the score, a bit per validation image, in the split's order: whether it was right; "
            "numpy.unpackbits reads it, and the last byte is filled up with zeros",
        ),
    ]
)

RETRAINS: Final = pa.schema(
    [
        _SEARCH_ID,
        _CONFIG_ID,
        _field("rank", pa.int64(), "place in the ranking that it was chosen by, from 1", optional=True),
        _field("is_baseline", pa.bool_(), "whether it is the baseline"),
        _field("seed", pa.int64(), "seed of weights, dropout and order"),
        _field("epochs", pa.int64(), "epochs trained: the search's longest, unless it diverged"),
        _field("horizon", pa.int64(), "epochs over which the learning rate's schedule runs"),
        _field("train_size", pa.int64(), "training images"),
        _field("score", pa.float64(), "the configuration's score in the search"),
        _field("best_val_accuracy", pa.float64(), "the configuration's highest validation accuracy in the search"),
        _field("train_loss", pa.float64(), "mean cross entropy of the last epoch, nats"),
        _field("test_accuracy", pa.float64(), "accuracy on the test images"),
        _field("test_loss", pa.float64(), "cross entropy on the test images, nats"),
        _field("seconds", pa.float64(), "training and test"),
        _field("parameters", pa.int64(), "trainable parameters of the model"),
        _field("class_accuracy", pa.list_(pa.float64()), "accuracy on the test images of each class"),
        _field("node", pa.string(), "host name of the machine it ran on"),
        _field("device", pa.string(), "cpu or cuda"),
        _field("precision", pa.string(), "type of the matrix products in training; the test runs in float32"),
        *_config_fields(),
    ]
)

RETRAIN_EPOCHS: Final = pa.schema(
    [
        _SEARCH_ID,
        _CONFIG_ID,
        _field("seed", pa.int64(), "seed of the retrain"),
        *(EPOCHS.field(name) for name in ("epoch", "train_loss", "train_accuracy", "learning_rate", "train_seconds")),
    ]
)

PREDICTIONS: Final = pa.schema(
    [
        _SEARCH_ID,
        _CONFIG_ID,
        _field("seed", pa.int64(), "seed of the retrain"),
        _field("index", pa.int32(), "place of the image in the test file, from 0"),
        _field("label", pa.int16(), "true class, a place in the classes of the file's metadata, from 0"),
        _field("predicted", pa.int16(), "predicted class, likewise"),
        _field("confidence", pa.float32(), "softmax probability of the predicted class"),
        _field("picture", pa.binary(), "small PNG of the first rank's surest mistakes; null else", optional=True),
    ]
)

TEST_READS: Final = pa.schema(
    [
        _SEARCH_ID,
        _field("read_at", _UTC, "when; the row is on the disk before"),
        _field("finished_at", _UTC, "when the result had come; null if it was cut off: maybe not read", optional=True),
        _field("by", pa.string(), "what read it: always retrain"),
        _CONFIG_ID,
        _field("seed", pa.int64(), "seed of the retrain"),
    ]
)


def to_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a checked table.

    Raises:
        ValueError: a row has a column that the schema has not, or lacks one that must not be null, or has a float
            where an integer belongs.
        pyarrow.ArrowException: another cell is not of its column's type.
    """
    listed = list(rows)
    known = set(schema.names)
    integers = {field.name for field in schema if pa.types.is_integer(field.type)}
    for row in listed:
        if unknown := row.keys() - known:
            raise ValueError(f"columns {sorted(unknown)} are not in the schema")
        for name in integers & row.keys():
            # Arrow would cut its fraction off.
            if isinstance(row[name], float):
                raise ValueError(f"{row[name]} in column {name!r} is not an integer")
    return checked(pa.Table.from_pylist(listed, schema=schema), schema)


def checked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table if it is of this schema and no cell is null that must not be, else raise ``ValueError``."""
    if not table.schema.equals(schema):
        raise ValueError(f"the table's schema is not the expected one:\n{table.schema}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name!r} must not be null")
    return table


def write(table: pa.Table, path: Path, classes: Sequence[str] = ()) -> None:
    """Publish a table: readers see the old file or the new one, never a part.

    Args:
        table: its rows.
        path: the file.
        classes: names of the classes, for a table that holds their places.
    """
    metadata = {_VERSION_KEY: str(SCHEMA_VERSION).encode()}
    if classes:
        metadata[_CLASSES_KEY] = json.dumps(classes).encode()
    stamped = table.replace_schema_metadata(metadata)
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, stamped.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(stamped)
        writer.add_key_value_metadata({_CHECKSUM_KEY: _NO_CHECKSUM})
    content = buffer.getvalue().to_pybytes()
    with publish(path) as partial:
        partial.write_bytes(_with_checksum(content, _NO_CHECKSUM, _checksum(content)))


def _checksum(content: bytes) -> bytes:
    return b"crc32:%08x" % zlib.crc32(content)


def _with_checksum(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return a file with another checksum; it stands in the file's metadata, which are the last in it."""
    before, _, after = content.rpartition(old)
    return before + new + after


def _is_whole(content: bytes) -> bool:
    """Return whether a file is as it was written, as far as it says; earlier releases wrote no checksum."""
    metadata = pq.read_metadata(pa.BufferReader(content)).metadata or {}
    stated = metadata.get(_CHECKSUM_KEY.encode())
    return stated is None or _checksum(_with_checksum(content, stated, _NO_CHECKSUM)) == stated


def read(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a table that this or an older version wrote.

    Raises:
        InputError: the file is missing, damaged, of a newer version, or lacks a column or has it twice.
    """
    if not path.is_file():
        raise InputError("table not found", file=path, hint="name the folder of a search that has run")
    try:
        content = path.read_bytes()
        if not _is_whole(content):
            raise ValueError("its content does not match its checksum")
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        version = int((file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"0"))
        table = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    check_version(version, oldest=1, newest=SCHEMA_VERSION, file=path, key="schema_version")
    table = _with_later_columns(table, schema)
    if version == 1:
        table = table_from_version_1(table, schema, path)
    for name in schema.names:
        if (count := table.column_names.count(name)) != 1:
            what = f"column found {count} times" if count else "column not found"
            raise InputError(what, file=path, key=name, hint="restore the table or search again")
    found = _with_columns_of(schema, table.schema)
    try:
        return checked(table.select(found.names).cast(found), found)
    except (pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from None


def _with_later_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with columns that the release that wrote it did not have: settings are at their defaults."""
    for name in _LATER_COLUMNS & (set(schema.names) - set(table.column_names)):
        table = table.append_column(schema.field(name), pa.nulls(len(table), schema.field(name).type))
    if table.column_names.count("config_model") != 1:
        return table
    defaults = [later_settings(model) for model in table["config_model"].to_pylist()]
    for name in {key for model in BUILT_IN for key in later_settings(model)}:
        field = f"config_{name}"
        if field in schema.names and field not in table.column_names:
            column = pa.array([values.get(name) for values in defaults], schema.field(field).type)
            table = table.append_column(schema.field(field), column)
    return table


def _with_columns_of(schema: pa.Schema, found: pa.Schema) -> pa.Schema:
    """Return a schema with a table's columns of a network of the user's own, which is not asked for them."""
    if "config_model" not in schema.names:
        return schema
    kinds = {*_ARROW_TYPES.values(), pa.string()}
    own = (field for field in found if field.name.startswith("config_") and field.name not in schema.names)
    return pa.schema([*schema, *(field.with_nullable(True) for field in own if field.type in kinds)])


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"is not a readable table ({error})", file=path, hint="restore it or search again")
