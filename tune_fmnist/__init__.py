"""Hyperparameter search that runs on a laptop or a cluster, with results that can be trusted.

The Python interface, loaded when it is used::

    from tune_fmnist import search

    found = search("ann", trials=20)
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from tune_fmnist.base import signals

if TYPE_CHECKING:
    from tune_fmnist.models import load
    from tune_fmnist.reporting.comparison import compare_searches as compare
    from tune_fmnist.reporting.page import write_page as report
    from tune_fmnist.reporting.results import Results, open_search
    from tune_fmnist.workflow.retrain import retrain
    from tune_fmnist.workflow.search import search

__version__ = "0.2.0"
__all__ = ["Results", "compare", "load", "open_search", "report", "retrain", "search"]

_WHERE: Final = {
    "Results": ("tune_fmnist.reporting.results", "Results"),
    "compare": ("tune_fmnist.reporting.comparison", "compare_searches"),
    "load": ("tune_fmnist.models", "load"),
    "open_search": ("tune_fmnist.reporting.results", "open_search"),
    "report": ("tune_fmnist.reporting.page", "write_page"),
    "retrain": ("tune_fmnist.workflow.retrain", "retrain"),
    "search": ("tune_fmnist.workflow.search", "search"),
}


def _is_command() -> bool:
    """Return whether this process runs a command of this package, and not a program that imports it."""
    if sys.argv[:1] == ["-m"]:
        # So it stands there while Python looks for the module to run, which was named after -m or in one word with it.
        return any(word.removeprefix("-m").startswith(f"{__name__}.") for word in sys.orig_argv)
    return [PurePath(name).name for name in sys.argv[:1]] == ["tune-fmnist"]


if _is_command():
    # The imports of a command take a second, in which a signal would raise in the middle of them.
    signals.end_the_process()


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps the functions ``search``, ``retrain`` and ``report`` visible when the commands of that name are imported.

    Python binds a submodule to its package when it is imported, which would hide them.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
