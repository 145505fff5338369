"""``tune-fmnist cluster``: a Ray cluster up and down, and a search on it, over Ray's own launcher."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

import typer
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from tune_fmnist import data
from tune_fmnist.base import ray_environment
from tune_fmnist.base.datasets import KNOWN
from tune_fmnist.base.errors import InputError, invalid
from tune_fmnist.base.importing import code_of, imported
from tune_fmnist.base.vocabulary import SEARCHERS
from tune_fmnist.cli import Debug
from tune_fmnist.completion import one_of
from tune_fmnist.data.own import OwnFolder, OwnFunction
from tune_fmnist.models.own import network_of
from tune_fmnist.search import main as search_main
from tune_fmnist.store.paths import RESULTS_DIR, checked_name
from tune_fmnist.tuning.space_files import read_space
from tune_fmnist.workflow.options import Options, new_settings, resumed_name

Action = Literal["up", "submit", "status", "fetch", "down"]

_RESULTS: Final = "~/results"
"""Where a search's files are on the head."""

_CODE: Final = "~/own"
"""Where on the head a search's folder lies with what its options name of the user's own."""

_NAME: Final = re.compile(r"[\w.-]+")
"""What a search on a cluster may be called, of all names of searches: it passes through shells."""

_PLACEHOLDER: Final = "sg-0123456789abcdef0"
"""The group that stands in cluster.yaml where the user's own belongs."""


_HINT: Final = "see cluster.yaml and clusters/onprem.yaml"


class _Auth(BaseModel):
    """Who logs in at the user's own machines."""

    ssh_user: str
    ssh_private_key: Path | None = None


class _Provider(BaseModel):
    """Which machines those are, apart from the head."""

    worker_ips: list[str]


class _OwnMachines(BaseModel):
    """What ``down`` needs to know of a cluster of the user's own machines."""

    provider: _Provider
    auth: _Auth


class Launcher:
    """Ray's commands for one cluster's file.

    Args:
        file: as `ray up` takes it.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
            self.is_local = self._config["provider"]["type"] == "local"
            self._own = _OwnMachines.model_validate(self._config) if self.is_local else None
        except ValidationError as error:
            raise invalid(error, file=file, hint=_HINT) from None
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            raise InputError(f"is not a cluster's file ({said})", file=file, hint=_HINT) from None

    def ray(self, command: str, *arguments: str, check: bool = True, quiet: bool = False) -> int:
        """Run ``ray COMMAND FILE ARGUMENTS`` and return its exit status.

        Raises:
            ChildProcessError: it is not 0, and ``check``.
        """
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        if self.is_local:
            # Version 2, the default, never starts the workers of a local cluster.
            environment["RAY_UP_enable_autoscaler_v2"] = "0"
        output = subprocess.DEVNULL if quiet else None
        line = [sys.executable, "-m", "ray.scripts.scripts", command, str(self._file), *arguments]
        status = subprocess.run(line, env=environment, check=False, stdout=output, stderr=output).returncode
        if status and check:
            raise ChildProcessError(f"`ray {command} {self._file}` ended with status {status}")
        return status

    def on_head(self, command: str, *, check: bool = True, quiet: bool = False) -> int:
        """Run a shell command on the head and return its exit status."""
        return self.ray("exec", command, check=check, quiet=quiet)

    def up(self) -> None:
        """Start the cluster, or bring the project on a running one up to date without ending its searches.

        Raises:
            InputError: the file does not say yet who may log in.
        """
        if _PLACEHOLDER in str(self._config):
            hint = "put in the group that clusters/aws_profile.sh makes, which says who may log in"
            raise InputError(f"{_PLACEHOLDER!r} is a placeholder", file=self._file, key="SecurityGroupIds", hint=hint)
        ray_environment.keep_token()
        runs = self.on_head("ray status", check=False, quiet=True) == 0
        self.ray("up", "--yes", *(["--no-restart"] if runs else []))

    def down(self) -> None:
        """End everything; Ray itself leaves the workers of a local cluster running for a minute."""
        self.ray("down", "--yes")
        if self._own is None:
            return
        auth = self._own.auth
        key = ["-i", str(auth.ssh_private_key.expanduser())] if auth.ssh_private_key else []
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10"]
        for address in self._own.provider.worker_ips:
            line = ["ssh", "-q", *key, *options, f"{auth.ssh_user}@{address}", "bash --login -ic 'ray stop --force'"]
            if subprocess.run(line, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                print(f"{address} cannot be reached: see that no Ray runs there", file=sys.stderr)


def submit(launcher: Launcher, arguments: list[str]) -> str:
    """Start a search on the head and return its name; it goes on when this program ends.

    Args:
        launcher: of the cluster.
        arguments: what ``search`` is to be given, as on its command line.

    Raises:
        InputError: an option is not one that ``search`` takes, or its name cannot pass through a shell.
        typer.TyperException: the same of the command line.
    """
    options = _options(arguments)
    name = f"search-{datetime.now():%Y%m%d-%H%M%S}" if options.name is None else options.name
    _check(name, "--name")
    named = [] if options.name is not None else ["--name", name]
    shipped = _ship(launcher, options, f"{_CODE}/{name}")
    arguments = [*arguments, *shipped.arguments]
    search = shlex.join(["python", "-m", "tune_fmnist.search", "--address", "auto", *arguments, *named])
    log = f"{_RESULTS}/{name}.log"
    path = f"env PYTHONPATH={_CODE}/{name} " if shipped.paths else ""
    # In a session of its own, without a terminal: the end of the connection is not its end.
    run = f"setsid nohup {path}{search} --results-dir {_RESULTS} > {log} 2>&1 < /dev/null"
    launcher.on_head(f"mkdir -p {_RESULTS} && cd ~ && {{ {run} & }}")
    return name


class _Shipped(NamedTuple):
    """What was copied to the head, and options that hold there instead of those that were given."""

    paths: list[Path]
    arguments: list[str]


def _ship(launcher: Launcher, options: Options, to: str) -> _Shipped:
    """Copy what the options name of the user's own to a folder on the head."""
    network = network_of(options.model) if options.model is not None else None
    # Without the tilde, which means nothing between quotes; of an option given twice, the last one holds.
    there, arguments = to.removeprefix("~/"), []
    paths = [None if network is None else code_of(network)]
    if options.searcher is not None and options.searcher not in SEARCHERS:
        paths.append(code_of(imported(options.searcher, "--searcher")))
    if isinstance(options.space, Path):
        paths.append(options.space.resolve())
        arguments += ["--space", f"{there}/{options.space.name}"]
    if options.dataset is not None and options.dataset not in KNOWN:
        source = data.locate(options.dataset, options.data_root, partial(print, file=sys.stderr))
        if isinstance(source, OwnFolder):
            folder = source.folder.resolve()
            paths.append(folder)
            arguments += ["--dataset", f"{there}/{folder.name}"]
        elif isinstance(source, OwnFunction):
            paths.append(code_of(source.load))
    found = list(dict.fromkeys(path for path in paths if path is not None))
    for path in found:
        name, slash = shlex.quote(path.name), "/" if path.is_dir() else ""
        launcher.on_head(f"mkdir -p {to}/{name if slash else ''}")
        launcher.ray("rsync-up", f"{path}{slash}", f"{to}/{path.name}{slash}")
    return _Shipped(found, arguments)


