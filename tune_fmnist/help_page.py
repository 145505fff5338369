"""How ``--help`` looks: options in groups under headings, examples at the end, plain text of at most 80 columns."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

_GROUPS: Final = {
    "Arguments": "Arguments",
    "searched": "What is searched",
    "method": "How it is searched",
    "retrains": "Retrains and test",
    "machines": "Machines",
    "output": "Results and output",
    "Options": "Options",
}
"""Groups in their order, and their headings."""

searched = partial(typer.Option, rich_help_panel="searched")
method = partial(typer.Option, rich_help_panel="method")
retrains = partial(typer.Option, rich_help_panel="retrains")
machines = partial(typer.Option, rich_help_panel="machines")
output = partial(typer.Option, rich_help_panel="output")


class Program(TyperGroup):
    """The program with its commands; its epilog is examples, one per line: what is typed after its name."""

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the examples as they are typed."""
        _write_examples(self.epilog, ctx, formatter)


class Command(TyperCommand):
    """A command whose help has groups; its epilog is examples, one per line: what is typed after the command."""

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the arguments and the options, in columns that are the same in all groups."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in _GROUPS}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                panel = getattr(parameter, "rich_help_panel", None)
                kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups[panel or kind].append(record)
        width = max(len(name) for records in groups.values() for name, _ in records)
        for group, records in groups.items():
            if records:
                with formatter.section(_GROUPS[group]):
                    formatter.write_dl([(name.ljust(width), about) for name, about in records])

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Write the examples as they are typed."""
        _write_examples(self.epilog, ctx, formatter)


def _write_examples(examples: str | None, ctx: typer.Context, formatter: Any) -> None:
    if examples:
        with formatter.section("Examples"):
            for line in examples.splitlines():
                formatter.write(f"  {ctx.command_path} {line}".rstrip() + "\n")
