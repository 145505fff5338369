"""A searcher of the user's own: a function that is given a seed and returns an Optuna sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from optuna.samplers import BaseSampler

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.importing import blame, imported

OPTION: Final = "--searcher"

MakeSampler = Callable[[int], BaseSampler]


def own_sampler(name: str) -> MakeSampler:
    """Return the function ``MODULE:FUNCTION``; errors as of ``imported``."""
    make: MakeSampler = imported(name, OPTION)
    return make


def check(name: str) -> None:
    """Call the function once.

    Raises:
        InputError: there is no such function, it raised an error, or it returned something else.
    """
    make = own_sampler(name)
    if not callable(make):
        raise InputError(f"{name!r} is not a function", key=OPTION, hint="name one that takes a seed")
    try:
        made = make(0)
    except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
        raise blame(error, make, OPTION, "for seed 0") from None
    if not isinstance(made, BaseSampler):
        what = f"{name} gives a {type(made).__name__}, not an Optuna sampler"
        raise InputError(what, key=OPTION, hint="return one of optuna.samplers, or of a class derived from BaseSampler")
