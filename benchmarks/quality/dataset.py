"""The recorded curves as a table: its columns, and how the curves of a family become one table."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tune_fmnist.base.vocabulary import ModelName
from tune_fmnist.models.config import BUILT_IN, later_settings

SCHEMA_VERSION: Final = 1

DESCRIPTION: Final = (
    "Whole learning curves of configurations of one space, nothing stopped early: a row is an epoch of a training. "
    "After every epoch the model was scored as trained and with an exponential moving average of its weights, on two "
    "halves of the validation images: 'seen' is what a search would see, 'held' only scores what it chose."
)

_SHARED: Final = ("schema_version", "split_hash", "halves_hash", "space")
"""What all curves of a table have in common."""

Key = tuple[int, int, int]
"""The number, repeat and horizon of a curve."""


def schema(model: ModelName) -> pa.Schema:
    """Return the columns of a family's curves, each with its description in its metadata.

    Settings that the recorded spaces do not have are at their defaults, and no columns.
    """
    integer, real, text, truth = pa.int64(), pa.float64(), pa.string(), pa.bool_()
    columns = [
        ("number", integer, "place of the configuration in the fixed order; 0 is the baseline"),
        ("repeat", integer, "which training of this configuration, from 0; others have other seeds"),
        ("seed", integer, "of weights, dropout, order and augmentation"),
        ("horizon", integer, "epochs of the whole curve, over which the schedule runs"),
        ("config_id", text, "name of the configuration: equal ones have equal names"),
        ("parameters", integer, "trainable parameters of the model"),
        ("average_decay", real, "how much of the weights' moving average a step keeps"),
        ("epoch", integer, "from 1"),
        ("train_loss", real, "mean cross entropy over the epoch's steps, dropout on, nats"),
        ("train_accuracy", real, "accuracy over the epoch's steps, dropout on, a fraction"),
        ("learning_rate", real, "at the epoch's last step"),
        ("diverged", truth, "the loss is no longer finite, and the curve ends with this epoch"),
    ]
    for prefix, weights in (("", "the weights as trained"), ("average_", "the moving average of the weights")):
        for half, images in (("seen", "that a search sees"), ("held", "held back from it")):
            columns += [
                (f"{prefix}{half}_loss", real, f"cross entropy on the validation images {images}, of {weights}, nats"),
                (f"{prefix}{half}_accuracy", real, f"accuracy on the validation images {images}, of {weights}"),
            ]
    columns += [
        ("train_seconds", real, "processor time of the epoch's steps, one thread, without the averaging"),
        ("average_seconds", real, "processor time of the averaging in these steps"),
        ("eval_seconds", real, "processor time of one evaluation of all validation images"),
    ]
    kinds = {bool: truth, int: integer, float: real}
    for key, info in BUILT_IN[model].model_fields.items():
        if key in later_settings(model):
            continue
        kind = kinds.get(info.annotation, text) if isinstance(info.annotation, type) else text
        columns.append((f"config_{key}", kind, f"configuration: {key}"))
    return pa.schema([pa.field(name, kind, False, {"description": words}) for name, kind, words in columns])


def published_in(file: Path) -> set[Key]:
    """Return which curves a published table has; none if there is no such file."""
    if not file.exists():
        return set()
    table = pq.read_table(file, columns=["number", "repeat", "horizon"])
    return set(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


def merged(model: ModelName, folder: Path, published: Path) -> pa.Table:
    """Return the curves of a family as one table, with what they were computed with in its metadata.

    Args:
        model: the family.
        folder: holds a file per curve.
        published: a table of curves that were merged before, if it exists; what it has is taken from it.

    Raises:
        ValueError: there are none, or they do not belong together: other images, another space, or a configuration
            that is not the same in all of its curves.
    """
    tables, computed = [], Counter[str]()
    facts: list[dict[str, Any]] = []
    known = published_in(published)
    if known:
        tables.append(pq.read_table(published))
        facts.append(json.loads(tables[0].schema.metadata[b"facts"]))
        for group in facts[0]["computed_with"]:
            computed[json.dumps({key: value for key, value in group.items() if key != "curves"})] += group["curves"]
    for path in sorted(folder.glob(f"{model}-*.parquet")):
        part = pq.read_table(path)
        if tuple(part[name][0].as_py() for name in ("number", "repeat", "horizon")) not in known:
            tables.append(part)
            facts.append(json.loads(part.schema.metadata[b"facts"]))
            computed[json.dumps({key: value for key, value in facts[-1].items() if key not in _SHARED})] += 1
    if not tables:
        raise ValueError(f"{folder} has no curve of {model}: record some first")
    for key in _SHARED:
        if len({json.dumps(of[key]) for of in facts}) > 1:
            raise ValueError(f"the curves of {model} in {folder} differ in {key}: they belong to different studies")
    # They differ in their metadata alone.
    table = pa.concat_tables([part.replace_schema_metadata(None) for part in tables]).cast(schema(model))
    names = set(zip(table["number"].to_pylist(), table["config_id"].to_pylist(), strict=True))
    if len(names) > len({number for number, _ in names}):
        raise ValueError(f"the curves of {model} in {folder} give one number to two configurations")
    about = {key: facts[0][key] for key in _SHARED}
    about["computed_with"] = [{"curves": count, **json.loads(of)} for of, count in computed.items()]
    table = table.sort_by([(key, "ascending") for key in ("horizon", "number", "repeat", "epoch")])
    return table.replace_schema_metadata({"facts": json.dumps(about), "description": DESCRIPTION})
