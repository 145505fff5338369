"""From a command line to a command and an exit status: 0 done, 1 failed, 2 unusable input, 130 interrupted."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from tune_fmnist.errors import InputError

Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]

COMMANDS = ("search", "retrain", "report", "trial")


def run() -> None:
    """Run ``tune-fmnist COMMAND``."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, help="Search, retrain, test and report.")
    for name in COMMANDS:
        app.command(name)(importlib.import_module(f"tune_fmnist.{name}").main)
    _exit(app, "tune-fmnist")


def run_command(name: str) -> None:
    """Run ``python -m tune_fmnist.NAME``, imported: Ray must not ship __main__'s functions to its workers."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"tune_fmnist.{name}").main)
    _exit(app, f"python -m tune_fmnist.{name}")


def _exit(app: typer.Typer, program: str) -> None:
    """Run an app; show any error as one line, or with its traceback under ``--debug``."""
    try:
        status = typer.main.get_command(app).main(prog_name=program, standalone_mode=False)
    except (typer.TyperException, InputError) as error:
        _say(str(error))
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        _say(f"{type(error).__name__}: {error}; run again with --debug for the traceback")
        status = 1
    sys.stdout.flush()
    sys.exit(status or 0)


def _say(message: str) -> None:
    line = " ".join(message.split())
    print(f"error: {line}", file=sys.stderr)
