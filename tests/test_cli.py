"""The commands as a user runs them: real processes, for what must end before anything is computed."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from tests.outputs import trouble
from tune_fmnist import cli
from tune_fmnist.base.errors import FailedError, InputError

SEARCH = ["search", "--model", "ann"]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m tune_fmnist.COMMAND ...`` in a folder."""
    command, *rest = arguments
    return subprocess.run(
        [sys.executable, "-m", f"tune_fmnist.{command}", *rest],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a user may name by mistake."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "file").write_text("no folder\n")
    (folder / "empty").mkdir()
    (folder / "results" / "taken").mkdir(parents=True)
    (folder / "newer").mkdir()
    (folder / "newer" / "search.json").write_text(json.dumps({"schema_version": 99}))
    low_above_high = 'hidden1 = { type = "int", low = 5, high = 3 }'
    (folder / "bad.toml").write_text(f'model = "ann"\n[parameters]\n{low_above_high}\n')
    (folder / "cnn.toml").write_text('model = "cnn"\n[parameters]\nflip = { type = "categorical", choices = [true] }\n')
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["search"], ["--model"]),
        (["search", "--model"], ["--model"]),
        (["search", "--model", "rnn"], ["--model", "'rnn'", "'ann' or 'cnn'"]),
        ([*SEARCH, "--searcher", "bohb"], ["--searcher", "'bohb'", "'tpe', 'gp' or 'random'"]),
        ([*SEARCH, "--trials", "0"], ["--trials", "invalid value 0; must be at least 1"]),
        ([*SEARCH, "--trials", "many"], ["--trials", "'many'"]),
        ([*SEARCH, "--time-budget", "soon"], ["--time-budget", "'soon'"]),
        ([*SEARCH, "--max-epochs", "0"], ["--max-epochs", "invalid value 0; must be at least 1"]),
        ([*SEARCH, "--cpus-per-trial", "nan"], ["--cpus-per-trial", "nan"]),
        ([*SEARCH, "--trails", "3"], ["--trails", "--trials"]),
        ([*SEARCH, "more"], ["more"]),
        ([*SEARCH, "--space", "none.toml"], ["none.toml: --space: ", "No such file"]),
        ([*SEARCH, "--space", "empty"], ["empty: --space: ", "Is a directory"]),
        ([*SEARCH, "--space", "bad.toml"], ["bad.toml: parameters.hidden1: ", "low 5 is above high 3"]),
        ([*SEARCH, "--space", "cnn.toml"], ["cnn.toml: model: ", "the space is one of 'cnn', not of 'ann'", "--model"]),
        ([*SEARCH, "--data-root", "empty"], ["empty: --data-root: ", "train-images-idx3-ubyte"]),
        ([*SEARCH, "--name", "a/b"], ["--name: ", "'a/b'"]),
        ([*SEARCH, "--limit-train", "5"], ["--limit-train: ", "5 training images"]),
        ([*SEARCH, "--name", "taken"], ["results/taken: --name: ", "'taken' exists already"]),
        ([*SEARCH, "--name", "new", "--results-dir", "file"], ["file/new: --results-dir: ", "Not a directory"]),
        ([*SEARCH, "--quiet", "--json-lines"], ["--quiet: has no meaning with --json-lines", "leave it out"]),
        (["retrain"], ["NAME"]),
        (["retrain", "empty", "-q", "--json-lines"], ["--quiet: has no meaning with --json-lines", "leave it out"]),
        (["retrain", "empty"], ["empty/search.json", "file not found"]),
        (["report"], ["NAME"]),
        (["report", "empty"], ["empty/search.json", "file not found"]),
        (["report", "file"], ["results/file: folder not found", "or the folder of one"]),
        (["report", "newer"], ["newer/search.json: schema_version: ", "unsupported version 99", "versions 1 to 2"]),
        (["export", "none"], ["--to"]),
        (["export", "none", "--to", "mlfow"], ["--to", "'mlfow'", "'mlflow'"]),
        (["export", "none", "--to", "mlflow"], ["results/none", "folder not found", "name a search in results"]),
        (["export", "newer/", "--to", "mlflow"], ["newer/search.json: schema_version: ", "unsupported version 99"]),
        (["trial", "--model", "ann", "--set", "hiden1=3"], ["--set: hiden1: ", "unknown; did you mean hidden1?"]),
        (["trial", "--model", "ann", "--epochs", "0"], ["--epochs", "'0'"]),
    ],
    ids=lambda value: " ".join(value) if value[0] in cli.COMMANDS else "",
)
def test_mistake_is_one_line_and_status_2(arguments: list[str], says: list[str], place: Path) -> None:
    before = sorted(place.rglob("*"))
    done = run(arguments, place)
    assert done.returncode == 2, done.stderr
    (line,) = trouble(done.stderr)
    assert line.startswith("error: ")
    for part in says:
        assert part.lower() in line.lower()
    assert done.stdout == ""
    assert "Ray" not in done.stderr
    assert sorted(place.rglob("*")) == before, "nothing is left behind"


