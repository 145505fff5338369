from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from tests.disk import full_disk
from tests.strategies import configs
from tune_fmnist.base.datasets import FASHION_MNIST
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import SCHEMA_VERSION
from tune_fmnist.models.config import Ann, Cnn, Config, config_id, to_config
from tune_fmnist.store import tables

SCHEMAS = {
    "trials": tables.TRIALS,
    "epochs": tables.EPOCHS,
    "confirmations": tables.CONFIRMATIONS,
    "retrains": tables.RETRAINS,
    "retrain_epochs": tables.RETRAIN_EPOCHS,
    "predictions": tables.PREDICTIONS,
    "test_reads": tables.TEST_READS,
}
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
EPOCH: dict[str, Any] = {
    "search_id": "abc",
    "trial_id": "abc-00000",
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "val_loss": 0.4,
    "val_accuracy": 0.85,
    "learning_rate": 1e-3,
    "train_seconds": 1.5,
    "eval_seconds": 0.1,
    "overhead_seconds": 0.01,
    "reported_at": AT,
}


def trial(config: Config, number: int = 0) -> dict[str, Any]:
    return {
        "search_id": config.model,
        "trial_id": f"{config.model}-{number:05d}",
        "number": number,
        "status": "running",
        "reason": "in progress",
        "epochs": 0,
        "max_epochs": 3,
        "seconds": 0.0,
        "seed": 2**32 - 1,
        "started_at": AT,
        "dataset": "fashion-mnist",
        "train_size": 48_000,
        "split_hash": "cd5dee351280b418",
        "config_id": config_id(config),
        **tables.config_columns(config),
    }


def epochs(count: int) -> pa.Table:
    return tables.to_table([EPOCH | {"epoch": epoch} for epoch in range(1, count + 1)], tables.EPOCHS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_column_is_described(name: str) -> None:
    for field in SCHEMAS[name]:
        assert len(field.metadata[b"description"]) > 2, field.name


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        (
            "trials",
            "search_id trial_id number audited_at origin status reason epochs max_epochs best_epoch val_accuracy "
            "best_val_accuracy score val_loss seconds node device precision seed started_at dataset train_size "
            "split_hash parameters config_id config_model config_dropout config_hidden1 config_conv1_channels",
        ),
        (
            "epochs",
            "search_id trial_id epoch train_loss train_accuracy val_loss val_accuracy learning_rate train_seconds "
            "eval_seconds overhead_seconds reported_at",
        ),
        (
            "retrains",
            "search_id config_id rank is_baseline seed epochs horizon train_size score best_val_accuracy test_accuracy "
            "test_loss seconds parameters class_accuracy config_model",
        ),
        ("retrain_epochs", "search_id config_id seed epoch train_loss train_accuracy learning_rate train_seconds"),
        ("predictions", "search_id config_id seed index label predicted confidence"),
        ("test_reads", "search_id read_at by config_id seed"),
    ],
)
def test_columns_that_every_reader_may_rely_on(name: str, columns: str) -> None:
    assert set(columns.split()) <= set(SCHEMAS[name].names)


def test_descriptions_version_and_names_of_the_classes_stand_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(1), file, FASHION_MNIST.classes)
    schema = pq.read_schema(file)
    assert schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert tuple(json.loads(schema.metadata[b"classes"])) == FASHION_MNIST.classes
    assert schema.field("val_loss").metadata[b"description"] == b"validation cross entropy after the epoch, nats"


@pytest.mark.parametrize("name", SCHEMAS)
def test_empty_table_survives_the_disk(name: str, tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    tables.write(tables.to_table([], SCHEMAS[name]), file)
    assert tables.read(file, SCHEMAS[name]).schema.equals(SCHEMAS[name], check_metadata=True)


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "table.parquet"
    rows = [EPOCH, EPOCH | {"epoch": 2, "train_loss": math.inf, "val_loss": 5e-324, "reported_at": AT}]
    tables.write(tables.to_table(rows, tables.EPOCHS), file)
    assert tables.read(file, tables.EPOCHS).to_pylist() == rows
    assert [path.name for path in file.parent.iterdir()] == ["table.parquet"]
    both = [trial(Ann()), trial(Cnn(), 1) | {"status": "completed", "best_epoch": 3, "val_accuracy": math.nan}]
    tables.write(tables.to_table(both, tables.TRIALS), file)
    again = tables.read(file, tables.TRIALS).to_pylist()
    for row, expected in zip(again, both, strict=True):
        assert math.isnan(row.pop("val_accuracy") or math.nan)
        expected.pop("val_accuracy", None)
        assert {key: value for key, value in row.items() if value is not None} == expected


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 3}, "epochs"),
        ({"epoch": None}, "'epoch' must not be null"),
        ({"train_loss": None}, "'train_loss' must not be null"),
        ({"epoch": 1.5}, "1.5 in column 'epoch'"),
        ({"epoch": "1"}, "'1'"),
        ({"epoch": True}, "bool"),
        ({"train_loss": "0.5"}, "'0.5'"),
        ({"trial_id": 7}, "int"),
        ({"reported_at": "2026-01-02"}, "str"),
    ],
)
def test_row_that_breaks_the_schema_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, pa.ArrowException), match=says):
        tables.to_table([EPOCH, EPOCH | change], tables.EPOCHS)


def test_row_that_lacks_a_column_is_refused() -> None:
    with pytest.raises(ValueError, match="'val_loss' must not be null"):
        tables.to_table([{key: value for key, value in EPOCH.items() if key != "val_loss"}], tables.EPOCHS)
    with pytest.raises(ValueError, match="schema is not the expected one"):
        tables.checked(epochs(1), tables.TRIALS)


