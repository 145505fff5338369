"""What a person sees while a search runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tune_fmnist.base.vocabulary import RUNNING, STATUSES
from tune_fmnist.reporting.wording import duration

if TYPE_CHECKING:
    from tune_fmnist.store.trial_tables import TrialTables

_REFRESH_SECONDS = 0.25
_RUNNING_SHOWN = 8


def console() -> Console:
    """Return the console of a command; where there is no terminal, its lines are plain."""
    # Names and paths may hold square brackets, which are no markup here.
    out = _Console(highlight=False, markup=False)
    out.soft_wrap = not out.is_terminal
    return out


class _Console(Console):
    """A console whose reader may go: a search goes on in silence, where Rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Display:
    """Draws a renderable in place on a terminal, a few times a second."""

    def __init__(self, out: Console) -> None:
        self._console = out
        self._drawn = 0.0
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live display up for the block, where there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
            yield

    def draw(self) -> None:
        """Draw the present state, if it is time."""
        if self._live is not None and time.monotonic() - self._drawn >= _REFRESH_SECONDS:
            self._live.update(self.render(), refresh=True)
            self._drawn = time.monotonic()

    def render(self) -> RenderableType:
        raise NotImplementedError


class SearchDisplay(_Display):
    """The progress of a search.

    Args:
        out: where to.
        tables: what has happened.
        trials: how many trials the search has.
        time_budget: seconds, or None.
    """

    def __init__(self, out: Console, tables: TrialTables, *, trials: int, time_budget: float | None) -> None:
        super().__init__(out)
        self._tables, self._trials, self._time_budget = tables, trials, time_budget
        self._started, self._epochs_before = time.monotonic(), tables.epochs

    def step(self, ended: int | None) -> None:
        """Draw; say that trial ``ended`` has ended where there is no terminal."""
        if ended is not None and not self._console.is_terminal:
            trial = self._tables.trials[ended]
            about = f"trial {ended} {trial['status']} ({trial['reason']})"
            self._console.print(f"{about}; {self._progress()}; {self._best()}")
        self.draw()

    def render(self) -> RenderableType:
        """Return the display: a bar, counts, the best trial and the running ones; at most 80 columns wide."""
        counts = self._tables.counts
        ended = sum(counts.values()) - counts[RUNNING]
        head = Table.grid(padding=(0, 1))
        head.add_row("trials", ProgressBar(total=self._trials, completed=ended, width=40), f"{ended}/{self._trials}")
        running = Table.grid(padding=(0, 2))
        shown = self._tables.running
        for trial in shown[:_RUNNING_SHOWN]:
            accuracy = f"{trial['val_accuracy']:.4f}" if trial["epochs"] else "-"
            bar = ProgressBar(total=self._tables.max_epochs, completed=trial["epochs"], width=20)
            epoch = f"epoch {trial['epochs']}/{self._tables.max_epochs}"
            running.add_row(f"  trial {trial['number']}", bar, epoch, accuracy)
        if len(shown) > _RUNNING_SHOWN:
            running.add_row(f"  and {len(shown) - _RUNNING_SHOWN} more")
        states = "  ".join(f"{status} {counts[status]}" for status in STATUSES if counts[status])
        trouble = [Text(self._tables.trouble)] if self._tables.trouble else []
        return Group(head, Text(states), Text(self._progress()), Text(self._best()), *trouble, running)

    def _progress(self) -> str:
        counts = self._tables.counts
        ended = sum(counts.values()) - counts[RUNNING]
        spent = time.monotonic() - self._started
        left = self._time_left(ended, spent)
        about = f", about {duration(left)} left" if left is not None else ""
        return f"{ended}/{self._trials} trials, {self._tables.epochs} epochs in {duration(spent)}{about}"

    def _time_left(self, ended: int, spent: float) -> float | None:
        """Estimate the seconds left, from the epochs per trial so far and the epochs per second."""
        epochs = self._tables.epochs
        if not ended or not epochs:
            return None
        of_ended = epochs - sum(trial["epochs"] for trial in self._tables.running)
        expected = self._trials * max(1.0, of_ended / ended) - epochs
        left: float = max(0.0, expected) * spent / max(1, epochs - self._epochs_before)
        return left if self._time_budget is None else min(left, max(0.0, self._time_budget - spent))

    def _best(self) -> str:
        best, first = self._tables.best, self._tables.trials.get(0, {})
        if best is None:
            return "no epoch yet"
        beside = f"; baseline {first['score']:.4f}" if "score" in first else ""
        return f"best score {best['score']:.4f} (trial {best['number']}, {best['epochs']} epochs){beside}"


class TaskDisplay(_Display):
    """The progress of confirmations or retrains.

    Args:
        out: where to.
        what: the name of what is done.
        expected: about how many seconds each will take in a slot.
        slots: how many run at once.
    """

    def __init__(self, out: Console, what: str, expected: list[float], slots: int) -> None:
        super().__init__(out)
        self._what, self._expected, self._slots = what, expected, slots
        self._done: list[float] = []
        self._started = time.monotonic()

    def step(self, expected: float, said: str) -> None:
        """Count one that has ended, of which so many seconds were expected; say it where there is no terminal."""
        self._done.append(expected)
        if not self._console.is_terminal:
            self._console.print(f"{said}; {self._line()}")

    def render(self) -> RenderableType:
        """Return the display: a bar and a line."""
        bar = ProgressBar(total=len(self._expected), completed=len(self._done), width=40)
        head = Table.grid(padding=(0, 1))
        head.add_row(self._what, bar, f"{len(self._done)}/{len(self._expected)}")
        return Group(head, Text(self._line()))

    def _line(self) -> str:
        spent = time.monotonic() - self._started
        # What the search measured is corrected by how those that ended compare with it.
        pace = spent * self._slots / sum(self._done) if len(self._done) >= self._slots else 1.0
        left = max(0.0, sum(self._expected) * pace / self._slots - spent)
        return f"{len(self._done)}/{len(self._expected)} {self._what} in {duration(spent)}, about {duration(left)} left"
