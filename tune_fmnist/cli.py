"""From a command line to a command and an exit status: 0 done, 1 failed, 2 unusable input, 130 interrupted."""

from __future__ import annotations

import errno
import importlib
import io
import sys
from typing import Annotated, Any, Final, TextIO

import typer
from pydantic import ValidationError

from tune_fmnist import __version__
from tune_fmnist.base import signals
from tune_fmnist.base.errors import FailedError, InputError
from tune_fmnist.help_page import Command, Program, output

Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]

Quiet = Annotated[bool, output("--quiet", "-q", help="say nothing but warnings, errors and the result")]
JsonLines = Annotated[bool, output("--json-lines", help="print one JSON object per event, for programs")]

COMMANDS = {
    "search": "search, retrain, test; tables and a page",
    "retrain": "more seeds or ranks of an earlier search",
    "list": "the searches of a folder, a line each",
    "show": "what a search has found",
    "compare": "several searches beside each other",
    "report": "a search's page anew, from its tables",
    "export": "a search into TensorBoard, MLflow or W&B",
    "trial": "one trial without Ray, for a debugger",
    "doctor": "what would go wrong, before it does",
    "cluster": "a cluster up and down, a search on it",
}
"""Each command, and what it does in at most 45 characters, which is what ``--help`` has room for."""


EXAMPLES: Final = """\
search --model ann --trials 8 --limit-train 12000
search --help"""
"""What may be typed after the program's name, one example per line."""


def run() -> None:
    """Run ``tune-fmnist COMMAND``."""
    _exit(all_commands(), "tune-fmnist", sys.argv[1:] or ["--help"])


def all_commands() -> typer.Typer:
    """Return ``tune-fmnist`` with all its commands."""
    app = _app("Search, retrain, test and report.", completes=True)
    app.callback(cls=Program, epilog=EXAMPLES)(_main)
    for name, about in COMMANDS.items():
        module = importlib.import_module(f"tune_fmnist.{name}")
        app.command(name, cls=Command, short_help=about, epilog=module.EXAMPLES)(module.main)
    return app


def _say_version(asked: bool) -> None:
    if asked:
        print(f"tune_fmnist {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version, help="say it")] = False,
) -> None:
    """Search, retrain, test and report."""


def run_command(name: str) -> None:
    """Run ``python -m tune_fmnist.NAME``, imported: Ray must not ship __main__'s functions to its workers."""
    app = _app()
    module = importlib.import_module(f"tune_fmnist.{name}")
    app.command(cls=Command, epilog=getattr(module, "EXAMPLES", None))(module.main)
    _exit(app, f"python -m tune_fmnist.{name}", sys.argv[1:])


def _app(about: str | None = None, *, completes: bool = False) -> typer.Typer:
    # Defaults stand in square brackets, which are no markup here.
    names = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(add_completion=completes, rich_markup_mode=None, help=about, context_settings=names)


def _exit(app: typer.Typer, program: str, arguments: list[str]) -> None:
    """Run an app; show any error as one line, or with its traceback under ``--debug``."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    try:
        signals.interrupt()
        status = typer.main.get_command(app).main(arguments, prog_name=program, standalone_mode=False)
    except InputError as error:
        _say(str(error))
        status = 2
    except typer.TyperException as error:
        _say(_usage(error))
        status = 2
    except FailedError as error:
        _say(str(error))
        status = 1
    except (KeyboardInterrupt, typer.Abort):
        status = signals.INTERRUPTED
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _say(f"{type(error).__name__}: {error}; run again with --debug for the traceback")
        status = 1
    signals.end_the_process()
    if sys.stdout is not None:
        sys.stdout.flush()
    sys.exit(status or 0)


class _Lasting(io.FileIO):
    """A file whose reader may go: what is written afterwards is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # A pipe that nobody reads any more, or a terminal that was closed.
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            return memoryview(data).nbytes


def _lasting(stream: TextIO | Any) -> TextIO | Any:
    """Return a stream to the same file that outlives its reader; a stream without a file, or None, as it is."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(stream.buffer, io.BufferedWriter | io.FileIO):
        return stream
    file = _Lasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        # Without a buffer under `python -u`.
        io.BufferedWriter(file) if isinstance(stream.buffer, io.BufferedWriter) else file,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _usage(error: typer.TyperException) -> str:
    """Return what is wrong with a command line; Typer leaves out the invalid value."""
    given = f", not {error.__cause__.errors()[0]['input']!r}" if isinstance(error.__cause__, ValidationError) else ""
    return f"{error.format_message().removesuffix('.')}{given}; see --help"


def _say(message: str) -> None:
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)
