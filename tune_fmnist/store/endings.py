"""How a trial that reported epochs ended, in the words of the tables and of the study."""

from __future__ import annotations

from typing import NamedTuple

from tune_fmnist.base.vocabulary import COMPLETED, DIVERGED, STOPPED, Status


class Ending(NamedTuple):
    """A trial's last status, and why it has it, in words."""

    status: Status
    reason: str


def ending(epochs: int, max_epochs: int, score: float, *, audited_at: int | None = None) -> Ending:
    """Return how a trial ended that did not diverge.

    Args:
        epochs: those it reported.
        max_epochs: those of a trial that is not stopped.
        score: after the last epoch.
        audited_at: the epoch at which it was stopped and ran on; None if it did not.
    """
    if audited_at is not None:
        return Ending(STOPPED, f"at the rung after epoch {audited_at}; ran on to epoch {epochs} for the audit")
    if epochs >= max_epochs:
        return Ending(COMPLETED, f"reached {max_epochs} epochs")
    return Ending(STOPPED, f"score {score:.4f} after epoch {epochs} is not among the best there")


def divergence(epoch: int, train_loss: float) -> Ending:
    """Return how a trial ended whose training loss was no longer a finite number."""
    return Ending(DIVERGED, f"training loss {train_loss} in epoch {epoch}")
