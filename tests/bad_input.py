"""What a user may get wrong, as tables: how to make the mistake, and how the one line that names it begins."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.test_data import TEST_IMAGES, TRAIN_IMAGES, TRAIN_LABELS
from tune_fmnist.store.paths import SearchPaths

SEARCH: Final = "search --model ann"
RESUME: Final = "search --resume --name fake"
RETRAIN: Final = "retrain results/fake"
REPORT: Final = "report results/fake"
RECORD: Final = "results/fake/search.json: "
TRIALS: Final = "results/fake/trials.parquet: "

OPTIONS: Final[dict[str, str]] = {
    # Numbers: bounds, types, and what is none.
    f"{SEARCH} --trials -1": "--trials: invalid value -1; ",
    f"{SEARCH} --trials 2.5": "Invalid value for '--trials': Input should be a valid integer",
    f"{SEARCH} --trials ''": "Invalid value for '--trials': Input should be a valid integer",
    f"{SEARCH} --max-epochs 1001": "--max-epochs: invalid value 1001; ",
    f"{SEARCH} --max-epochs 1e2": "Invalid value for '--max-epochs': Input should be a valid integer",
    f"{SEARCH} --time-budget 0": "--time-budget: invalid value 0.0; ",
    f"{SEARCH} --time-budget -5m": "--time-budget: invalid value '-5m'; ",
    f"{SEARCH} --time-budget inf": "--time-budget: invalid value 'inf'; ",
    f"{SEARCH} --time-budget ''": "--time-budget: invalid value ''; ",
    f"{SEARCH} --trial-timeout -1": "--trial-timeout: invalid value '-1'; ",
    f"{SEARCH} --trial-timeout 1d": "--trial-timeout: invalid value '1d'; ",
    f"{SEARCH} --trial-timeout 9999999999h": "--trial-timeout: invalid value 35999999996400.0; must be at most 2592000",
    f"{SEARCH} --trial-timeout 721h": "--trial-timeout: invalid value 2595600.0; must be at most 2592000",
    f"{SEARCH} --trial-timeout {'9' * 400}": "--trial-timeout: invalid value inf; ",
    f"{SEARCH} --time-budget 43201m": "--time-budget: invalid value 2592060.0; must be at most 2592000",
    f"{SEARCH} --trials 10000000000": "--trials: invalid value 10000000000; must be at most 1000000000",
    f"{SEARCH} --seed -1": "--seed: invalid value -1; ",
    f"{SEARCH} --seed 4294967296": "--seed: invalid value 4294967296; ",
    f"{SEARCH} --split-seed -1": "--split-seed: invalid value -1; ",
    f"{SEARCH} --cpus-per-trial 0": "--cpus-per-trial: invalid value 0.0; ",
    f"{SEARCH} --cpus-per-trial inf": "--cpus-per-trial: invalid value inf; ",
    f"{SEARCH} --cpus-per-trial 0.00001": "--cpus-per-trial: invalid value 1e-05; must be at least 0.01",
    f"{SEARCH} --cpus-per-trial 100000": "--cpus-per-trial: a trial of 100000 CPU does not fit this machine; use ",
    f"{RETRAIN} --cpus-per-trial 100000": "--cpus-per-trial: a trial of 100000 CPU does not fit this machine; ",
    f"{RESUME} --trials 9 --cpus-per-trial 1e5": "--cpus-per-trial: a trial of 100000 CPU does not fit this machine; ",
    f"{SEARCH} --gpus-per-trial 0.00001": "--gpus-per-trial: invalid value 1e-05; use 0, or at least 0.01",
    f"{SEARCH} --gpus-per-trial 99": "--gpus-per-trial: a trial of 99 GPU does not fit this machine; ",
    f"{SEARCH} --gpus-per-trial 1.5": "--gpus-per-trial: a trial of 1.5 GPU ",
    f"{SEARCH} --gpus-per-trial -0.5": "--gpus-per-trial: invalid value -0.5; ",
    f"{SEARCH} --max-concurrent 0": "--max-concurrent: invalid value 0; ",
    f"{SEARCH} --max-concurrent 1.5": "Invalid value for '--max-concurrent': Input should be a valid integer",
    f"{SEARCH} --top-k 0": "--top-k: invalid value 0; ",
    f"{SEARCH} --retrain-seeds 1001": "--retrain-seeds: invalid value 1001; ",
    f"{SEARCH} --limit-train 0": "--limit-train: invalid value 0; ",
    f"{SEARCH} --limit-train 60001": "--limit-train: cannot select 60001 training images; use 100 to 60000",
    # Words.
    f"{SEARCH} --model ''": "--model: invalid value ''; ",
    f"{SEARCH} --scheduler hyperband": "--scheduler: invalid value 'hyperband'; ",
    f"{SEARCH} --space ''": ".: --space: cannot be read",
    f"{SEARCH} --no-retrain --retrian": "No such option: --retrian",
    # Names.
    f"{SEARCH} --name ''": "--name: '' is not a folder's name; ",
    f"{SEARCH} --name ..": "--name: '..' is not a folder's name; ",
    f"{SEARCH} --name /tmp": "--name: '/tmp' is not a folder's name; ",
    f"{SEARCH} --name 'a\\b'": r"--name: 'a\\b' is not a folder's name; ",
    f"{SEARCH} --name 'a\tb'": r"--name: 'a\tb' is not a folder's name; ",
    f"{SEARCH} --name 'a\x1b[31m'": r"--name: 'a\x1b[31m' is not a folder's name; ",
    f"{SEARCH} --name .hidden": "--name: '.hidden' is not a folder's name; ",
    f"{SEARCH} --name {'n' * 101}": "--name: a name of 101 characters, 'nnnnnnnnnnnnnnnnnnnn'..., is too long; ",
    f"{SEARCH} --name {'ü' * 128}": "--name: a name of 128 characters, 'üüüüüüüüüüüüüüüüüüüü'..., is too long; ",
    f"{SEARCH} --name file": "results/file: --name: 'file' exists already; ",
    f"{SEARCH} --name new --results-dir dangling": "dangling/new: --results-dir: cannot be made",
    f"{SEARCH} --results-dir {'r' * 256}": "--results-dir: a path of ",
    f"{SEARCH} --results-dir {'long/' * 1000}": "--results-dir: a path of ",
    f"search --resume --name fake --results-dir {'long/' * 1000}": "--results-dir: a path of ",
    # Clusters that are none; of those that answer only Ray itself can tell more.
    f"{SEARCH} --address nonsense": "--address: nothing answers at 'nonsense' ",
    f"{SEARCH} --address ''": "--address: nothing answers at '' ",
    f"{SEARCH} --address 127.0.0.1:1": "--address: nothing answers at '127.0.0.1:1' ",
    f"{SEARCH} --address ray://127.0.0.1:1": "--address: nothing answers at 'ray://127.0.0.1:1' ",
    f"{SEARCH} --address 127.0.0.1:99999": "--address: nothing answers at '127.0.0.1:99999' ",
    f"{RESUME} --trials 9 --address 127.0.0.1:1": "--address: nothing answers at '127.0.0.1:1' ",
    f"{RETRAIN} --address 127.0.0.1:1": "--address: nothing answers at '127.0.0.1:1' ",
    # Going on with a search.
    "search --resume": "--name: missing; name the search",
    "search --resume --name none": "results/none/search.json: file not found; ",
    "search --resume --name file": "results/file/search.json: cannot be read",
    "search --resume --name ../fake": "--name: '../fake' is not a folder's name; ",
    f"search --resume --name {'n' * 101}": "--name: a name of 101 characters, 'nnnnnnnnnnnnnnnnnnnn'..., is too long; ",
    f"{RESUME} --model cnn": f"{RECORD}--model: 'cnn' is not the search's 'ann'; ",
    f"{RESUME} --seed 1": f"{RECORD}--seed: 1 is not the search's 0; ",
    f"{RESUME} --split-seed 1": f"{RECORD}--split-seed: 1 is not the search's 0; ",
    f"{RESUME} --trials 5": f"{RECORD}--trials: 5 trials are fewer than the search's 6; ",
    f"{RESUME} --max-epochs 6": f"{RECORD}--max-epochs: 6 is not the search's 5; ",
    f"{RESUME} --searcher random": f"{RECORD}--searcher: 'random' is not the search's 'gp'; ",
    f"{RESUME} --grace 2": f"{RECORD}--grace: 2 is not the search's 3; ",
    f"{RESUME} --audit 0.5": f"{RECORD}--audit: 0.5 is not the search's 0.0; ",
    f"{RESUME} --scheduler fifo": f"{RECORD}--scheduler: 'fifo' is not the search's 'promotion'; ",
    f"{RESUME} --limit-train 200": f"{RECORD}--limit-train: 200 is not the search's 100; ",
    f"{RESUME} --space other.toml": f"{RECORD}--space: is not the search's space; ",
    # Other commands.
    f"{RETRAIN} --top-k 0": "--top-k: invalid value 0; ",
    f"{RETRAIN} --retrain-seeds -1": "--retrain-seeds: invalid value -1; ",
    f"{RETRAIN} --cpus-per-trial nan": "--cpus-per-trial: invalid value nan; ",
    f"{RETRAIN} --gpus-per-trial inf": "--gpus-per-trial: invalid value inf; ",
    f"{RETRAIN} --trials 3": "No such option: --trials",
    f"{RETRAIN} results/more": "Got unexpected extra argument(s) (results/more)",
    "retrain none": "results/none: folder not found; ",
    f"{REPORT} none": "results/none: folder not found; ",
    f"{REPORT} --into none.md": "none.md: --into: file not found; ",
    f"{REPORT} --into results": "results: --into: file not found; ",
    f"{REPORT} --into file": "file: --into: '<!-- results -->' found 0 times; ",
    f"{REPORT} --into noise": "noise: --into: cannot be read",
    "trial --model ann --set hidden1": "--set: hidden1: invalid value ''; ",
    f"trial --model ann --set hidden1={'9' * 5000}": "--set: hidden1: invalid value '999",
    f"trial --model ann --set hidden1={'[' * 5000}": "--set: hidden1: invalid value '[[[",
    "trial --model ann --set optimizer=adam --set momentum=0.9": "--set: momentum: invalid value 0.9; use 0, or ",
    "trial --model ann --seed 4294967296": "Invalid value for '--seed': Input should be less than",
    "trial --model ann --limit-train 0": "--limit-train: cannot select 0 training images; use 100 to 60000",
}

ENVIRONMENT: Final[dict[str, tuple[dict[str, str], str, str]]] = {
    "no home": ({"HOME": "/proc/none"}, SEARCH, "/proc/none/.ray/auth_token: cannot be kept from others"),
    "a file for a home": ({"HOME": "file"}, RETRAIN, "file/.ray/auth_token: cannot be kept from others"),
    "no place for Ray": ({"RAY_TMPDIR": "/proc/none"}, SEARCH, "RAY_TMPDIR: no place for Ray's files"),
    "a device for Ray's files": ({"RAY_TMPDIR": "/dev/null"}, RESUME, "RAY_TMPDIR: no place for Ray's files"),
    "a place too long for sockets": ({"RAY_TMPDIR": f"/tmp/{'t' * 110}"}, SEARCH, "RAY_TMPDIR: a path of 115 bytes"),  # noqa: S108 -- it is not made
    "a Slurm job's long place": ({"TMPDIR": "t" * 110}, SEARCH, "TMPDIR: a path of "),
    "a cluster that has gone": (
        {"RAY_ADDRESS": "127.0.0.1:1"},
        f"{SEARCH} --address auto",
        "--address: nothing answers at '127.0.0.1:1' ",
    ),
}
"""Variables of the environment."""

INT: Final = 'hidden1 = { type = "int", '
FLOAT: Final = 'dropout = { type = "float", '
CHOICE: Final = 'hidden1 = { type = "categorical", '
GOOD: Final = f"{INT}low = 64, high = 128 }}"

SPACES: Final[dict[str, tuple[str | bytes, str]]] = {
    "not UTF-8": (b'model = "\xe4nn"', "--space: cannot be read"),
    "a syntax error, with its line": (
        f'model = "ann"\n[parameters]\n{INT}low = }}',
        "is not TOML (Invalid value (at line 3",
    ),
    "no model": (f"[parameters]\n{GOOD}", "model: missing; "),
    "no parameters": ('model = "ann"', "parameters: missing; "),
    "an array for a table": ('model = "ann"\nparameters = [1]', "parameters: invalid value a list; "),
    "an unknown section": (
        f'model = "ann"\n[extra]\na = 1\n[parameters]\n{GOOD}',
        "extra: unknown; ",
    ),
    "a giant integer": (
        f'model = "ann"\n[parameters]\n{INT}low = 1, high = {10**40} }}',
        f"parameters.hidden1: invalid value {10**40}; ",
    ),
    "too many digits": (
        f'model = "ann"\n[parameters]\n{INT}low = 1, high = {"9" * 5000} }}',
        "is not TOML (Exceeds the limit",
    ),
}
"""Whole files."""

PARAMETERS: Final[dict[str, tuple[str, str]]] = {
    "an unknown type": (
        'hidden1 = { type = "integer", low = 1, high = 3 }',
        "parameters.hidden1: invalid type 'integer'; must be one of 'int', 'float', 'categorical'",
    ),
    "no type": ("hidden1 = { low = 1, high = 3 }", "parameters.hidden1: missing 'type'; "),
    "a bound in words": (f'{INT}low = "few", high = 3 }}', "parameters.hidden1.low: invalid value 'few'; "),
    "a fraction for a width": (f"{INT}low = 1.5, high = 3 }}", "parameters.hidden1.low: invalid value 1.5; "),
    "no high": (f"{INT}low = 1 }}", "parameters.hidden1.high: missing; "),
    "log from 0": (f"{INT}low = 0, high = 8, log = true }}", "parameters.hidden1: invalid; low 0 must be above 0"),
    "step 0": (f"{INT}low = 1, high = 8, step = 0 }}", "parameters.hidden1: invalid; step 0 must be above 0"),
    "a step that leads past high": (
        f"{INT}low = 64, high = 130, step = 32 }}",
        "parameters.hidden1: step 32 does not lead from low 64 to high 130; use high = 128",
    ),
    "a step longer than the range": (
        f"{INT}low = 64, high = 128, step = 100 }}",
        "parameters.hidden1: step 100 does not lead from low 64 to high 128; use a step of 64",
    ),
    "a fraction's step that leads past high": (
        f"{FLOAT}low = 0.1, high = 0.55, step = 0.1 }}",
        "parameters.dropout: step 0.1 does not lead from low 0.1 to high 0.55; use high = 0.5",
    ),
    "a step with log": (
        f"{INT}low = 1, high = 8, step = 2, log = true }}",
        "parameters.hidden1: invalid; step 2 does",
    ),
    "nan": (f"{FLOAT}low = nan, high = 0.5 }}", "parameters.dropout.low: invalid value nan; "),
    "inf": (f"{FLOAT}low = 0.1, high = inf }}", "parameters.dropout.high: invalid value inf; "),
    "dropout of all": (f"{FLOAT}low = 0.1, high = 1.0 }}", "parameters.dropout: invalid value 1.0; "),
    "no choices": (f"{CHOICE}choices = [] }}", "parameters.hidden1.choices: invalid value a list; must have"),
    "a choice twice": (f"{CHOICE}choices = [8, 8] }}", "parameters.hidden1: invalid; choices [8, 8]"),
    "mixed choices": (f"{CHOICE}choices = [64, 'wide'] }}", "parameters.hidden1: invalid value 'wide'; "),
    "a choice of yes": (f"{CHOICE}choices = [true] }}", "parameters.hidden1: invalid value True; "),
    "of the other family": (
        f"{GOOD}\nconv1_channels = {{ type = 'int', low = 8, high = 16 }}",
        "parameters.conv1_channels: ann has no parameter 'conv1_channels'; ",
    ),
    "fixed out of range": (f"{GOOD}\n[fixed]\nshift = 9", "fixed.shift: invalid value 9; "),
    "fixed and searched": (f"{GOOD}\n[fixed]\nhidden1 = 64", "fixed.hidden1: 'hidden1' is both searched and fixed; "),
    "beside a later one": (
        f"{INT}low = 1, high = 2, when = {{ dropout = 0.2 }} }}\n{FLOAT}low = 0.1, high = 0.5 }}",
        "parameters.hidden1.when.dropout: 'dropout' has no value before 'hidden1'; ",
    ),
    "beside an unknown one": (
        f"{INT}low = 1, high = 2, when = {{ droput = 0.2 }} }}",
        "parameters.hidden1.when.droput: 'droput' has no value before 'hidden1'; ",
    ),
    "a start outside": (f"{GOOD}\n[[start]]\nhidden1 = 63", "start.0.hidden1: 63 is not in the space; "),
    "an unknown start": (f"{GOOD}\n[[start]]\nhiden1 = 64", "start.0.hiden1: 64 is not in the space; "),
}
"""What stands under ``[parameters]`` of a space for the ANN."""


def replace(path: Path, change: Callable[[bytes], bytes], suffix: str = "") -> None:
    """Put other content in a file's place."""
    content = path.read_bytes()
    path.unlink()
    path.with_name(path.name + suffix).write_bytes(change(content))


