"""``python -m tune_fmnist.doctor``: what would go wrong in a search, found before it does, here and on every node."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tune_fmnist.cli import Debug
from tune_fmnist.completion import searches
from tune_fmnist.store.paths import RESULTS_DIR, SearchPaths
from tune_fmnist.workflow import folder_checks
from tune_fmnist.workflow.checks import examine
from tune_fmnist.workflow.findings import HERE, Finding
from tune_fmnist.workflow.options import Options

EXAMPLES: Final = """\

night
--storage s3://bucket/searches"""
"""What may be typed after the command, one example per line."""

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def main(
    name: Annotated[
        str | None,
        typer.Argument(
            help="check the files of this search, or folder of one, and nothing else", autocompletion=searches
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="mnist, kmnist, FOLDER or MODULE:FUNCTION of your own [fashion-mnist]")
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="a torchvision data root [found or fetched]")] = None,
    results_dir: Annotated[Path, typer.Option(help="where results will go, or are")] = RESULTS_DIR,
    storage: Annotated[str | None, typer.Option(help="a folder all machines share, or s3://BUCKET/PREFIX")] = None,
    address: Annotated[str | None, typer.Option(help="a running Ray cluster [start one here]")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="CPUs of one trial [1]")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of one trial, or a share of one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON array")] = False,
    debug: Debug = False,
) -> None:
    """Say what would go wrong in a search with these options, and what to do (exit status 1 if anything fails).

    With the name of a search: whether its files are whole, and whether they agree.
    """
    if name is not None:
        _report(folder_checks.examine(SearchPaths.of(name, results_dir)), as_json=as_json)
        return
    options = Options.of(
        dataset=dataset,
        data_root=data_root,
        results_dir=results_dir,
        storage=storage,
        address=address,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
    )
    _report(examine(options), as_json=as_json)


def _report(found: Iterable[Finding], *, as_json: bool) -> None:
    """Print findings as they come, or all as JSON; exit with status 1 if one is a failure."""
    out, findings = Console(), []
    for finding in found:
        findings.append(finding)
        if not as_json:
            show(finding, out)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.state == "failure" for finding in findings):
        raise typer.Exit(1)


def show(finding: Finding, out: Console) -> None:
    """Print a finding: one line, wrapped within 80 columns on a terminal."""
    at = f" ({finding.node})" if finding.node != HERE else ""
    hint = f"; {finding.hint}" if finding.hint else ""
    words = Text(f"{finding.check}{at}: {finding.found}{hint}")
    if out.is_terminal:
        line = Table.grid(padding=(0, 1))
        line.add_column(width=7)
        line.add_row(Text(finding.state, _COLOURS[finding.state]), words)
        out.print(line, width=min(80, out.width))
    else:
        out.print(f"{finding.state:<7}", words, soft_wrap=True)


if __name__ == "__main__":
    from tune_fmnist.cli import run_command

    run_command("doctor")
