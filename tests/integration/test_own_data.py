"""Images of the user's own, searched with the package as it is installed, in a folder of the user's."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.faults.harness import Run
from tests.integration.conftest import ROOT, tune
from tune_fmnist import data, load
from tune_fmnist.base.importing import imported
from tune_fmnist.models.config import config_id, read_config
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord

RESNET = ("--model", "resnet:ResNet")
SHORT = ("--trials", "3", "--max-epochs", "2", "--scheduler", "fifo")
RETRAIN = ("--confirm", "0", "--retrain-seeds", "1")


def idx(file: Path, array: NDArray[np.uint8]) -> None:
    content = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()
    file.write_bytes(gzip.compress(content))


def refused(command: str, *arguments: object) -> str:
    """Return the one line with which a command refuses its options."""
    done = tune(command, *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    return done.stderr


def accepted(command: str, *arguments: object) -> str:
    done = tune(command, *arguments)
    # That few trials are all drawn at random is a warning, which a quiet search says as well.
    trouble = [line for line in done.stderr.splitlines() if not line.endswith("all are drawn at random")]
    assert (done.returncode, trouble) == (0, [])
    return done.stdout


@pytest.mark.faults
def test_a_network_and_a_folder_of_ones_own_from_the_first_trial_to_the_loaded_model(
    here: Path, training: data.Images
) -> None:
    """The shape of Kuzushiji-MNIST's files, with other images in them: Fashion-MNIST's, lying down."""
    folder = here / "lying"
    folder.mkdir()
    for begin, part in (("train", slice(0, 800)), ("t10k", slice(800, 1_000))):
        idx(folder / f"{begin}-images-idx3-ubyte.gz", training.images[part].transpose(0, 2, 1))
        idx(folder / f"{begin}-labels-idx1-ubyte.gz", training.labels[part])
    paths, dataset = SearchPaths(here / "results" / "own"), ("--dataset", "lying")
    run = Run(paths, (*RESNET, *dataset, *SHORT, "--max-concurrent", "1", "--no-retrain"), here)
    assert run.await_line(start="trial 0")
    run.process.kill()
    run.process.wait()
    run.clean()

    again = ("--resume", "--name", "own", *RESNET)
    assert "give --dataset lying/ again" in refused("search", *again)
    assert "'fashion-mnist' is not the search's 'lying/'" in refused("search", *again, "--dataset", "fashion-mnist")
    accepted("search", *again, *dataset, "--quiet")
    assert "give --dataset lying/ again" in refused("retrain", paths.folder, *RESNET)
    accepted("retrain", paths.folder, *RESNET, *dataset, *RETRAIN, "-q")
    record = SearchRecord.read(paths)
    assert (record.dataset, record.input_shape, record.classes) == ("lying/", [1, 28, 28], list("0123456789"))
    assert record.named_again == [*RESNET, "--dataset", str(folder)]

    # Another test part under the same name is another experiment.
    labels = training.labels[800:1_000].copy()
    labels[0] = (labels[0] + 1) % 10
    idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    line = refused("retrain", paths.folder, *RESNET, *dataset, *RETRAIN, "--top-k", 2)
    assert "test_hash: " in line
    assert "restore the test images it began with" in line

    # What is only looked at needs neither the code nor the images.
    shutil.rmtree(folder)
    (here / "resnet.py").rename(here / "away.py")
    accepted("report", paths.folder)
    assert "search on lying" in paths.page.read_text()
    (here / "away.py").rename(here / "resnet.py")
    model = load(paths.best, imported("resnet:ResNet", "--model"))
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)

    published = ROOT / "results" / "ann" / "trials.parquet"
    query = "select config_model, max(val_accuracy) from read_parquet([?, ?], union_by_name=true) group by all"
    rows = duckdb.execute(query, [str(paths.trials), str(published)]).fetchall()
    assert {name for name, _ in rows} == {"ann", "resnet:ResNet"}


def coloured(split: str, each: int, classes: int = 100) -> dict[str, Any]:
    """Return images (n, 32, 32, 3) that show their class as 16 patches of colour, and noise; and their labels."""
    patches = np.random.default_rng(0).integers(0, 256, (classes, 4, 4, 3))
    labels = np.repeat(np.arange(classes), each)
    clean = patches[labels].repeat(8, axis=1).repeat(8, axis=2)
    noise = np.random.default_rng(len(split)).normal(0.0, 40.0, clean.shape)
    return {f"x_{split}": np.clip(clean + noise, 0, 255).astype(np.uint8), f"y_{split}": labels}


@pytest.mark.faults
def test_a_hundred_classes_in_colour_from_end_to_end(here: Path) -> None:
    folder = here / "patches"
    folder.mkdir()
    np.savez(folder / "patches.npz", **coloured("train", 12), **coloured("test", 2))
    (folder / "classes.txt").write_text("\n".join(f"patch {number}" for number in range(100)))
    options = ("--dataset", folder, *SHORT, *RETRAIN, "--name", "colours")
    accepted("search", "--model", "cnn", *options, "-q")
    paths = SearchPaths(here / "results" / "colours")
    record = SearchRecord.read(paths)
    assert (record.input_shape, record.classes[99]) == ([3, 32, 32], "patch 99")
    rows = tables.read(paths.predictions, tables.PREDICTIONS)
    assert len(rows) % 200 == 0
    assert max(rows["label"].to_pylist()) == 99
    (share,) = {len(row) for row in tables.read(paths.retrains, tables.RETRAINS)["class_accuracy"].to_pylist()}
    assert share == 100
    model = load(paths.best)
    pixels = torch.tensor(coloured("test", 2)["x_test"]).permute(0, 3, 1, 2) / 127.5 - 1
    best = config_id(read_config(paths.best / "config.json"))
    predicted = [row["predicted"] for row in rows.to_pylist() if row["config_id"] == best]
    assert model(pixels).argmax(1).tolist() == predicted
    assert "published" not in paths.page.read_text().split("<body")[1].split("<h2")[0]


@pytest.mark.faults
def test_a_function_gives_the_test_part_to_a_retrain_alone(here: Path) -> None:
    (here / "mine.py").write_text(
        "import pathlib, numpy\n"
        "def load(split):\n"
        "    with pathlib.Path('asked').open('a') as asked: asked.write(split + '\\n')\n"
        "    size = 200 if split == 'train' else int(pathlib.Path('size').read_text())\n"
        "    labels = numpy.arange(size) % 2\n"
        "    return (labels[:, None, None] * 90 + numpy.zeros((1, 8, 12))).astype(numpy.uint8), labels\n"
    )
    (here / "size").write_text("50")
    options = ("--model", "ann", "--dataset", "mine:load", "--trials", "1", "--max-epochs", "1")
    accepted("search", *options, "--name", "f", "--no-retrain", "--quiet")
    assert set((here / "asked").read_text().split()) == {"train"}
    again = (here / "results" / "f", "--dataset", "mine:load", "--confirm", "0")
    accepted("retrain", *again, "--retrain-seeds", "1", "--quiet")
    assert "test" in (here / "asked").read_text().split()
    assert SearchRecord.read(SearchPaths(here / "results" / "f")).input_shape == [1, 8, 12]
    (here / "size").write_text("60")
    assert "test_hash: " in refused("retrain", *again, "--retrain-seeds", "2", "--quiet")
