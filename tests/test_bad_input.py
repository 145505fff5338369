"""Mistakes of every kind end with status 2 and one line before anything is computed, and leave all files as they were.

What ``test_cli`` shows with real processes is not repeated; most run here in this process, from the command line on.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from tests import bad_input as tables
from tests.data.test_data import NAMES, content_of
from tests.fake_search import add_retrains, make_search
from tests.outputs import trouble
from tune_fmnist import cli, data
from tune_fmnist.base.datasets import KNOWN_SHAPE
from tune_fmnist.models.config import Ann
from tune_fmnist.models.networks import build
from tune_fmnist.models.saved import save
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord
from tune_fmnist.workflow.options import Options, new_settings

Mistake = Callable[[str, str], None]


@pytest.fixture(scope="module")
def made(source: data.Source, training: data.Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a data root and a finished search on 100 images, as a search leaves it."""
    place = tmp_path_factory.mktemp("made")
    (place / "data").mkdir()
    for name in NAMES:
        (place / "data" / name).write_bytes(content_of(source, name))
    images = data.limited(training, 100, 0)
    split = data.split(images, 0)
    results = make_search(place / "results" / "fake")
    add_retrains(results, [0.1], baseline=0.0, seeds=1, images=200)
    weights = {name: tensor.numpy() for name, tensor in build(Ann(hidden1=300), KNOWN_SHAPE).state_dict().items()}
    save(weights, Ann(hidden1=300), KNOWN_SHAPE, results.paths.best)
    settings, _ = new_settings(Options(model="ann", trials=6, max_epochs=5, limit_train=100))
    sizes = {"images": 100, "train_size": len(split.train.labels), "validation_size": len(split.validation.labels)}
    record = results.record.model_dump() | settings.model_dump() | sizes | {"split_hash": split.hash}
    SearchRecord.model_validate(record).write(results.paths)
    with only_writer(results.paths):
        pass
    (place / "file").write_text("no folder\n")
    (place / "noise").write_bytes(bytes(range(256)))
    (place / "results" / "file").write_text("no folder\n")
    (place / "dangling").symlink_to("nowhere")
    (place / "other.toml").write_text(f'model = "ann"\n[parameters]\n{tables.GOOD}\n')
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to do anything with; the large files are links."""
    copy = tmp_path / "place"
    shutil.copytree(made, copy, symlinks=True, ignore=shutil.ignore_patterns("*-ubyte"))
    for name in NAMES:
        (copy / "data" / name).symlink_to(made / "data" / name)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("FMNIST_ROOT", "data")
    return copy


def contents(place: Path) -> dict[str, str]:
    """Return what lies in a folder: the hash of each file, where each link leads."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_symlink():
            what = f"-> {path.readlink()}"
        else:
            what = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(place))] = what
    return found


def check(status: object, out: str, err: str, begins: str) -> None:
    """Hold what a command said against what it should say."""
    assert status == 2, err
    (line,) = trouble(err)
    assert err.endswith(f"{line}\n")
    assert line.startswith(f"error: {begins}"), line
    _, hinted, hint = line.removeprefix("error: ").rpartition("; ")
    assert hinted, f"{line} has no hint"
    assert hint.strip()
    assert "Traceback" not in out


