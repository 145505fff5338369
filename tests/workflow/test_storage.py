"""Opening a search: what is refused before anything is made, and what is read when."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from tests.fake_search import make_search
from tests.records import STARTED, make_record
from tune_fmnist.base.errors import InputError
from tune_fmnist.reporting.screen import Screen
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.workflow import session as module
from tune_fmnist.workflow.options import Options
from tune_fmnist.workflow.session import begins, open_existing, open_resumed


def quiet() -> Screen:
    return Screen.of(Console(file=io.StringIO()))


@pytest.mark.parametrize("command", ["resume", "retrain"])
def test_what_another_one_recorded_before_it_gave_the_search_free_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    paths = SearchPaths(tmp_path / "x")
    make_record(state="interrupted").write(paths)

    @contextmanager
    def just_released(paths: SearchPaths) -> Iterator[None]:
        # Between the first look at the record and the lock, a retrain ends; the space tells which one was read.
        make_record(space={"model": "of the retrain"}).write(paths)
        with only_writer(paths):
            yield

    monkeypatch.setattr(module, "only_writer", just_released)
    options = Options(name="x", results_dir=tmp_path, resume=True)
    opened = open_resumed(options, quiet()) if command == "resume" else open_existing(paths.folder, options, quiet())
    with pytest.raises(InputError, match="of the retrain"), opened:
        pass


@pytest.mark.parametrize("path", ["results", "link", "link/../results"])
def test_a_storage_that_is_the_results_folder_is_refused_and_nothing_is_made(tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("results")
    results = tmp_path / "results"
    for resume in (False, True):
        options = Options(
            model="ann", name="x", results_dir=results, storage=str(tmp_path / path), resume=resume, limit_train=1000
        )
        opened = module.open_resumed(options, quiet()) if resume else module.open_new(options, "", quiet())
        with pytest.raises(InputError, match=r"^--storage: invalid value '.*': is the folder of the results "), opened:
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["link"]


def test_resume_with_a_model_begins_what_is_not_there(tmp_path: Path) -> None:
    storage, results = tmp_path / "storage", tmp_path / "results"

    def asked(**more: object) -> bool:
        return begins(Options.of(name="x", results_dir=results, storage=str(storage), resume=True, **more))

    assert asked(model="ann")
    assert not asked(), "which model is not known"
    assert not begins(Options(model="ann", resume=True)), "nor is the name"
    assert list(tmp_path.iterdir()) == [], "nothing is made by asking"
    make_search(storage / "x")
    assert not asked(model="ann")
    shutil.move(storage, results)
    assert not asked(model="ann")


def test_a_search_that_the_storage_does_not_hold_is_told_and_nothing_is_made(tmp_path: Path) -> None:
    storage = tmp_path / "not" / "mounted"
    paths = SearchPaths(tmp_path / "renamed")
    make_record(storage=str(storage), resumed_at=[STARTED]).write(paths)
    with (
        pytest.raises(InputError, match=r"not/mounted/x: --storage: search not found; "),
        open_existing(paths.folder, Options(), quiet()),
    ):
        pass
    assert not storage.parent.exists()
    assert SearchRecord.read(paths).resumed_at == [STARTED]
