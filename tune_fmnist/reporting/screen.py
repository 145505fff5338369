"""Where the words of a search go: its result to the standard output, the way there to the standard error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from rich.console import Console


@dataclass(frozen=True)
class Screen:
    """The consoles of a search.

    Attributes:
        progress: for what happens on the way to the result.
        warnings: for what is to be heard however little is asked for.
        result: for the closing summary.
    """

    progress: Console
    warnings: Console
    result: Console

    @classmethod
    def of_command(cls, *, quiet: bool = False) -> Self:
        """Return those of a command; ``quiet`` of one that says nothing on the way but warnings."""
        return cls(progress=console(stderr=True, quiet=quiet), warnings=console(stderr=True), result=console())

    @classmethod
    def of(cls, out: Console | None) -> Self:
        """Return one console for all, or those of a command if it is None."""
        return cls.of_command() if out is None else cls(progress=out, warnings=out, result=out)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return the console of a command; where there is no terminal, its lines are plain."""
    # Names and paths may hold square brackets, which are no markup here.
    out = _Console(highlight=False, markup=False, stderr=stderr, quiet=quiet)
    out.soft_wrap = not out.is_terminal
    return out


class _Console(Console):
    """A console whose reader may go: a search goes on in silence, where Rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