def test_reader_of_the_old_table_is_not_disturbed(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(2), file)
    with file.open("rb") as reader:
        tables.write(epochs(3), file)
        assert pq.read_table(reader).num_rows == 2
    assert tables.read(file, tables.EPOCHS).num_rows == 3


def test_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(2), file)
    larger = epochs(3)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        tables.write(larger, file)
    assert tables.read(file, tables.EPOCHS).num_rows == 2
    assert [path.name for path in tmp_path.iterdir()] == ["epochs.parquet"]


CURRENT = str(SCHEMA_VERSION)


def stamped(table: pa.Table, version: str) -> pa.Table:
    return table.replace_schema_metadata({b"schema_version": version.encode()})


def with_column(name: str, cells: list[Any]) -> pa.Table:
    table = epochs(1)
    return table.set_column(table.schema.get_field_index(name), name, pa.array(cells))


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        (stamped(epochs(1), str(SCHEMA_VERSION + 1)), "schema_version", f"unsupported version {SCHEMA_VERSION + 1}; "),
        (stamped(epochs(1), "0"), "schema_version", "unsupported version 0; "),
        (stamped(epochs(1), "one"), None, "'one'"),
        (epochs(1), "schema_version", "unsupported version 0; "),
        (stamped(epochs(1).append_column("epoch", pa.array([1])), CURRENT), "epoch", "column found 2 times"),
        (stamped(epochs(1).drop_columns(["val_loss"]), CURRENT), "val_loss", "column not found"),
        (stamped(with_column("epoch", ["first"]), CURRENT), None, "'first'"),
        (stamped(with_column("epoch", [None]), CURRENT), None, "'epoch'"),
        (stamped(with_column("epoch", [1.5]), CURRENT), None, "1.5"),
        (stamped(with_column("epoch", [[1]]), CURRENT), None, "not a readable table"),
    ],
)
def test_table_that_cannot_be_used_is_one_line(table: pa.Table, key: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    pq.write_table(table, file)
    with pytest.raises(InputError, match=says) as caught:
        tables.read(file, tables.EPOCHS)
    assert (caught.value.file, caught.value.key) == (file, key)
    assert len(str(caught.value).splitlines()) == 1


def test_damaged_table_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(50), file)
    content = file.read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 97)]
    damaged += [content[:-1], content[1:], b"trial_id,epoch\na,1\n", b"PAR1" * 4]
    for wrong in damaged:
        file.write_bytes(wrong)
        with pytest.raises(InputError, match="is not a readable table") as caught:
            tables.read(file, tables.EPOCHS)
        assert str(caught.value).startswith(f"{file}: ")
        assert len(str(caught.value).splitlines()) == 1


def test_each_changed_byte_is_one_line_or_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(50), file)
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        file.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            assert tables.read(file, tables.EPOCHS).equals(epochs(50)), place
        except InputError as error:
            assert str(error).startswith(f"{file}: ")  # noqa: PT017 both are right


def test_any_reader_can_verify_the_pages(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    tables.write(epochs(50), file)
    content, column = file.read_bytes(), pq.read_metadata(file).row_group(0).column(2)
    place = column.dictionary_page_offset + column.total_compressed_size - 1
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(file, page_checksum_verification=True)


def test_table_without_a_checksum_is_read(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    pq.write_table(stamped(epochs(50), CURRENT), file)
    assert tables.read(file, tables.EPOCHS).equals(epochs(50))


def test_missing_table_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "epochs.parquet", tmp_path / "none" / "epochs.parquet"):
        with pytest.raises(InputError, match="table not found") as caught:
            tables.read(path, tables.EPOCHS)
        assert caught.value.file == path


def test_columns_of_another_release_do_not_disturb(tmp_path: Path) -> None:
    file = tmp_path / "epochs.parquet"
    table = epochs(2)
    shuffled = table.select(table.column_names[::-1]).append_column("more", pa.array([1, 2]))
    pq.write_table(stamped(shuffled, CURRENT), file)
    assert tables.read(file, tables.EPOCHS).equals(table)


@given(configs())
def test_configuration_survives_a_row(config: Config) -> None:
    (row,) = tables.to_table([trial(config)], tables.TRIALS).to_pylist()
    assert to_config(tables.config_values(row)) == config
    assert tables.config_values(row) == config.model_dump()
    assert row["config_id"] == config_id(config)


def test_both_families_read_as_one_table(tmp_path: Path) -> None:
    ann, cnn = Ann(dropout=0.25, flip=True), Cnn(conv1_channels=48)
    for config in (ann, cnn):
        rows = [trial(config, number) for number in range(2)]
        tables.write(tables.to_table(rows, tables.TRIALS), tmp_path / config.model / "trials.parquet")
    pattern = str(tmp_path / "*" / "trials.parquet")

    frame = pd.concat(pd.read_parquet(file) for file in sorted(tmp_path.glob("*/trials.parquet")))
    frames = {
        "pandas": frame.to_dict("records"),
        "duckdb": duckdb.read_parquet(pattern).order("trial_id").to_arrow_table().to_pylist(),
        "polars": pl.read_parquet(pattern).sort("trial_id").to_dicts(),
    }
    for reader, rows in frames.items():
        assert [row["trial_id"] for row in rows] == ["ann-00000", "ann-00001", "cnn-00000", "cnn-00001"], reader
        assert [row["config_id"] for row in rows] == [config_id(ann)] * 2 + [config_id(cnn)] * 2, reader
        assert rows[0]["config_dropout"] == 0.25
        assert rows[0]["config_flip"] is True
        assert rows[2]["config_conv1_channels"] == 48
        assert pd.isna(rows[2]["config_hidden1"])
        assert pd.isna(rows[0]["config_conv1_channels"])
        assert pd.Timestamp(rows[0]["started_at"]) == pd.Timestamp(AT), reader
