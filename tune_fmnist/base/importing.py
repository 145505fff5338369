"""Code of the user's own: imported by the name that was given, and blamed for what it raises."""

from __future__ import annotations

import re
import sys
import sysconfig
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tune_fmnist.base.errors import InputError

_NAME: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def is_own_name(name: str) -> bool:
    """Return whether this has the form ``MODULE:NAME``."""
    return _NAME.fullmatch(name) is not None


_given: dict[str, Any] = {}
"""What was given as itself in Python, by its name, under which it need not be importable."""


def given_as_itself(thing: Any) -> str:
    """Return the name of a class or a function, under which ``imported`` returns it from now on."""
    name = name_of(thing)
    _given[name] = thing
    return name


def is_given(name: str) -> bool:
    """Return whether something was given as itself under this name."""
    return name in _given


def imported(name: str, option: str) -> Any:
    """Return what ``MODULE:NAME`` names.  The module is looked for in the folder of the command first.

    Only what the user gave with ``option`` may be passed, never what a file says.

    Raises:
        InputError: there is no such module or name, or the module raised an error.
    """
    if name in _given:
        return _given[name]
    module, attribute = name.split(":")
    here = str(Path.cwd())
    if here not in sys.path:
        # As `python -m` has it; the command of the package has its own folder there instead.
        sys.path.insert(0, here)
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        hint = f"run the command where {module.split('.')[0]} lies, or install it"
        raise InputError(f"no module named {missing!r}", key=option, hint=hint) from None
    except Exception as error:  # noqa: BLE001 -- the user's own code may raise anything
        what = f"{module} raised {type(error).__name__} when it was imported: {error}"
        raise InputError(what, key=option, hint=f"see `python -c 'import {module}'`") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            file = getattr(found, "__file__", None)
            hint = f"name one that {found.__name__} has"
            raise InputError(f"{found.__name__} has no {part!r}", file=file, key=option, hint=hint)
        found = getattr(found, part)
    return found


def name_of(thing: Any) -> str:
    """Return ``MODULE:NAME`` of a class or a function; of one in a script, as another program would import it."""
    if not hasattr(thing, "__qualname__"):
        raise InputError(f"{thing!r} has no name", hint="give a function, as `def` makes it")
    module = thing.__module__
    if module == "__main__" and (file := getattr(sys.modules["__main__"], "__file__", None)):
        module = Path(file).stem
    return f"{module}:{thing.__qualname__}"


def code_of(thing: Any) -> Path | None:
    """Return the file, or the folder of the package, that a user's class or function comes from.

    None of what a script holds, which travels whole, and of what is installed, as it must be on every machine then.
    """
    top = sys.modules[thing.__module__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(top, "__path__", [])]
    file = getattr(top, "__file__", None)
    if top.__name__ == "__main__" or not (folders or file):
        return None
    path = (folders[0] if folders else Path(file or "")).resolve()
    installed = (Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib"))
    return None if any(path.is_relative_to(folder) for folder in installed) else path


def blame(error: BaseException, thing: Any, option: str, when: str) -> InputError:
    """Return what a user's class or function raised as one line that names the place in its module."""
    module = getattr(sys.modules.get(thing.__module__), "__file__", None)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == module]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else module
    what = f"{thing.__name__} raised {type(error).__name__} {when}: {error}"
    return InputError(what, file=where, key=option, hint="run it alone, with the same input, to see the traceback")
