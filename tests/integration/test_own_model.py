"""A network of the user's own, from the installed package: searched, killed, resumed, retrained, read and loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

from tests.faults.harness import Run
from tune_fmnist import load
from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import imported
from tune_fmnist.store import tables
from tune_fmnist.store.paths import SearchPaths

MODEL = ("--model", "resnet:ResNet")
SMALL = ("--trials", "3", "--max-epochs", "2", "--limit-train", "600", "--seed", "3", "--scheduler", "fifo")


def said(module: str, *arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", f"tune_fmnist.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.faults
def test_a_network_of_ones_own_is_searched_killed_resumed_and_loaded(
    here: Path,
) -> None:
    paths = SearchPaths(here / "results" / "own")
    run = Run(paths, (*MODEL, *SMALL, "--max-concurrent", "1", "--no-retrain"), here)
    assert run.await_line(start="trial 0")
    run.process.kill()
    run.process.wait()
    run.clean()

    again = ("--resume", "--name", "own")
    status, line = said("search", *again)
    assert (status, len(line.splitlines())) == (2, 1)
    assert "--model: missing: the search is one of resnet:ResNet" in line
    status, line = said("search", *again, "--model", "ann")
    assert status == 2
    assert "'ann' is not the search's 'resnet:ResNet'" in line
    status, line = said("search", *again, *MODEL, "--quiet")
    assert status == 0
    # The only warning: that so few trials are all drawn at random.
    assert [one for one in line.splitlines() if not one.endswith("all are drawn at random")] == []

    status, line = said("retrain", paths.folder)
    assert status == 2
    assert "give --model resnet:ResNet again" in line
    assert said("retrain", paths.folder, *MODEL, "--confirm", "0", "--retrain-seeds", "1", "-q") == (0, "")
    # What is only looked at needs no code of the user's.
    (here / "resnet.py").rename(here / "away.py")
    assert said("report", paths.folder) == (0, "")
    assert "resnet:ResNet with the defaults of its signature" in paths.page.read_text()
    (here / "away.py").rename(here / "resnet.py")

    rows = tables.read(paths.trials, tables.TRIALS).to_pylist()
    assert [row["number"] for row in rows] == [0, 1, 2]
    assert (rows[0]["config_width"], rows[0]["config_blocks"], rows[0]["origin"]) == (16, 1, "baseline")
    published = Path(__file__).parents[2] / "results" / "ann" / "trials.parquet"
    query = "select config_model, count(*) from read_parquet([?, ?], union_by_name=true) group by 1 order by 1"
    counted = duckdb.execute(query, [str(paths.trials), str(published)]).fetchall()
    assert [name for name, _ in counted] == ["ann", "resnet:ResNet"]

    with pytest.raises(InputError, match="unknown model 'resnet:ResNet'"):
        load(paths.best)
    model = load(paths.best, imported("resnet:ResNet", "--model"))
    assert not model.training
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)

    source = (here / "resnet.py").read_text()
    (here / "resnet.py").write_text(source.replace("le=24)] = 16", "le=32)] = 16"))
    status, line = said("search", *again, *MODEL)
    assert status == 2
    assert "the parameter 'width' of resnet:ResNet has changed since" in line


@pytest.mark.faults
def test_an_interrupted_search_of_one_slot_is_the_same_as_an_uninterrupted_one(
    here: Path,
) -> None:
    one = (*MODEL, *SMALL, "--max-concurrent", "1", "--no-retrain")
    assert said("search", *one, "--name", "whole")[0] == 0
    paths = SearchPaths(here / "results" / "cut")
    run = Run(paths, one, here)
    assert run.await_line(start="trial 0")
    run.process.kill()
    run.process.wait()
    run.clean()
    assert said("search", "--resume", "--name", "cut", *MODEL)[0] == 0
    columns = ["number", "epochs", "val_accuracy", "val_loss", "config_id"]
    whole, cut = (
        tables.read(here / "results" / name / "trials.parquet", tables.TRIALS).select(columns).to_pylist()
        for name in ("whole", "cut")
    )
    assert whole == cut
    record = json.loads((here / "results" / "cut" / "search.json").read_text())
    assert record["signature"]["width"] == {"default": 16, "maximum": 24, "minimum": 8, "type": "integer"}
    assert np.isfinite(whole[0]["val_loss"])
