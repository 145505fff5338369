"""A user's mistake as one line: what is wrong, where, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError

_REWORDED: Final = (
    ("^Value error, ", ""),
    ("^(Input|List|Dictionary|String) should ", "must "),
    ("^Input is not ", "must be "),
    ("be greater than or equal to", "be at least"),
    ("be less than or equal to", "be at most"),
    (", unable to parse .*| after validation, not .*| or instance of .*", ""),
)
"""Pydantic's words by pattern, and a user's."""


class FailedError(Exception):
    """A search failed, or what it computes with has gone; commands print why in one line and exit with status 1."""


KeyPath = tuple[int | str, ...]
"""Where a value lies, as Pydantic has it."""


class InputError(Exception):
    """Something the user gave cannot be used; commands print it as one line and exit with status 2.

    Args:
        what: what is wrong, in a few words that quote the offending value.
        file: the file it stands in, if it stands in one.
        key: the option, key or column it stands under.
        hint: what to do about it.
    """

    def __init__(self, what: str, *, file: Path | str | None = None, key: str | None = None, hint: str) -> None:
        self.what, self.file, self.key, self.hint = what, file, key, hint
        where = ": ".join(str(part) for part in (file, key) if part is not None)
        super().__init__(" ".join(f"{where + ': ' if where else ''}{what}; {hint}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process borders.
        return (_rebuild, (self.what, self.file, self.key, self.hint))


def _rebuild(what: str, file: Path | str | None, key: str | None, hint: str) -> InputError:
    return InputError(what, file=file, key=key, hint=hint)


def invalid(
    error: ValidationError,
    *,
    file: Path | str | None = None,
    hint: str | None = None,
    known: Callable[[KeyPath], Iterable[str]] = lambda path: (),
    name: Callable[[KeyPath], str] = lambda path: ".".join(map(str, path)),
) -> InputError:
    """Return the first mistake that Pydantic found, as ``InputError``.

    Args:
        error: what Pydantic raised.
        file: the file that the values stand in.
        hint: what to do; Pydantic's own words where it has some, if None.
        known: returns the keys that may stand where a path ends, to name the nearest one to an unknown key.
        name: turns the path to the value into the key that the user knows.
    """
    # An unknown key is often the misspelt one that is missing.
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    path, given, kind, context = first["loc"], first["input"], first["type"], first.get("ctx", {})
    key, must = name(path) or None, _requirement(first["msg"])
    if kind == "extra_forbidden":
        return unknown(key or "", list(known(path)), file=file)
    if kind == "missing":
        return InputError("missing", file=file, key=key, hint=hint or "add it")
    if kind == "union_tag_not_found":
        return InputError(f"missing {context['discriminator']}", file=file, key=key, hint=hint or "add it")
    if kind == "union_tag_invalid":
        what = f"invalid {context['discriminator'].strip(chr(39))} {context['tag']!r}"
        must = f"must be one of {context['expected_tags']}"
    elif isinstance(given, Mapping) and kind == "value_error":
        # What is demanded names the value in it that is wrong.
        what = "invalid"
    else:
        shown = f"a {type(given).__name__}" if isinstance(given, Mapping | list) else repr(given)
        what = f"invalid value {shown}"
    if hint is None:
        return InputError(what, file=file, key=key, hint=must)
    return InputError(f"{what}: {must}", file=file, key=key, hint=hint)


def _requirement(message: str) -> str:
    """Return what Pydantic demands of a value, in a user's words."""
    for pattern, words in _REWORDED:
        message = re.sub(pattern, words, message)
    return f"{message[:1].lower()}{message[1:]}"


def unknown(key: str, known: Sequence[str], *, file: Path | str | None = None) -> InputError:
    """Return the error of a key that is none of the ``known`` ones; it names the nearest one, or all."""
    hint = f"use one of {', '.join(sorted(known))}" if known else "remove it"
    if near := get_close_matches(key.rpartition(".")[2], known, n=1):
        hint = f"did you mean {near[0]}?"
    return InputError("unknown", file=file, key=key, hint=hint)


def last_line(error: BaseException) -> str:
    """Return what an error says; where it comes from another process, that process's traceback stands before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
