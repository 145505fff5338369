"""Where the words of a search go: its result to the standard output, the way there to the standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console

from tune_fmnist.base.errors import InputError

if TYPE_CHECKING:
    from tune_fmnist.reporting.events import Event


@dataclass(frozen=True)
class Screen:
    """The consoles of a search.

    Attributes:
        progress: for what happens on the way to the result.
        warnings: for what is to be heard however little is asked for.
        result: for the closing summary.
        tells_events: whether events are told, in place of progress and summary.
    """

    progress: Console
    warnings: Console
    result: Console
    tells_events: bool = False

    @classmethod
    def of_command(cls, *, quiet: bool = False, json_lines: bool = False) -> Self:
        """Return those of a command.

        Args:
            quiet: whether it says nothing on the way but warnings.
            json_lines: whether it tells events on the standard output, for programs.

        Raises:
            InputError: both.
        """
        if quiet and json_lines:
            what = "has no meaning with --json-lines, which says no more on the standard error"
            raise InputError(what, key="--quiet", hint="leave it out")
        progress = console(stderr=True, quiet=quiet or json_lines)
        return cls(progress, warnings=console(stderr=True), result=console(), tells_events=json_lines)

    @classmethod
    def of(cls, out: Console | None) -> Self:
        """Return one console for all, or those of a command if it is None."""
        return cls.of_command() if out is None else cls(progress=out, warnings=out, result=out)

    def tell(self, event: Event) -> None:
        """Tell an event, if events are told, as a line that is out when this returns."""
        if self.tells_events:
            print(event.model_dump_json(), flush=True)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return the console of a command; lines keep their length where there is no terminal, or a dumb one."""
    # Names and paths may hold square brackets, which are no markup here.
    out = _Console(highlight=False, markup=False, stderr=stderr, quiet=quiet)
    out.soft_wrap = not out.is_terminal or out.is_dumb_terminal
    return out


class _Console(Console):
    """A console whose reader may go: a search goes on in silence, where Rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