@pytest.fixture
def mistake(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Mistake:
    """Run a command line that must be rejected, in this process and without Ray."""

    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", no_ray)

    def rejected(line: str, begins: str) -> None:
        command, *arguments = shlex.split(line)
        before = contents(place)
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.run_command(command)
        check(caught.value.code, *capfd.readouterr(), begins)
        assert contents(place) == before, "something was left behind or overwritten"

    return rejected


def short(line: str) -> str:
    return line if len(line) < 80 else f"{line[:76]}..."


@pytest.mark.parametrize(("line", "begins"), tables.OPTIONS.items(), ids=map(short, tables.OPTIONS))
def test_option(line: str, begins: str, mistake: Mistake) -> None:
    mistake(line, begins)


@pytest.mark.parametrize(("values", "line", "begins"), tables.ENVIRONMENT.values(), ids=tables.ENVIRONMENT)
def test_environment(
    values: dict[str, str], line: str, begins: str, mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_TMPDIR", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    if "TMPDIR" in values:
        # Python looks once, and takes another folder where this one is none.
        monkeypatch.setattr(tempfile, "tempdir", None)
        Path(values["TMPDIR"]).mkdir()
    mistake(line, begins)


@pytest.mark.parametrize(("content", "begins"), tables.SPACES.values(), ids=tables.SPACES)
def test_space(content: str | bytes, begins: str, mistake: Mistake, place: Path) -> None:
    (place / "space.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    mistake("search --model ann --space space.toml", f"space.toml: {begins}")


@pytest.mark.parametrize(("parameters", "begins"), tables.PARAMETERS.values(), ids=tables.PARAMETERS)
def test_parameter(parameters: str, begins: str, mistake: Mistake, place: Path) -> None:
    (place / "space.toml").write_text(f'model = "ann"\n[parameters]\n{parameters}\n')
    mistake("search --model ann --space space.toml", f"space.toml: {begins}")


@pytest.mark.parametrize(("damage", "line", "begins"), tables.DATA.values(), ids=tables.DATA)
def test_data(damage: Callable[[Path], object], line: str, begins: str, mistake: Mistake, place: Path) -> None:
    damage(place / "data")
    mistake(line, begins)


@pytest.mark.parametrize(("damage", "line", "begins"), tables.RECORDS.values(), ids=tables.RECORDS)
def test_record(damage: Callable[[SearchPaths], object], line: str, begins: str, mistake: Mistake, place: Path) -> None:
    damage(SearchPaths(place / "results" / "fake"))
    mistake(line, begins)


@pytest.fixture
def read_only(place: Path) -> Iterator[None]:
    """Let nobody write to ``results``, by a mount, for modes do not bind root."""
    mount = ["mount", "--bind", "-o", "ro", "results", "results"]
    done = subprocess.run(mount, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a folder cannot be mounted read-only here: {done.stderr.strip()}")
    yield
    subprocess.run(["umount", "results"], cwd=place, check=True)


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        (tables.SEARCH, "results/ann-"),
        (tables.RESUME, "results/fake: cannot be written"),
        (tables.RETRAIN, "results/fake: cannot be written"),
        (tables.REPORT, "results/fake: cannot be written"),
    ],
    ids=["search", "search --resume", "retrain", "report"],
)
def test_read_only_results(line: str, begins: str, read_only: None, mistake: Mistake) -> None:
    mistake(line, begins)


HOLD = """
import sys
from pathlib import Path
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths
from tune_fmnist.store.record import SearchRecord
with only_writer(SearchPaths(Path("results/fake"))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("line", [tables.RESUME, tables.RETRAIN], ids=["search --resume", "retrain"])
def test_search_that_another_process_holds(line: str, mistake: Mistake, place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        mistake(line, f"results/fake: --name: is in use by process {holder.pid} on ")
        holder.communicate()
    assert holder.returncode == 0


@pytest.mark.parametrize(
    "line",
    [
        f"{tables.RESUME} --seed 1",
        f"{tables.RETRAIN} --trials 3",
        f"{tables.RETRAIN} --cpus-per-trial nan",
        f"{tables.REPORT} none",
    ],
)
def test_real_process_says_the_same(line: str, place: Path) -> None:
    command, *arguments = shlex.split(line)
    before = contents(place)
    done = subprocess.run(
        [sys.executable, "-m", f"tune_fmnist.{command}", *arguments], capture_output=True, text=True, check=False
    )
    check(done.returncode, done.stdout, done.stderr, tables.OPTIONS[line])
    assert contents(place) == before
