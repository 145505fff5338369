from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.vocabulary import SCHEMA_VERSION
from tune_fmnist.reporting.results import Results
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import read_info, utilisation_while_trials_wait, write_info


def test_record_survives_the_disk(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path / "new")
    info = {"name": "ünïcode", "seed": 2**32 - 1, "search_seconds": 0.1, "space": {"start": []}, "git_commit": None}
    write_info(paths, info)
    assert read_info(paths) == {"schema_version": SCHEMA_VERSION, **info}
    write_info(paths, read_info(paths) | {"seed": 1})
    assert Results(paths).info == {"schema_version": SCHEMA_VERSION, **info, "seed": 1}
    assert [path.name for path in paths.folder.iterdir()] == ["search.json"]


def test_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    paths = SearchPaths(tmp_path)
    write_info(paths, {"name": "old"})
    with pytest.raises(TypeError):
        write_info(paths, {"name": {1, 2}})
    assert read_info(paths)["name"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["search.json"]


@pytest.mark.parametrize(
    ("content", "key", "says"),
    [
        (None, None, "there is no such file; name the folder of a search"),
        (b"", None, "cannot be read"),
        (b'{"schema_version": 1', None, "cannot be read"),
        (b"trial_id,number", None, "cannot be read"),
        (b'{"name": "\xe4"}', None, "cannot be read"),
        (b"[1, 2]", None, "cannot be read"),
        (b'"search"', None, "cannot be read"),
        (b"null", None, "cannot be read"),
        (b"{}", None, "cannot be read (KeyError('schema_version'))"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}).encode(), "schema_version", f"{SCHEMA_VERSION + 1} is not"),
        (b'{"schema_version": 0}', "schema_version", "0 is not a version"),
        (b'{"schema_version": "1"}', "schema_version", "'1' is not a version"),
        (b'{"schema_version": null}', "schema_version", "None is not a version"),
    ],
)
def test_record_that_cannot_be_used_is_one_line(
    content: bytes | None, key: str | None, says: str, tmp_path: Path
) -> None:
    paths = SearchPaths(tmp_path)
    if content is not None:
        paths.search.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_info(paths)
    assert (caught.value.file, caught.value.key) == (paths.search, key)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "search.json").mkdir()
    for folder in (file, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError) as caught:
            read_info(SearchPaths(folder))
        assert str(caught.value).startswith(f"{folder}/search.json: ")


def test_missing_table_names_its_file(tmp_path: Path) -> None:
    results = Results(SearchPaths(tmp_path))
    for name in ("trials", "epochs", "retrains", "retrain_epochs", "predictions", "test_reads"):
        with pytest.raises(InputError, match="there is no such table") as caught:
            getattr(results, name)
        assert caught.value.file == tmp_path / f"{name}.parquet"


def test_slots_are_busy_up_to_the_last_start() -> None:
    starts = pd.Series([100.0, 100.0, 110.0])
    # Of the first epoch all 8 s lie before it, of the second 10 of 14 s, of the third none.
    ends, busy = pd.Series([110.0, 114.0, 120.0]), pd.Series([8.0, 14.0, 10.0])
    assert utilisation_while_trials_wait(starts, ends, busy, slots=2) == pytest.approx(18 / 20)
    assert math.isnan(utilisation_while_trials_wait(starts[:2], ends, busy, slots=2))
