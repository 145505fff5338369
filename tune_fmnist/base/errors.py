"""A user's mistake as one line: what is wrong, where, and how to mend it."""

from __future__ import annotations

from pathlib import Path


class InputError(Exception):
    """Something the user gave cannot be used; commands print it as one line and exit with status 2.

    Args:
        what: what is wrong, in a few words that quote the offending value.
        file: the file it stands in, if it stands in one.
        key: the option, key or column it stands under.
        mend: what to do about it.
    """

    def __init__(self, what: str, *, file: Path | str | None = None, key: str | None = None, mend: str) -> None:
        self.what, self.file, self.key, self.mend = what, file, key, mend
        where = ": ".join(str(part) for part in (file, key) if part is not None)
        super().__init__(" ".join(f"{where + ': ' if where else ''}{what}; {mend}".split()))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process borders.
        return (_rebuild, (self.what, self.file, self.key, self.mend))


def _rebuild(what: str, file: Path | str | None, key: str | None, mend: str) -> InputError:
    return InputError(what, file=file, key=key, mend=mend)


def last_line(error: Exception) -> str:
    """Return what an error says; where it comes from another process, that process's traceback stands before it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