LOADED = """
import sys
from tune_fmnist import cli
name, sys.argv = sys.argv[1], sys.argv[1:]
try:
    cli.run() if name == "tune-fmnist" else cli.run_command(name)
finally:
    heavy = {"torch", "ray", "optuna", "scipy", "pandas", "altair", "vl_convert", "sklearn"}
    print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.parametrize("name", ["tune-fmnist", *cli.COMMANDS])
def test_help_needs_no_library(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, name, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    assert done.stdout.startswith("Usage: ")
    if name == "tune-fmnist":
        assert all(command in done.stdout for command in cli.COMMANDS)
    if name == "search":
        assert "[ann 40, cnn 12, own 20]" in done.stdout, "square brackets are no markup"


def commands() -> dict[str, typer.core.TyperCommand]:
    program = typer.main.get_command(cli.all_commands())
    assert isinstance(program, typer.core.TyperGroup)
    return {name: command for name, command in program.commands.items() if isinstance(command, typer.core.TyperCommand)}


def page(command: typer.core.TyperCommand, path: str) -> str:
    """Return what ``--help`` prints where the program is called by ``path``."""
    return command.get_help(command.make_context(path, [], resilient_parsing=True))


@pytest.mark.parametrize("variables", [{"COLUMNS": "80"}, {"COLUMNS": "120"}, {"COLUMNS": "80", "TERM": "dumb"}])
@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_is_plain_text_of_80_columns(
    name: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    # The longer one of its two names.
    said = page(commands()[name], f"python -m tune_fmnist.{name}")
    assert max(map(len, said.splitlines())) <= 80
    assert set(said) - {"\n"} <= set(map(chr, range(32, 127))), "no colours and no boxes"
    # All groups have the same columns.
    options = [line for line in said.splitlines() if line.startswith("  -") and "  " in line.strip()]
    assert len({len(line) - len(line[2:].partition("  ")[2].lstrip()) for line in options}) == 1


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_ends_with_examples_that_can_be_typed(name: str) -> None:
    command = commands()[name]
    heading, *examples = page(command, f"tune-fmnist {name}").partition("Examples:")[2].splitlines()
    assert heading == ""
    assert examples
    for example in examples:
        program, said, *arguments = shlex.split(example)
        assert (program, said) == ("tune-fmnist", name)
        command.make_context(name, arguments)


def test_each_option_of_the_long_commands_has_its_group() -> None:
    headings = ["What is searched", "How it is searched", "Retrains and test", "Machines", "Results and output"]
    said = page(commands()["search"], "search")
    places = [said.index(f"\n{heading}:\n") for heading in [*headings, "Options", "Examples"]]
    assert places == sorted(places)
    for name in ("search", "retrain"):
        _, _, rest = page(commands()[name], name).partition("\nOptions:\n")
        assert re.findall(r"--[\w-]+", rest.partition("Examples")[0]) == ["--debug", "--help"]


TYPED = """
eval "$(tune-fmnist --show-completion)"
COMP_WORDS=(%s) COMP_CWORD=%d
_tune_fmnist_completion tune-fmnist
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["re"], ["report", "retrain"]),
        (["search", "--retrain"], ["--retrain", "--retrain-seeds"]),
        (["search", "--scheduler", ""], ["asha", "fifo", "promotion"]),
        (["search", "--resume", "--name", "n"], ["newer", "night"]),
        (["show", "ni"], ["night"]),
        (["doctor", "--results-dir", "elsewhere", ""], ["other"]),
        (["retrain", "ni"], ["night"]),
        (["compare", "newer", "ni"], ["night"]),
        (["cluster", "s"], ["status", "submit"]),
        # The shell goes on with the files that there are.
        (["report", "elsewhere/"], [""]),
    ],
)
def test_the_tab_key_offers_commands_options_and_searches(
    words: list[str], offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("results/night", "results/newer", "elsewhere/other"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "search.json").touch()
    (tmp_path / "results" / "nothing").mkdir()
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    typed = TYPED % (shlex.join(["tune-fmnist", *words]), len(words))
    done = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (sorted(done.stdout.split("\n")[:-1]), done.stderr) == (offered, "")


def test_the_tab_key_needs_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMP_WORDS", "tune-fmnist search --sc")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_TUNE_FMNIST_COMPLETE", "complete_bash")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "tune-fmnist"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "--scheduler\n", "")


