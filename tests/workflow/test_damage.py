"""One bit of a search's files has changed: whoever reads them gets the right values or one line, nothing else."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest
import torch

from tests.fake_search import add_confirmations, add_retrains, make_search
from tests.records import make_result
from tune_fmnist import models, open_search
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.base.errors import InputError
from tune_fmnist.models import saved
from tune_fmnist.models.config import Ann
from tune_fmnist.models.networks import build
from tune_fmnist.store.checkpoints import Checkpoints
from tune_fmnist.store.confirmation_table import read_confirmations
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.store.retrain_tables import read_tables
from tune_fmnist.store.trial_tables import TrialTables

RUNNING = 5
FLIPS = 200


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that has ended, with retrains and a model."""
    results = make_search(tmp_path_factory.mktemp("damage") / "finished", trials=5)
    add_retrains(results, [0.3, 0.2], baseline=0.1, seeds=2, images=200)
    add_confirmations(results, [0.3], baseline=0.1, seeds=1)
    small = Ann(hidden1=16, hidden2=8)
    saved.save(
        {name: tensor.numpy() for name, tensor in build(small, KNOWN_SHAPE).state_dict().items()},
        small,
        KNOWN_SHAPE,
        results.paths.best,
    )
    return results.paths.folder


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with a trial in progress, of which there are two checkpoints."""
    results = make_search(tmp_path_factory.mktemp("damage") / "interrupted")
    checkpoints = Checkpoints(results.paths.checkpoints, RUNNING, "this")
    for epoch in (1, 2):
        tensors = {"weights": torch.rand(20, 5), "moments": torch.rand(20, 5), "step": torch.tensor(epoch)}
        checkpoints.save(tensors, [make_result(one) for one in range(1, epoch + 1)])
    return results.paths.folder


def files_of(folder: Path) -> list[Path]:
    return sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())


def readers(folder: Path) -> list[Callable[[], object]]:
    """Return all that reads a search's files, each as a function that returns plain values."""
    paths = SearchPaths(folder)

    def record() -> object:
        found = open_search(folder).record
        return {name: getattr(found, name) for name in SearchRecord.model_fields}

    def frames() -> object:
        results = open_search(folder)
        return results.trials.to_dict("records"), results.epochs.to_dict("records")

    def trial_tables() -> object:
        found = TrialTables(paths, SearchRecord.read(paths), discard=lambda number: None)
        return found.trials, found.epochs, found.best, found.reported(), found.last_report

    def retrain_tables() -> object:
        return {name: table.to_pylist() for name, table in read_tables(paths).items()}

    def confirmations() -> object:
        return read_confirmations(paths).to_pylist()

    def model() -> object:
        loaded = models.load(paths.best)
        return loaded.dropout.rate, {name: tensor.tolist() for name, tensor in loaded.state_dict().items()}

    return [record, frames, trial_tables, confirmations, retrain_tables, *([model] if paths.best.exists() else [])]


def told(read: Callable[[], object]) -> tuple[str, str]:
    """Return what a reader returns, as text, and the line that it says instead; any other error is one."""
    try:
        return repr(read()), ""
    except InputError as error:
        return "", str(error)


def checkpoint_of(folder: Path) -> str:
    found = Checkpoints(SearchPaths(folder).checkpoints, RUNNING, "this").newest()
    if found is None:
        return "none"
    arrays = sorted((name, array.tolist()) for name, array in found.arrays().items())
    return repr(([row.model_dump() for row in found.history], arrays))


def flip(file: Path, rng: random.Random) -> str:
    """Change one bit of a file; return which."""
    content = bytearray(file.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"bit {bit} of byte {place} of {file.name}"


def damaged_copies(folder: Path, copy: Path, times: int, rng: random.Random) -> Iterator[tuple[Path, str]]:
    """Yield a file's name and what was changed in it, in a new copy of the folder; each file comes equally often."""
    for file in islice(cycle(files_of(folder)), times):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        yield file, flip(copy / file, rng)


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_changed_bit_is_one_line_or_nothing(state: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: Path = request.getfixturevalue(state)
    right = [told(read)[0] for read in readers(folder)]
    checkpoints = {checkpoint_of(folder), "none"}
    if state == "interrupted":
        shutil.copytree(folder, tmp_path / "older")
        (tmp_path / "older" / "checkpoints" / f"{RUNNING:05d}" / "epoch-00002.safetensors").unlink()
        checkpoints.add(checkpoint_of(tmp_path / "older"))
    assert "" not in right
    said = 0
    rng = random.Random(7)  # noqa: S311 no secret depends on it
    for file, changed in damaged_copies(folder, tmp_path / "x", FLIPS // 2, rng):
        for read, expected in zip(readers(tmp_path / "x"), right, strict=True):
            values, line = told(read)
            assert values == expected or line, changed
            assert not line or (file.name in line and len(line.splitlines()) == 1), (changed, line)
            said += bool(line)
        assert checkpoint_of(tmp_path / "x") in checkpoints, changed
    assert said > FLIPS // 4
