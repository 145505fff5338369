"""The reference, made from the code: commands, Python, a search's events and tables, and what each file is."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import typer
from pydantic.fields import FieldInfo

import tune_fmnist
from tune_fmnist.cli import COMMANDS, all_commands
from tune_fmnist.reporting.events import EVENTS
from tune_fmnist.store import tables as schemas

_TABLES: Final = {
    "trials": (schemas.TRIALS, "a trial"),
    "epochs": (schemas.EPOCHS, "an epoch of a trial"),
    "confirmations": (schemas.CONFIRMATIONS, "a configuration trained again with one seed"),
    "retrains": (schemas.RETRAINS, "a configuration retrained with one seed, and tested once"),
    "retrain_epochs": (schemas.RETRAIN_EPOCHS, "an epoch of a retrain"),
    "predictions": (schemas.PREDICTIONS, "a test image under one retrain"),
    "test_reads": (schemas.TEST_READS, "a read of the test set"),
}
"""Each table's schema, and what a row is."""

_FOLDERS: Final = ("", "workflow", "runtime", "reporting", "tuning", "training", "store", "models", "data", "base")
"""Of the package, from above: what stands earlier may import what stands later."""


def commands() -> str:
    """Return the page of all commands with their arguments and options."""
    program = typer.main.get_command(all_commands())
    assert isinstance(program, typer.core.TyperGroup)
    lines = [
        "# Commands",
        "",
        "`tune-fmnist COMMAND` and `python -m tune_fmnist.COMMAND` do the same. `-h` or `--help` after a command says "
        "what stands here. Exit status: 0 done, 1 failed, 2 invalid input, 130 interrupted.",
        "",
        *_table(("command", "what it does"), ((f"[`{name}`](#{name})", about) for name, about in COMMANDS.items())),
    ]
    for name in COMMANDS:
        command = program.commands[name]
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["tune-fmnist", name, *command.collect_usage_pieces(context)])
        lines += ["", f"## {name}", "", command.help or "", "", "```sh", usage, "```", ""]
        records = (parameter.get_help_record(context) for parameter in command.params)
        rows = ((f"`{record[0]}`", _plain(record[1])) for record in records if record)
        lines += _table(("argument or option", "meaning [default]"), rows)
    return "\n".join(lines) + "\n"


def python() -> str:
    """Return the page of what ``from tune_fmnist import ...`` gives, for mkdocstrings to fill in."""
    lines = ["# Python", "", "What `from tune_fmnist import ...` gives; all else may change without notice.", ""]
    for name in tune_fmnist.__all__:
        where = getattr(tune_fmnist, name)
        lines += [
            f"## `{name}`",
            "",
            f"::: {where.__module__}.{where.__qualname__}",
            "    options:",
            "      show_root_heading: false",
            "      show_root_toc_entry: false",
            f"      heading_level: {3 if inspect.isclass(where) else 2}",
            "",
        ]
    return "\n".join(lines)


def tables() -> str:
    """Return the page of all columns of all tables."""
    lines = [
        "# Tables",
        "",
        "The columns of each table. What belongs together, and how to read it, is in [the guide](../tables.md).",
    ]
    for name, (schema, row) in _TABLES.items():
        lines += ["", f"## {name}.parquet", "", f"A row is {row}.", ""]
        lines += _table(("column", "type", "null", "contents"), (_column(field) for field in schema))
    return "\n".join(lines) + "\n"


def events() -> str:
    """Return the page of all events of ``--json-lines`` with their fields."""
    lines = [
        "# Events",
        "",
        "What `search` and `retrain` print with `--json-lines`: one JSON object per line, `event` first. "
        "[The terminal](../terminal.md#events-for-programs) says how to read them.",
    ]
    for event in EVENTS:
        lines += ["", f"## {event.model_fields['event'].default}", "", event.__doc__ or "", ""]
        lines += _table(("field", "contents"), (_event_field(*item) for item in event.model_fields.items()))
    return "\n".join(lines) + "\n"


def code() -> str:
    """Return the page of every file of the package, with the first line of what it says of itself."""
    lines = [
        "# The code",
        "",
        "Every file, in its own words. A folder imports only from lower ones; runtime and reporting, tuning and "
        "training, models and data are side by side.",
    ]
    package = Path(tune_fmnist.__file__).parent
    for folder in _FOLDERS:
        lines += ["", f"## {folder}/" if folder else "## Commands", ""]
        files = sorted((package / folder).rglob("*.py") if folder else package.glob("*.py"))
        lines += _table(
            ("file", "what it is"), ((f"`{file.relative_to(package).as_posix()}`", _about(file)) for file in files)
        )
    return "\n".join(lines) + "\n"


def _about(file: Path) -> str:
    first, *_ = (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()
    words = first.split("``")
    return "`".join(_plain(part) if index % 2 == 0 else part for index, part in enumerate(words))


def _event_field(name: str, field: FieldInfo) -> tuple[str, str]:
    about = f'"{field.default}"' if name == "event" else field.description or ""
    return f"`{name}`", _plain(about)


def _column(field: pa.Field) -> tuple[str, ...]:
    kind = str(field.type).replace("element: ", "").replace("item: ", "")
    about = field.metadata[b"description"].decode()
    return f"`{field.name}`", f"`{kind}`", "may be" if field.nullable else "", _plain(about)


def _plain(text: str) -> str:
    """Return text of which Markdown takes nothing for markup."""
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]