def swap(one: Path, other: Path) -> None:
    """Let two files change names."""
    for old, new in ((one, one.with_name("aside")), (other, one), (one.with_name("aside"), other)):
        old.rename(new)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def _bomb(path: Path) -> None:
    """Put 32 MiB of zeros, in 32 KiB, in a file's place."""
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(bytes(2**25)))


def _long(path: Path) -> None:
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**27)


LABELS: Final = f"data/{TRAIN_LABELS}"
DATA: Final[dict[str, tuple[Callable[[Path], object], str, str]]] = {
    "cut off, gzipped": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: gzip.compress(content, 1)[:-100], ".gz"),
        SEARCH,
        f"{LABELS}.gz: cannot be read",
    ),
    "cut off": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: content[:-1]),
        SEARCH,
        f"{LABELS}: is 60007 bytes",
    ),
    "a wrong magic number": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: b"\1" + content[1:]),
        SEARCH,
        f"{LABELS}: is not an IDX file of bytes in 1 dimensions (it begins with 01000801); ",
    ),
    "a wrong count": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: content[:4] + b"\0\0\0\7" + content[8:]),
        SEARCH,
        f"{LABELS}: holds an array of (7,), not (60000,); ",
    ),
    "an empty file": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: b""),
        SEARCH,
        f"{LABELS}: is not an IDX",
    ),
    "noise": (
        lambda root: replace(root / TRAIN_LABELS, lambda content: content[:8] + bytes(len(content) - 8)),
        "trial --model ann",
        f"{LABELS}: differs in content",
    ),
    "images and labels swapped": (
        lambda root: swap(root / TRAIN_IMAGES, root / TRAIN_LABELS),
        SEARCH,
        f"data/{TRAIN_IMAGES}: holds what belongs in {TRAIN_LABELS}; ",
    ),
    "a file missing": (
        lambda root: (root / TRAIN_LABELS).unlink(),
        SEARCH,
        f"data: $FMNIST_ROOT: {TRAIN_LABELS} not found",
    ),
    "a folder in its place": (lambda root: _folder(root / TRAIN_LABELS), SEARCH, f"{LABELS}: cannot be read"),
    "a link to nowhere": (lambda root: _link(root / TRAIN_LABELS, "nowhere"), RESUME, f"{LABELS}: cannot be read"),
    "a link to itself": (lambda root: _link(root / TRAIN_LABELS, TRAIN_LABELS), SEARCH, f"{LABELS}: cannot be read"),
    "a pipe": (
        lambda root: _pipe(root / TRAIN_LABELS),
        SEARCH,
        f"{LABELS}: cannot be read (not a regular file); ",
    ),
    "a pipe to go on with": (
        lambda root: _pipe(root / TRAIN_IMAGES),
        RESUME,
        f"data/{TRAIN_IMAGES}: cannot be read (not a regular file); ",
    ),
    "a socket": (
        lambda root: _socket(root / TRAIN_LABELS),
        SEARCH,
        f"{LABELS}: cannot be read (not a regular file); ",
    ),
    "a device without an end": (
        lambda root: _link(root / TRAIN_LABELS, "/dev/zero"),
        "trial --model ann",
        f"{LABELS}: cannot be read (not a regular file); ",
    ),
    "a pipe to test on": (
        lambda root: _pipe(root / TEST_IMAGES),
        RETRAIN,
        f"data/{TEST_IMAGES}: cannot be read (not a regular file); ",
    ),
    "a compressed bomb": (
        lambda root: _bomb(root / TRAIN_LABELS),
        SEARCH,
        f"{LABELS}.gz: is more than 60008 bytes long uncompressed; ",
    ),
    "far too long": (
        lambda root: _long(root / TRAIN_LABELS),
        SEARCH,
        f"{LABELS}: is {2**27} bytes long uncompressed, not 60008; ",
    ),
    "far too long, gzipped": (
        lambda root: _long((root / TRAIN_LABELS).rename(root / f"{TRAIN_LABELS}.gz")),
        RETRAIN,
        f"{LABELS}.gz: is {2**27} bytes long, not 61068 at most; ",
    ),
    "no such root": (
        lambda root: root.rename(root.with_name("moved")),
        RETRAIN,
        "data: $FMNIST_ROOT: folder not found; ",
    ),
    "no test images": (lambda root: (root / TEST_IMAGES).unlink(), SEARCH, f"data/{TEST_IMAGES}: not found"),
    "noise to test on": (
        lambda root: replace(root / TEST_IMAGES, lambda content: content[:-1] + b"\7"),
        RETRAIN,
        f"data/{TEST_IMAGES}: differs in content",
    ),
}


