"""``tune_fmnist.trial``: one trial without Ray, and what may be wrong with its ``--set``."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.trial import main


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tune_fmnist.trial", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_trial_without_ray() -> None:
    values = ["learning_rate=3e-3", "schedule=cosine", "flip=true", "hidden1=32", "dropout= 0.5", 'optimizer="adam"']
    arguments = [text for value in values for text in ("--set", value)]
    arguments += ["--model", "ann", "--epochs", "2", "--limit-train", "1000"]
    done = command(*arguments)
    assert done.returncode == 0
    assert re.fullmatch(r"Fashion-MNIST: .*\n", done.stderr)
    first, second = (line for line in done.stdout.splitlines() if line.startswith("epoch"))
    assert first.split()[:4] == ["epoch", "1", "train", "loss"]
    assert second.split()[:4] == ["epoch", "2", "train", "loss"]
    said = " ".join(done.stdout.split())
    for value in ("learning_rate=0.003", "schedule='cosine'", "flip=True", "hidden1=32", "dropout=0.5"):
        assert value in said


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["hiden1=3"], "--set: hiden1: unknown; did you mean hidden1?"),
        (["conv1_channels=3"], "--set: conv1_channels: unknown; use one of alternating_flip, "),
        (["=3"], "--set: '=3' names no parameter; write KEY=VALUE"),
        (["hidden1"], "--set: hidden1: invalid value ''; must be a valid integer"),
        (["hidden1="], "--set: hidden1: invalid value ''; must be a valid integer"),
        (["hidden1=0"], "--set: hidden1: invalid value 0; must be at least 1"),
        (["hidden1=1.5"], "--set: hidden1: invalid value 1.5; must be a valid integer"),
        (["hidden1=[3]"], "--set: hidden1: invalid value a list; must be a valid integer"),
        (["learning_rate=fast"], "--set: learning_rate: invalid value 'fast'; must be a valid number"),
        (["learning_rate=nan"], "--set: learning_rate: invalid value nan; must be a finite number"),
        (["flip=yes"], "--set: flip: invalid value 'yes'; must be a valid boolean"),
        (["optimizer=rmsprop"], "--set: optimizer: invalid value 'rmsprop'; must be 'adam' or 'sgd'"),
        (["momentum=0.9"], "--set: momentum: invalid value 0.9; use 0, or optimizer 'sgd' instead of 'adam'"),
        (["hidden1=64", "hidden1=-1"], "--set: hidden1: invalid value -1; must be at least 1"),
        (["hidden1=2\nhidden2"], "--set: hidden1: invalid value '2\\nhidden2'; must be a valid integer"),
        (["hidden1=2\nhidden2=3"], "--set: hidden1: invalid value '2\\nhidden2=3'; must be a valid integer"),
        (["model=cnn"], "--set: 'model=cnn' is no parameter; use --model"),
    ],
)
def test_bad_value_is_one_line(values: list[str], says: str) -> None:
    with pytest.raises(InputError) as raised:
        main("ann", set_=values)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_value_ends_with_status_2() -> None:
    done = command("--model", "ann", "--set", "learning_rte=3e-3")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == "error: --set: learning_rte: unknown; did you mean learning_rate?"
