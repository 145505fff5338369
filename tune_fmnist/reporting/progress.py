"""What a person sees while a search runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from tune_fmnist.base import signals
from tune_fmnist.base.vocabulary import PAUSED, STATUSES, STOPPED
from tune_fmnist.reporting.wording import DASH, duration, percent, settings

if TYPE_CHECKING:
    from tune_fmnist.store.trial_tables import Row, TrialTables

_REFRESH_SECONDS = 0.25
_RUNNING_SHOWN = 8


class _Display:
    """Draws a renderable in place on a terminal, a few times a second; says lines, with the time, elsewhere."""

    def __init__(self, out: Console) -> None:
        self._console = out
        # A display that nobody sees would swallow the warnings of others as well.
        self._in_place = out.is_terminal and not out.is_dumb_terminal and not out.quiet
        self._began = time.monotonic()
        self._drawn = 0.0
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the live display up for the block, where there is a terminal, and leave a line of it there."""
        if not self._in_place:
            yield
            return
        try:
            with Live(console=self._console, auto_refresh=False, transient=True) as self._live:
                try:
                    yield
                finally:
                    # Back to the display's last line, from where it is taken away.
                    for _ in range(signals.lines_told()):
                        self._console.control(Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)))
        finally:
            self._console.print(self.at_last())

    def say(self, text: str) -> None:
        """Say what has happened, where it is not seen in place."""
        if not self._in_place:
            self._console.print(f"{datetime.now():%H:%M:%S} {text}")

    def draw(self) -> None:
        """Draw the present state, if it is time."""
        if self._live is not None and not signals.asked() and time.monotonic() - self._drawn >= _REFRESH_SECONDS:
            self._live.update(self.render(), refresh=True)
            self._drawn = time.monotonic()

    def render(self) -> RenderableType:
        """Return what is drawn."""
        raise NotImplementedError

    def in_short(self) -> str:
        """Return in a line how far it has come."""
        raise NotImplementedError

    def at_last(self) -> str:
        """Return what is left of the display on a terminal."""
        return self.in_short()


