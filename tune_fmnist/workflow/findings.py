"""What a check of the doctor found."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final, Literal

from tune_fmnist.base.errors import InputError

State = Literal["ok", "warning", "failure"]

HERE: Final = platform.node()
GIB: Final = 2**30


@dataclass(frozen=True)
class Finding:
    """What one check found on one node; ``hint`` is empty where there is nothing to do."""

    check: str
    node: str
    state: State
    found: str
    hint: str = ""


def judged(check: str, node: str, found: str, *, bad: bool, state: State, hint: str) -> Finding:
    """Return a finding of ``state`` with its hint if it is ``bad``, else of what is as it should be."""
    return Finding(check, node, state, found, hint) if bad else Finding(check, node, "ok", found)


def refused(check: str, error: InputError) -> Finding:
    """Return the failure that an error says."""
    where = [str(part) for part in (error.file, error.key) if part is not None]
    return Finding(check, HERE, "failure", ": ".join([*where, error.what]), error.hint)