def recorded(**changes: Any) -> Callable[[SearchPaths], None]:
    """Change values of ``search.json``, as a user should: without its checksum; ``...`` removes the key."""

    def change(paths: SearchPaths) -> None:
        info = json.loads(paths.search.read_text()) | {"checksum": ..., **changes}
        paths.search.write_text(json.dumps({key: value for key, value in info.items() if value is not ...}))

    return change


def written(content: bytes, *, to: str = "search.json") -> Callable[[SearchPaths], None]:
    """Write something else in a file's place."""

    def change(paths: SearchPaths) -> None:
        (paths.folder / to).write_bytes(content)

    return change


def table(change: Callable[[pa.Table], pa.Table], *, of: str = "trials") -> Callable[[SearchPaths], None]:
    """Change a table, keeping its file's metadata, but for its checksum, unless they are what is changed."""

    def rewrite(paths: SearchPaths) -> None:
        before = pq.read_table(getattr(paths, of))
        after = change(before)
        kept = dict(before.schema.metadata if after.schema.metadata is None else after.schema.metadata)
        kept.pop(b"checksum", None)
        pq.write_table(after.replace_schema_metadata(kept), getattr(paths, of))

    return rewrite


def column(name: str, values: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    """Put other cells in a column."""
    return lambda rows: rows.set_column(rows.schema.get_field_index(name), name, values(rows[name]))


def _half(paths: SearchPaths) -> None:
    content = paths.trials.read_bytes()
    paths.trials.write_bytes(content[: len(content) // 2])


RECORDS: Final[dict[str, tuple[Callable[[SearchPaths], object], str, str]]] = {
    "no record": (lambda paths: paths.search.unlink(), RESUME, f"{RECORD}file not found; "),
    "a record cut off": (written(b'{"schema_version": 1, "na'), RESUME, f"{RECORD}cannot be read"),
    "a record that is a list": (written(b"[1]"), REPORT, f"{RECORD}holds a list, not an object; "),
    "a record that is too deep": (written(b"[" * 100_000), REPORT, f"{RECORD}cannot be read"),
    "a record that was changed": (
        lambda paths: paths.search.write_text(paths.search.read_text().replace('"seed": 0', '"seed": 1')),
        RESUME,
        f"{RECORD}checksum: content does not match its checksum; restore the file, or remove the key 'checksum' if",
    ),
    "a newer record": (recorded(schema_version=3), RESUME, f"{RECORD}schema_version: unsupported version 3; "),
    "a record without a plan": (recorded(retrain_plan=...), RESUME, f"{RECORD}retrain_plan: missing; "),
    "a record without a length": (recorded(max_epochs=...), RETRAIN, f"{RECORD}max_epochs: missing; "),
    "a record without a family": (recorded(model=...), REPORT, f"{RECORD}model: missing; "),
    "a record of another family": (recorded(model="rnn"), RETRAIN, f"{RECORD}model: invalid value 'rnn'"),
    "trials in words": (recorded(trials="six"), RESUME, f"{RECORD}trials: invalid value 'six'"),
    "a list of searchers": (recorded(searcher=["tpe"]), RESUME, f"{RECORD}searcher: invalid value a list"),
    "half a plan": (
        recorded(retrain_plan={"wanted": True, "top_k": 3}),
        RESUME,
        f"{RECORD}retrain_plan.seeds: missing; ",
    ),
    "a time that is none": (recorded(started_at="yesterday"), RESUME, f"{RECORD}started_at: invalid value 'yesterday'"),
    "a space that is none": (recorded(space={"model": "ann"}), RESUME, f"{RECORD}parameters: missing; "),
    "searched on other data": (
        recorded(split_hash="0" * 16),
        RESUME,
        f"{RECORD}split_hash: '0000000000000000' is not the",
    ),
    "retrained on other data": (
        recorded(split_hash="0" * 16),
        RETRAIN,
        f"{RECORD}split_hash: '0000000000000000' is not the",
    ),
    "no trials": (lambda paths: paths.trials.unlink(), RESUME, f"{TRIALS}table not found; "),
    "no trials to retrain": (lambda paths: paths.trials.unlink(), RETRAIN, f"{TRIALS}table not found; "),
    "no epochs": (lambda paths: paths.epochs.unlink(), RESUME, "results/fake/epochs.parquet: table not found; "),
    "trials cut off": (_half, RETRAIN, f"{TRIALS}is not a readable table"),
    "trials cut off, to go on": (_half, RESUME, f"{TRIALS}is not a readable table"),
    "trials in CSV": (written(b"trial_id,number\n", to="trials.parquet"), REPORT, f"{TRIALS}is not a readable table"),
    "newer trials": (
        table(lambda rows: rows.replace_schema_metadata({b"schema_version": b"3"})),
        RESUME,
        f"{TRIALS}schema_version: unsupported version 3; ",
    ),
    "trials without a column": (
        table(lambda rows: rows.drop_columns(["best_epoch"])),
        RETRAIN,
        f"{TRIALS}best_epoch: column not found; ",
    ),
    "trials with a column twice": (
        table(lambda rows: rows.append_column("number", rows["number"])),
        RETRAIN,
        f"{TRIALS}number: column found 2 times; ",
    ),
    "trials numbered in words": (
        table(column("number", lambda cells: pa.array(["first"] * len(cells)))),
        REPORT,
        f"{TRIALS}is not a readable table",
    ),
    "trials of another status": (
        table(column("status", lambda cells: pa.array(["done"] * len(cells)))),
        RETRAIN,
        "fake: trials.parquet: number 0: the baseline, trial 0, has no score; ",
    ),
    "no trial with an accuracy": (
        table(column("score", lambda cells: pa.nulls(len(cells), pa.float64()))),
        RETRAIN,
        "fake: trials.parquet: number 0: the baseline, trial 0, has no score; ",
    ),
    "a trial that cannot be": (
        table(column("config_dropout", lambda cells: pa.array([2.0] * len(cells)))),
        RETRAIN,
        "trials.parquet: dropout: invalid value 2.0; ",
    ),
    "predictions in CSV": (
        written(b"seed\n", to="predictions.parquet"),
        REPORT,
        "results/fake/predictions.parquet: is not a",
    ),
    "no reads of the test set": (
        lambda paths: paths.test_reads.unlink(),
        REPORT,
        "results/fake/test_reads.parquet: table not found; ",
    ),
    "a best one cut off": (
        written(b'{"model"', to="best/config.json"),
        RETRAIN,
        "results/fake/best/config.json: cannot be read",
    ),
    "a best one cut off, before more trials": (
        written(b'{"model"', to="best/config.json"),
        f"{RESUME} --trials 99",
        "results/fake/best/config.json: cannot be read",
    ),
    "retrains in CSV, before more trials": (
        written(b"seed\n", to="retrains.parquet"),
        f"{RESUME} --trials 99",
        "results/fake/retrains.parquet: is not a readable table",
    ),
    "a best one that is a list": (
        written(b"[]", to="best/config.json"),
        RETRAIN,
        "results/fake/best/config.json: holds a list, not an object; ",
    ),
    "a best one of no family": (
        written(b"{}", to="best/config.json"),
        RETRAIN,
        "results/fake/best/config.json: model: unknown",
    ),
}
