"""``tune-fmnist cluster``: a Ray cluster up and down, and a search on it, over Ray's own launcher."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import typer
import yaml  # type: ignore[import-untyped]

from tune_fmnist.base.errors import InputError
from tune_fmnist.cli import Debug

Action = Literal["up", "submit", "status", "fetch", "down"]

_RESULTS: Final = "~/results"
"""Where a search's files are on the head."""

_NAME: Final = re.compile(r"[\w.-]+")
"""What a search on a cluster may be called: its name passes through shells."""


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
            self.config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
            self.is_local = self.config["provider"]["type"] == "local"
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
            said = " ".join(str(error).split())
            raise InputError(f"is not a cluster's file ({said})", file=file, hint="see cluster.yaml") from None

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
        """Start the cluster, or bring the project on a running one up to date without ending its searches."""
        token = Path.home() / ".ray" / "auth_token"
        if not token.exists():
            make = [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"]
            subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        runs = self.on_head("ray status", check=False, quiet=True) == 0
        self.ray("up", "--yes", *(["--no-restart"] if runs else []))

    def down(self) -> None:
        """End everything; Ray itself leaves the workers of a local cluster running for a minute."""
        self.ray("down", "--yes")
        if not self.is_local:
            return
        auth = self.config["auth"]
        key = ["-i", str(Path(auth["ssh_private_key"]).expanduser())] if "ssh_private_key" in auth else []
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10"]
        for address in self.config["provider"]["worker_ips"]:
            where = f"{auth['ssh_user']}@{address}"
            line = ["ssh", "-q", *key, *options, where, "bash --login -ic 'ray stop --force'"]
            if subprocess.run(line, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                print(f"{address} cannot be reached: see that no Ray runs there", file=sys.stderr)


def submit(launcher: Launcher, options: list[str]) -> str:
    """Start a search on the head and return its name; it goes on when this program ends.

    Args:
        options: those of ``search``.

    Raises:
        InputError: its name cannot pass through a shell.
    """
    names = [after for before, after in pairwise(options) if before == "--name"]
    name = names[-1] if names else f"search-{datetime.now():%Y%m%d-%H%M%S}"
    _check(name, "--name")
    arguments = [*options, *([] if names else ["--name", name])]
    search = shlex.join(["python", "-m", "tune_fmnist.search", "--address", "auto", *arguments])
    log = f"{_RESULTS}/{name}.log"
    # In a session of its own, without a terminal: the end of the connection is not its end.
    run = f"setsid nohup {search} --results-dir {_RESULTS} > {log} 2>&1 < /dev/null"
    launcher.on_head(f"mkdir -p {_RESULTS} && cd ~ && {{ {run} & }}")
    return name


def _check(name: str, key: str = "NAME") -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"invalid value {name!r}", key=key, hint="use letters, digits, '-', '_' and '.'")
    return name


def main(
    action: Annotated[str, typer.Argument(help="up, submit, status, fetch or down")],
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
    if action == "fetch" and len(more) != 1:
        raise InputError("missing", key="NAME", hint="name the search to fetch")
    launcher = Launcher(file)
    if action == "up":
        launcher.up()
    elif action == "submit":
        name = submit(launcher, more)
        print(f"search {name} runs; see: tune-fmnist cluster status {file} {name}")
    elif action == "status":
        launcher.on_head("ray status" + "".join(f"; tail -n 5 {_RESULTS}/{_check(name)}.log" for name in more))
    elif action == "fetch":
        name = _check(more[0])
        target = Path("results") / name
        target.mkdir(parents=True, exist_ok=True)
        launcher.ray("rsync-down", f"{_RESULTS}/{name}/", f"{target}/")
        print(f"the tables are in {target}")
    else:
        launcher.down()


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("cluster")