class SearchDisplay(_Display):
    """The progress of a search.

    Args:
        out: where to.
        tables: what has happened.
        trials: how many trials the search has.
        slots: how many trials run at once.
        time_budget: seconds, or None.
    """

    def __init__(
        self, out: Console, tables: TrialTables, *, trials: int, slots: int, time_budget: float | None
    ) -> None:
        super().__init__(out)
        self._tables, self._trials, self._slots, self._time_budget = tables, trials, max(1, slots), time_budget
        self._epochs_before = tables.epochs
        self._waited: set[int] = set()

    def step(self, ended: int | None) -> None:
        """Draw; say that trial ``ended`` has ended or waits, where there is no terminal."""
        if ended is not None:
            trial = self._tables.trials[ended]
            # Of one that has waited to the end of the search there is nothing new to say.
            if trial["status"] != STOPPED or ended not in self._waited:
                self.say(f"trial {ended} {trial['status']} ({trial['reason']}); {self.in_short()}")
            if trial["status"] == PAUSED:
                self._waited.add(ended)
        self.draw()

    def in_short(self) -> str:
        """Return the counts and the best trial."""
        return f"{self._progress()}; {self._best()}"

    def at_last(self) -> str:
        """Return the same in two lines of at most 80 columns."""
        return f"{self._progress()}\n{self._best()}"

    def render(self) -> RenderableType:
        """Return the display: a bar, counts, the best trial and the running ones; at most 80 columns wide."""
        counts = self._tables.counts
        head = Table.grid(padding=(0, 1))
        # What waits has been trained for now.
        bar = ProgressBar(total=self._trials, completed=self._ended + counts[PAUSED], width=40)
        head.add_row("trials", bar, f"{self._ended}/{self._trials}")
        running = Table.grid(padding=(0, 2))
        shown = self._tables.running
        for trial in shown[:_RUNNING_SHOWN]:
            accuracy = percent(trial["val_accuracy"]) if trial["epochs"] else DASH
            bar = ProgressBar(total=self._tables.max_epochs, completed=trial["epochs"], width=20)
            epoch = f"epoch {trial['epochs']}/{self._tables.max_epochs}"
            running.add_row(f"  trial {trial['number']}", bar, epoch, accuracy)
        if len(shown) > _RUNNING_SHOWN:
            running.add_row(f"  and {len(shown) - _RUNNING_SHOWN} more")
        states = "  ".join(f"{status} {counts[status]}" for status in STATUSES if counts[status])
        trouble = [Text(self._tables.trouble)] if self._tables.trouble else []
        best = Text(self._best_settings(), style="dim")
        return Group(head, Text(states), Text(self._progress()), Text(self._best()), best, *trouble, running)

    @property
    def _ended(self) -> int:
        """How many trials have ended; one that waits has not."""
        return len(self._tables.trials) - len(self._tables.unfinished)

    def _progress(self) -> str:
        spent = time.monotonic() - self._began
        left = self._time_left(spent)
        about = f", about {duration(left)} left" if left is not None else ""
        before = f" after {self._epochs_before} before" if self._epochs_before else ""
        epochs = self._tables.epochs - self._epochs_before
        waiting = self._tables.counts[PAUSED]
        wait = f", {waiting} waiting" if waiting else ""
        return f"{self._ended}/{self._trials} trials{wait}, {epochs} epochs in {duration(spent)}{before}{about}"

    def _time_left(self, spent: float) -> float | None:
        """Estimate the seconds left, from the epochs of a trial so far, and the seconds of an epoch in a slot.

        Both are of all trials, also of those before an interruption.
        """
        running, epochs = self._tables.running, self._tables.epochs
        away = len(self._tables.trials) - len(running)
        if not away or not epochs or away == self._trials:
            return None
        each = max(1.0, (epochs - sum(trial["epochs"] for trial in running)) / away)
        to_come = max(0, self._trials - away - len(running)) * each
        to_come += sum(max(self._at_least(trial), each - trial["epochs"]) for trial in running)
        seconds = sum(trial["seconds"] for trial in self._tables.trials.values()) / epochs
        left: float = to_come * seconds / self._slots
        return left if self._time_budget is None else min(left, max(0.0, self._time_budget - spent))

    def _at_least(self, trial: Row) -> int:
        """Return how many epochs a running trial still trains unless it is lost: to the next rung, or to the end."""
        rungs = self._tables.record.scheduler.rungs(self._tables.max_epochs) if trial["number"] else []
        to: int = next((rung for rung in rungs if rung > trial["epochs"]), self._tables.max_epochs)
        return to - int(trial["epochs"])

    def _best(self) -> str:
        best, first = self._tables.best, self._tables.trials.get(0, {})
        if best is None:
            return "no epoch yet"
        beside = f"; baseline {percent(first['score'])}" if "score" in first else ""
        return f"best score {percent(best['score'])} (trial {best['number']}, {best['epochs']} epochs){beside}"

    def _best_settings(self) -> str:
        return "" if self._tables.best is None else settings(self._tables.best, self._tables.record)


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

    @property
    def ended(self) -> int:
        """How many have ended."""
        return len(self._done)

    def step(self, expected: float, said: str) -> None:
        """Count one that has ended, of which so many seconds were expected; say it where there is no terminal."""
        self._done.append(expected)
        self.say(f"{said}; {self.in_short()}")

    def render(self) -> RenderableType:
        """Return the display: a bar and a line."""
        # What runs now moves the bar as well, but no further than what is expected of it.
        spent = (time.monotonic() - self._began) * self._slots
        moved = max(sum(self._done), min(spent, 0.98 * sum(self._expected)))
        bar = ProgressBar(total=sum(self._expected), completed=moved, width=40)
        head = Table.grid(padding=(0, 1))
        head.add_row(self._what, bar, f"{len(self._done)}/{len(self._expected)}")
        return Group(head, Text(self.in_short()))

    def in_short(self) -> str:
        """Return the count and the time left."""
        spent = time.monotonic() - self._began
        if len(self._done) == len(self._expected):
            return f"{len(self._done)}/{len(self._expected)} {self._what} in {duration(spent)}"
        # What the search measured is corrected by how those that ended compare with it.
        pace = spent * self._slots / sum(self._done) if len(self._done) >= self._slots else 1.0
        left = sum(self._expected) * pace / self._slots - spent
        # Nobody knows how long what takes longer than expected still will.
        soon = f"about {duration(left)} left" if left >= 1.0 else "soon over"
        return f"{len(self._done)}/{len(self._expected)} {self._what} in {duration(spent)}, {soon}"
