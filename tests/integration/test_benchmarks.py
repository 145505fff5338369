"""The comparison with what a user would run instead, at a size that only shows that it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import compare, comparison
from benchmarks.contenders.job import Job
from benchmarks.processes import run
from benchmarks.step import plain_epoch
from tune_fmnist.models.config import Ann, Cnn, Config

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_same_search_by_this_project_and_by_another(tmp_path: Path) -> None:
    # So long that none is cut off, however busy the machine is.
    only = ["--only", "tune_fmnist", "--only", "Optuna", "--limit", "600"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", "--quick", "--model", "ann", *only, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = pd.read_parquet(tmp_path / "compare.parquet").set_index("contender")
    epochs = pd.read_parquet(tmp_path / "compare_epochs.parquet")
    assert list(runs.index) == ["tune_fmnist", "Optuna"]
    assert (runs["trials"] >= 3).all()
    assert runs["epochs"].to_dict() == epochs.groupby("contender").size().to_dict()
    assert not runs["cut"].any()
    assert (runs["utilisation"] > 0).all()
    assert (runs["utilisation"] < 1).all()
    # PyTorch alone takes some hundred million bytes.
    assert (runs["peak_bytes"] > 3e8).all()
    assert (tmp_path / "compare.png").stat().st_size > 0
    assert (epochs["at"] < epochs["contender"].map(runs["seconds"])).all()


def test_contenders_search_where_this_process_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert compare.python_path() == str(ROOT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/one", "/other"]))
    assert compare.python_path().split(os.pathsep) == [str(ROOT), "/one", "/other"]


@pytest.mark.parametrize(("gpus", "share"), [(0, None), (1, "0.25"), (2, "0.5")])
def test_both_searches_share_the_gpus_alike(gpus: int, share: str | None) -> None:
    places = dict.fromkeys(["space", "data_root", "split", "scratch", "events"], "somewhere")
    job = Job(model="ann", trials=3, max_epochs=2, slots=4, seed=0, **places)
    options = compare.own_options(job, compare.SIZES["ann"], gpus)
    given = dict(zip(options[1::2], options[2::2], strict=True))
    assert (given["--max-concurrent"], given.get("--gpus-per-trial")) == ("4", share)


@pytest.mark.parametrize("config", [Ann(), Cnn()])
def test_a_plain_loop_computes_where_its_images_are(config: Config) -> None:
    # A device that computes nothing, and refuses what lies elsewhere.
    elsewhere = torch.device("meta")
    plain_epoch(config, torch.rand(130, 1, 28, 28, device=elsewhere), torch.zeros(130, device=elsewhere).long())


def test_a_command_is_cut_off_with_all_that_it_started(tmp_path: Path) -> None:
    child = "import time; open('alive', 'w').close(); time.sleep(600)"
    # One child is there when it is told to end, another comes then.
    parent = (
        "import signal, subprocess, sys, time\n"
        f"start = lambda *_: subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(start().returncode))\n"
        "start()\n"
        "time.sleep(600)\n"
    )
    limit = 1.0
    # How long it takes until both have begun is the machine's affair.
    while not (tmp_path / "alive").exists():
        limit *= 2
        ran = run([sys.executable, "-c", parent], limit=limit, environment={}, folder=tmp_path, log=tmp_path / "log")
        assert ran.cut
        assert limit <= ran.seconds < 600
    left = subprocess.run(["pgrep", "-f", "alive"], capture_output=True, text=True, check=False).stdout.split()
    assert not [pid for pid in left if str(tmp_path) in str(Path(f"/proc/{pid}/cwd").resolve())]


def test_the_table_compares_medians_and_equal_times() -> None:
    def row(contender: str, began: int, seconds: float, rate: float) -> dict[str, object]:
        figures = {"trials": 2, "epochs": 4, "trials_per_minute": 1.0, "utilisation": 0.5, "best_val_accuracy": 0.9}
        figures["utilisation_while_trials_wait"] = 0.9
        of = {"model": "ann", "contender": contender, "began": began, "cut": contender != comparison.OURS}
        return {**of, **figures, "seconds": seconds, "epochs_per_second": rate, "peak_bytes": 2e9}

    runs = pd.DataFrame(
        [row("tune_fmnist", 0, 10.0, 4.0), row("Optuna", 1, 100.0, 1.0), row("tune_fmnist", 2, 12.0, 6.0)]
    )
    epochs = pd.DataFrame(
        {"model": "ann", "contender": "Optuna", "began": 1, "at": [5.0, 10.9, 11.1], "val_accuracy": [0.7, 0.8, 0.9]}
    )
    ours, theirs = comparison.summary(runs, epochs)
    assert ours["epochs per second"] == "5.00 (4.00 to 6.00)"
    assert theirs["speed-up"] == "5.0x"
    assert theirs["wall, s"] == "100, cut off"
    assert theirs["at equal time"] == "0.8000"
