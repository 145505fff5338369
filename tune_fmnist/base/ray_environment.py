"""What Ray finds around it: variables that it reads when it is imported, the user's token, and room for its sockets."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from tune_fmnist.base.errors import InputError

VARIABLES: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run`, Ray would build an environment for each worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A search keeps its own tables, so Ray's loggers and snapshots only cost time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # Ray's own handling of Ctrl-C would swallow the interruption.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Where Ray's own process on this machine has died, Ray's C++ ends this program without a word as soon as it uses
    # the memory that both share.  So what goes to tasks and comes back is sent in their messages, up to 8 MiB.
    "RAY_max_direct_call_object_size": str(8 * 2**20),
}

FOLDER_PREFIX: Final = "ray-"
"""How the folder begins that a Ray of one's own keeps its files in."""

_LONGEST_SOCKET: Final = 107
"""Bytes of the longest path that a socket can have on Linux."""

_SOCKET: Final = f"{FOLDER_PREFIX}12345678/r/session_2026-01-02_03-04-05_123456_1234567/sockets/plasma_store"
"""The longest path of a socket below the folder for temporary files."""


def set_defaults() -> None:
    """Set each variable that the user has not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def temporary_folder() -> Path:
    """Return where a Ray of one's own makes its folder: ``$RAY_TMPDIR``, or where all temporary files go.

    Raises:
        InputError: the paths of its sockets would be too long there.
    """
    key = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()).absolute()
    most = _LONGEST_SOCKET - len(f"/{_SOCKET}")
    if (size := len(os.fsencode(folder))) > most:
        what = f"a path of {size} bytes, {str(folder)[:20]!r}..., is too long for Ray's sockets"
        raise InputError(what, key=key, hint=f"set RAY_TMPDIR to a folder of at most {most} bytes, such as /tmp")
    return folder


def keep_token() -> None:
    """See that there is a token, which Ray's processes ask each other for, and that only the user can read it.

    Ray would make it readable for everybody on the machine.

    Raises:
        InputError: its file cannot be made, or others can read it and that cannot be changed.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        # The user keeps it elsewhere.
        return
    file = Path.home() / ".ray" / "auth_token"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                file.chmod(0o600)
        else:
            with os.fdopen(descriptor, "w") as made:
                made.write(secrets.token_hex(32))
    except OSError as error:
        what = f"cannot be kept from others ({error.strerror})"
        raise InputError(what, file=file, hint="let HOME be a folder of yours, and the file yours alone") from None