def test_both_ways_to_run_a_command_are_the_same(place: Path) -> None:
    program = Path(sys.executable).parent / "tune-fmnist"
    done = subprocess.run([program, "report", "empty"], cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, run(["report", "empty"], place).stderr)


def test_no_command_is_a_call_for_help() -> None:
    program = Path(sys.executable).parent / "tune-fmnist"
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: tune-fmnist ")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], list[str]], int | str | None]:
    """Run a function as a command of this package; return the exit status."""
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in heard]

    def ends(action: Callable[[], None], arguments: list[str]) -> int | str | None:
        def main(debug: cli.Debug = False) -> None:
            action()

        module = types.ModuleType("tune_fmnist.made_up")
        module.main = main  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tune_fmnist.made_up", module)
        monkeypatch.setattr(sys, "argv", ["made_up", *arguments])
        try:
            with pytest.raises(SystemExit) as caught:
                cli.run_command("made_up")
        finally:
            for number, handler in zip(heard, before, strict=True):
                signal.signal(number, handler)
        return caught.value.code

    return ends


def raises(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("action", "status", "said"),
    [
        (lambda: None, 0, ""),
        (
            raises(InputError("3 is\nodd", file="a file", key="--key", hint="use 4")),
            2,
            "a file: --key: 3 is odd; use 4",
        ),
        (raises(typer.BadParameter("odd\nvalue")), 2, "Invalid value: odd value"),
        (raises(KeyboardInterrupt()), 130, ""),
        (raises(FailedError("Ray is\nlost")), 1, "Ray is lost"),
        (raises(RuntimeError("out\nof memory")), 1, "RuntimeError: out of memory; run again with --debug"),
        (raises(OSError(28, "No space left on device")), 1, "OSError: [Errno 28] No space left on device"),
    ],
)
def test_exit_status_says_how_it_ended(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], action: Callable[[], None], status: int, said: str
) -> None:
    assert command(action, []) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == bool(said)
    assert err.startswith(f"error: {said}" if said else "")


def test_debug_shows_the_traceback_of_a_failure(monkeypatch: pytest.MonkeyPatch, command: Callable[..., int]) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        command(raises(RuntimeError("out of memory")), ["--debug"])