def _options(arguments: list[str]) -> Options:
    """Return what ``search`` will take a command line for."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(search_main)
    given = typer.main.get_command(app).make_context("cluster submit FILE --", [*arguments]).params
    options = Options.of(**{name: given[name] for name in Options.model_fields})
    if options.results_dir != Options().results_dir:
        what, hint = f"invalid value {str(options.results_dir)!r}", f"leave it out: on the head it is {_RESULTS}"
        raise InputError(what, key="--results-dir", hint=hint)
    if options.resume:
        resumed_name(options)
        if isinstance(options.space, Path):
            read_space(options.space)
    else:
        new_settings(options)
    return options


def _check(name: str, key: str = "NAME") -> str:
    if not _NAME.fullmatch(checked_name(name, key)):
        raise InputError(f"invalid value {name!r}", key=key, hint="use letters, digits, '-', '_' and '.'")
    return name


EXAMPLES: Final = """\
up cluster.yaml
submit FILE -- --model cnn --storage s3://BUCKET
fetch cluster.yaml night"""
"""What may be typed after the command, one example per line."""


def main(
    action: Annotated[
        str, typer.Argument(help="up, submit, status, fetch or down", autocompletion=one_of(*get_args(Action)))
    ],
    file: Annotated[Path, typer.Argument(help="the cluster's file, as `ray up` takes it")],
    more: Annotated[
        list[str] | None,
        typer.Argument(help="submit: `--` and the options of `search`; status, fetch: a search's name"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Start a cluster, run searches on it, fetch their tables, and end it, over Ray's own commands."""
    more = more or []
    if action not in get_args(Action):
        raise InputError(f"invalid value {action!r}", key="ACTION", hint="use up, submit, status, fetch or down")
    if action in ("up", "down") and more:
        raise InputError(f"invalid value {more[0]!r}", key="ARGUMENT", hint=f"{action} takes the cluster's file alone")
    if action == "fetch" and len(more) != 1:
        raise InputError("missing", key="NAME", hint="name the search to fetch")
    launcher = Launcher(file)
    if action == "up":
        launcher.up()
    elif action == "submit":
        name = submit(launcher, more)
        print(f"search {name} runs; see: {shlex.join(['tune-fmnist', 'cluster', 'status', str(file), name])}")
    elif action == "status":
        launcher.on_head("ray status" + "".join(f"; tail -n 5 {_RESULTS}/{_check(name)}.log" for name in more))
    elif action == "fetch":
        name = _check(more[0])
        target = RESULTS_DIR / name
        target.mkdir(parents=True, exist_ok=True)
        launcher.ray("rsync-down", f"{_RESULTS}/{name}/", f"{target}/")
        print(f"the tables are in {target}")
    else:
        launcher.down()


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("cluster")
