"""The journal's records and the disk; what killed writers and absent storages leave is in ``tests/faults``."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tune_fmnist.tuning.optuna_journal import Journal


def test_what_a_disk_lost_before_it_was_flushed_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.journal"
    journal = Journal(file)
    study = optuna.create_study(storage=JournalStorage(journal), study_name="s")
    study.tell(study.ask(), 1.0)
    journal.sync()
    flushed, fsync, calls = file.stat().st_size, os.fsync, []

    def lose_once(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            os.truncate(file, flushed + 20)
            raise OSError("the disk did not answer")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", lose_once)
    study.tell(study.ask(), 2.0)
    assert not calls
    journal.sync()
    assert len(calls) == 2
    journal.sync()
    assert len(calls) == 2
    theirs = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(file))), study_name="s")
    assert [trial.values for trial in theirs.trials] == [[1.0], [2.0]]
    assert [trial.values for trial in study.trials] == [[1.0], [2.0]]
