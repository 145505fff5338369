"""Searches of version 1, as the first release published them, read and continued as version 2."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.records import make_job, make_result
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.seeds import derived_seed
from tune_fmnist.base.vocabulary import MODELS, STATUSES
from tune_fmnist.models.config import BUILT_IN, baseline, config_id, later_settings, read_config, to_config
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.ranking import ranked
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.store.retrain_tables import RetrainTables
from tune_fmnist.store.trial_tables import TrialTables
from tune_fmnist.tuning.audit import Audit
from tune_fmnist.tuning.proposals import Searching
from tune_fmnist.tuning.rungs import Rungs
from tune_fmnist.tuning.searcher import OptunaSearcher
from tune_fmnist.tuning.selection import choose
from tune_fmnist.tuning.space_files import from_values

VERSION_1 = Path(__file__).parents[1] / "fixtures" / "version1"
SCHEMAS = {
    "trials": tables.TRIALS,
    "epochs": tables.EPOCHS,
    "retrains": tables.RETRAINS,
    "retrain_epochs": tables.RETRAIN_EPOCHS,
    "predictions": tables.PREDICTIONS,
    "test_reads": tables.TEST_READS,
}
ROWS = {"trials": 40, "retrains": 20, "predictions": 6_000, "test_reads": 20}


@pytest.fixture(params=MODELS)
def paths(request: pytest.FixtureRequest, tmp_path: Path) -> SearchPaths:
    """A copy of a published search."""
    shutil.copytree(VERSION_1 / request.param, tmp_path / request.param)
    return SearchPaths(tmp_path / request.param)


def values_of(paths: SearchPaths) -> dict[str, Any]:
    """Return the record as it stands in the file."""
    values: dict[str, Any] = json.loads(paths.search.read_text())
    return values


def rewrite(paths: SearchPaths, **changes: Any) -> None:
    """Change values of the record; ``...`` removes a key."""
    values = {key: value for key, value in (values_of(paths) | changes).items() if value is not ...}
    paths.search.write_text(json.dumps(values))


def test_the_records_are_read_and_written_as_version_2(paths: SearchPaths) -> None:
    before, record = values_of(paths), SearchRecord.read(paths)
    assert before["schema_version"] == 1
    assert (record.schema_version, record.dataset) == (2, "fashion-mnist")
    assert (record.name, record.search_id) == (before["name"], before["search_id"])
    assert (record.model, record.state) == (before["model"], before["state"])
    assert (record.trials, record.max_epochs, record.seed) == (40, 27, 0)
    assert (record.images, record.train_size, record.validation_size) == (60_000, 48_000, 12_000)
    assert record.split_hash == "cd5dee351280b418"
    assert record.started_at == datetime.fromisoformat(before["started_at"])
    assert (record.search_seconds, record.wall_seconds) == (before["search_seconds"], before["wall_seconds"])
    assert record.searcher.model_dump() == before["searcher"]
    assert (record.retrain_plan.wanted, record.retrain_plan.top_k, record.retrain_plan.seeds) == (True, 3, 5)
    assert record.resumed_at == []
    record.write(paths)
    assert SearchRecord.read(paths) == record
    assert record.scored_epochs is None, "scores are of the best epoch"
    assert (record.split_seed, record.images_seed) == (None, record.seed)
    after = values_of(paths)
    assert after.pop("schema_version") == 2
    assert after.pop("placement") == before.pop("placement") | {"most": None}
    plan = {"wanted": True, "top_k": 3, "seeds": 5, "confirm": 0}
    assert after.pop("scheduler") == before.pop("scheduler") | {"audit": 0.0}
    assert after.pop("retrain_plan") == before.pop("retrain_plan", {}) | plan
    retrained, was = after.pop("retrain"), before.pop("retrain")
    assert retrained["placement"] == was.pop("placement") | {"most": None}
    assert {key: retrained[key] for key in was} == was
    same = before.keys() - {"schema_version", "started_at", "finished_at"}
    assert {key: after[key] for key in same} == {key: before[key] for key in same}


def test_what_the_first_releases_did_not_record_is_filled_in(paths: SearchPaths) -> None:
    rewrite(paths, retrain_plan=..., resumed_at=..., validation_size=..., retrain=..., gpu_probe={"trials_per_gpu": 2})
    record = SearchRecord.read(paths)
    assert (record.retrain_plan.wanted, record.retrain_plan.top_k, record.retrain_plan.seeds) == (True, 3, 3)
    assert (record.resumed_at, record.validation_size) == ([], 12_000)
    assert record.gpu_sharing == {"trials_per_gpu": 2}
    rewrite(paths, retrain={"top_k": 2, "seeds": 7})
    assert (SearchRecord.read(paths).retrain_plan.top_k, SearchRecord.read(paths).retrain_plan.seeds) == (2, 7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 3}, "schema_version: unsupported version 3; this release reads versions 1 to 2: "),
        ({"search_id": ...}, "search_id: missing; "),
        ({"images": "many", "validation_size": ...}, "images: invalid value 'many': must be a valid integer; "),
        ({"retrain_plan": ..., "retrain": "later"}, "retrain: invalid value 'later': must be a valid dictionary; "),
    ],
)
def test_a_record_that_cannot_be_used_is_one_line(changes: dict[str, Any], says: str, paths: SearchPaths) -> None:
    rewrite(paths, **changes)
    with pytest.raises(InputError) as caught:
        SearchRecord.read(paths)
    assert str(caught.value).startswith(f"{paths.search}: {says}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_tables_are_read_as_version_2(name: str, paths: SearchPaths) -> None:
    file, record = paths.folder / f"{name}.parquet", SearchRecord.read(paths)
    before, after = pq.read_table(file), tables.read(file, SCHEMAS[name])
    assert before.schema.metadata[b"schema_version"] == b"1"
    assert after.schema.equals(SCHEMAS[name], check_metadata=True)
    assert len(after) == len(before) == ROWS.get(name, len(before)) > 0
    for column in before.column_names:
        assert after[column].to_pylist() == before[column].to_pylist(), column
    assert set(after["search_id"].to_pylist()) == {record.search_id}
    new = set(after.column_names) - set(before.column_names) - {"search_id", "picture"}
    if name in ("trials", "retrains"):
        later = later_settings(record.model)
        new -= {f"config_{key}" for key in later_settings("ann") | later_settings("cnn")}
        for key, default in later.items():
            assert set(after[f"config_{key}"].to_pylist()) == {default}, key
    if name == "trials":
        expected = {
            "origin",
            "audited_at",
            "score",
            "max_epochs",
            "train_size",
            "split_hash",
            "parameters",
            "dataset",
            "multiply_adds",
        }
        assert new == expected
        assert after["score"].to_pylist() == before["best_val_accuracy"].to_pylist()
        assert any(score is not None for score in after["score"].to_pylist())
        same = {"max_epochs": 27, "train_size": 48_000, "split_hash": record.split_hash, "dataset": "fashion-mnist"}
        for column, value in same.items():
            assert set(after[column].to_pylist()) == {value}
        assert after["origin"].null_count == after["parameters"].null_count == len(after), "not known"
    elif name == "retrains":
        assert new == {"horizon", "score"}
        assert after["score"].to_pylist() == before["best_val_accuracy"].to_pylist()
        assert set(after["horizon"].to_pylist()) == {record.max_epochs}
    elif name == "test_reads":
        assert new == {"finished_at"}
        assert after["finished_at"].null_count == len(after), "not known"
    else:
        assert new == set()


def test_rows_are_what_this_release_makes_of_them(paths: SearchPaths) -> None:
    record = SearchRecord.read(paths)
    rows = tables.read(paths.trials, tables.TRIALS).to_pylist()
    for row in rows:
        config = to_config(tables.config_values(row))
        assert type(config) is BUILT_IN[record.model]
        assert config_id(config) == row["config_id"]
        assert row["status"] in STATUSES
        assert row["seed"] == derived_seed(record.seed, row["number"])
        assert row["trial_id"] == f"{record.search_id}-{row['number']:05d}"
    assert rows[0]["config_id"] == config_id(baseline(record.model))
    assert config_id(read_config(paths.best / "config.json")) == ranked(rows)[0]["config_id"]


def test_the_same_retrains_are_chosen_and_only_the_best_ones_is_run_again(paths: SearchPaths) -> None:
    """Its model is of format 1, or not there: it is trained again, and none of the others is."""
    record = SearchRecord.read(paths)
    jobs = choose(tables.read(paths.trials, tables.TRIALS).to_pylist(), record, top_k=3, seeds=5)
    rows = tables.read(paths.retrains, tables.RETRAINS).to_pylist()
    assert {(row["config_id"], row["seed"], row["rank"], row["epochs"], row["horizon"]) for row in rows} == {
        (config_id(job.config), job.seed, job.rank, job.epochs, job.horizon) for job in jobs
    }
    assert RetrainTables(paths, record.search_id, jobs).pending == jobs[:1]


def test_the_tables_go_on_as_version_2(paths: SearchPaths) -> None:
    record, before = SearchRecord.read(paths), tables.read(paths.trials, tables.TRIALS).to_pylist()
    epochs = tables.read(paths.epochs, tables.EPOCHS).num_rows
    resumed = TrialTables(paths, record)
    assert resumed.running == []
    resumed.start(make_job(40, baseline(record.model), origin="random", max_epochs=27))
    resumed.add(40, make_result(1))
    resumed.publish(now=True)
    after = tables.read(paths.trials, tables.TRIALS).to_pylist()
    made_anew = {"seconds": 0.0, "score": None}
    assert [row | made_anew for row in after[:40]] == [row | made_anew for row in before]
    accuracies: dict[str, list[float]] = {}
    for epoch in tables.read(paths.epochs, tables.EPOCHS).sort_by("epoch").to_pylist():
        accuracies.setdefault(epoch["trial_id"], []).append(epoch["val_accuracy"])
    for row in after[:40]:
        last = accuracies[row["trial_id"]][-3:]
        assert row["score"] == pytest.approx(sum(last) / len(last)), "the best epoch's before"
    # A trial's time is that of its epochs; the older of the two searches counted a little more.
    assert [row["seconds"] for row in after[:40]] == pytest.approx([row["seconds"] for row in before], rel=0.02)
    assert (after[40]["trial_id"], after[40]["origin"]) == (f"{record.search_id}-00040", "random")
    assert tables.read(paths.epochs, tables.EPOCHS).num_rows == epochs + 1
    for file in (paths.trials, paths.epochs):
        assert pq.read_schema(file).metadata[b"schema_version"] == b"2"


@pytest.mark.parametrize("version", [b"1", b"2"])
def test_settings_that_a_table_lacks_are_at_their_defaults_in_its_familys_rows(
    version: bytes, paths: SearchPaths
) -> None:
    table, record = pq.read_table(paths.trials), SearchRecord.read(paths)
    if version == b"2":
        table = tables.read(paths.trials, tables.TRIALS)
        table = table.drop_columns([f"config_{key}" for key in later_settings("ann") | later_settings("cnn")])
    # A table of one network of the user's own, which has none of the families' own settings.
    model = pa.array(["somebodys:Own"] * len(table))
    own = table.set_column(table.column_names.index("config_model"), table.schema.field("config_model"), model)
    for name, of in ((record.model, table), ("somebodys:Own", own)):
        pq.write_table(of.replace_schema_metadata({b"schema_version": version}), paths.trials)
        read = tables.read(paths.trials, tables.TRIALS)
        for key in later_settings("ann") | later_settings("cnn"):
            assert set(read[f"config_{key}"].to_pylist()) == {later_settings(name).get(key)}, key


def test_the_study_goes_on(paths: SearchPaths) -> None:
    record = SearchRecord.read(paths)
    trial_tables = TrialTables(paths, record)
    (name,) = optuna.get_all_study_names(JournalStorage(JournalFileBackend(str(paths.journal))))
    searcher = OptunaSearcher(
        from_values(record.space),
        Searching.of(record.searcher, from_values(record.space), record.seed),
        seed=record.seed,
        max_epochs=record.max_epochs,
        journal=paths.journal,
        name=name,
        count=60,
        audit=Audit(0.0, record.seed),
        rungs=Rungs(),
        trials=trial_tables.trials,
        epochs=trial_tables.reported(),
    )
    assert searcher.rebuilt is not None, "its values were the best epochs'"
    for trial, row in zip(searcher.study.trials, trial_tables.trials.values(), strict=True):
        assert trial.value in (None, row["score"])
    assert searcher.suggest("a")["job"].number == 40


def test_tables_without_their_record_are_one_line(paths: SearchPaths) -> None:
    for damage, says in (
        (lambda: rewrite(paths, max_epochs=...), "max_epochs: missing; restore the file"),
        (lambda: rewrite(paths, max_epochs="long"), "max_epochs: invalid value 'long'; restore the file"),
        (lambda: rewrite(paths, max_epochs=10**40), "max_epochs: invalid value 1000"),
        (lambda: paths.search.write_text("[1]"), "search_id: missing; restore the file"),
        (lambda: paths.search.write_text("{"), "cannot be read ("),
        (lambda: paths.search.write_text("[" * 100_000), "cannot be read ("),
        (lambda: paths.search.unlink(), "cannot be read ("),
    ):
        damage()
        with pytest.raises(InputError) as caught:
            tables.read(paths.trials, tables.TRIALS)
        assert str(caught.value).startswith(f"{paths.search}: {says}")
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["number", "best_val_accuracy"])
def test_a_column_that_is_missing_or_twice_there_is_named(name: str, paths: SearchPaths) -> None:
    table = pq.read_table(paths.trials)
    for wrong, says in (
        (table.drop_columns([name]), "column not found; "),
        (table.append_column(name, table[name]), "column found 2 times; "),
    ):
        pq.write_table(wrong, paths.trials)
        if name == "best_val_accuracy" and says.startswith("column not"):
            # It may be null in version 2.
            assert tables.read(paths.trials, tables.TRIALS)["score"].null_count == len(table)
            continue
        with pytest.raises(InputError) as caught:
            tables.read(paths.trials, tables.TRIALS)
        assert str(caught.value).startswith(f"{paths.trials}: {name}: {says}")


def test_tables_of_a_later_version_are_one_line(paths: SearchPaths) -> None:
    table = pq.read_table(paths.trials)
    pq.write_table(table.replace_schema_metadata({b"schema_version": b"3"}), paths.trials)
    with pytest.raises(InputError) as caught:
        tables.read(paths.trials, tables.TRIALS)
    says = "schema_version: unsupported version 3; this release reads versions 1 to 2: use the release that wrote it"
    assert str(caught.value).startswith(f"{paths.trials}: {says}")
    assert len(str(caught.value).splitlines()) == 1


def test_no_time_of_the_fixtures_is_without_its_zone(paths: SearchPaths) -> None:
    for name, column in (("trials", "started_at"), ("epochs", "reported_at"), ("test_reads", "read_at")):
        moment = tables.read(paths.folder / f"{name}.parquet", SCHEMAS[name])[column][0].as_py()
        assert moment.tzinfo is not None
        assert datetime(2026, 11, 1, tzinfo=UTC) < moment < datetime(2026, 12, 1, tzinfo=UTC)
