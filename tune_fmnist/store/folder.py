"""Where every machine of a search can write: a folder that all share, S3, or any S3-compatible server."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from filelock import FileLock
from pyarrow.fs import FileSelector, FileSystem, FileType

from tune_fmnist.base.errors import InputError
from tune_fmnist.base.files import publish

_HINT = "give a folder that all machines share, or s3://BUCKET/PREFIX"


@dataclass(frozen=True)
class Folder:
    """A folder on a storage; a plain value, so that it goes to other machines.

    A file is there whole or not at all: it is renamed to its name, or put as one object.

    Args:
        path: an absolute one, or bucket and prefix.
        root: the URI of the bucket, with Arrow's options behind a ``?``; empty for a path of this machine.
    """

    path: str
    root: str = ""

    @classmethod
    def at(cls, uri: str) -> Folder:
        """Return the folder that ``--storage`` names; nothing is asked of it yet.

        An endpoint that ``$AWS_ENDPOINT_URL`` names becomes part of it, so that every machine uses the same.

        Raises:
            InputError: it is neither a path nor an ``s3://`` URI, or holds a password.
        """
        if "://" not in uri or uri.startswith("file://"):
            path = Path(uri.removeprefix("file://")).expanduser()
            return cls(str(path.resolve()))
        parts = urlsplit(uri)
        if parts.scheme != "s3" or not parts.hostname:
            raise InputError(f"invalid value {uri!r}", key="--storage", hint=_HINT)
        if "@" in parts.netloc:
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead: this one is recorded in search.json"
            raise InputError("holds a password", key="--storage", hint=hint)
        query = parts.query
        if "endpoint_override" not in parse_qs(query) and (endpoint := _endpoint()):
            host = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
            query += f"{'&' if query else ''}endpoint_override={host.netloc}&scheme={host.scheme}"
        folder = cls(f"{parts.netloc}{parts.path.rstrip('/')}", f"s3://{parts.netloc}?{query}")
        try:
            _file_system(folder.root)
        except (OSError, ValueError) as error:
            raise InputError(f"{uri!r} cannot be used ({error})", key="--storage", hint=_HINT) from None
        return folder

    def __truediv__(self, name: str) -> Folder:
        return replace(self, path=f"{self.path}/{name}")

    def __str__(self) -> str:
        """Return what ``at`` makes this folder of."""
        if not self.root:
            return self.path
        query = urlsplit(self.root).query
        return f"s3://{quote(self.path)}{'?' if query else ''}{query}"

    def write(self, name: str, content: bytes) -> None:
        """Publish a file, in place of the one that is there; the folder is made where it is missing."""
        if not self.root:
            with publish(Path(self.path) / name) as partial:
                partial.write_bytes(content)
            return
        with _file_system(self.root).open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(content)

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        if not self.root:
            return (Path(self.path) / name).read_bytes()
        with _file_system(self.root).open_input_stream(f"{self.path}/{name}") as stream:
            content: bytes = stream.read()
            return content

    def names(self) -> list[str]:
        """Return the names of its files, sorted; none if it is not there."""
        if not self.root:
            folder = Path(self.path)
            return sorted(file.name for file in folder.iterdir() if not file.is_dir()) if folder.is_dir() else []
        infos = _file_system(self.root).get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == FileType.File)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            if self.root:
                _file_system(self.root).delete_file(f"{self.path}/{name}")
            else:
                (Path(self.path) / name).unlink()

    def clear(self) -> None:
        """Remove the folder and all that is in it, if it is there."""
        if not self.root:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        files = _file_system(self.root)
        if files.get_file_info(self.path).type != FileType.NotFound:
            files.delete_dir(self.path)

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Let one process at a time into the block, whichever machine it runs on; on S3, which has no lock, any.

        Raises:
            filelock.Timeout: another one is in it for longer than ``seconds``.
        """
        if self.root:
            yield
            return
        Path(self.path).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(self.path) / ".holder.lock", timeout=seconds):
            yield

    def same(self, folder: Path) -> bool:
        """Return whether this is a folder of this machine, by whatever path."""
        if self.root:
            return False
        here = Path(self.path)
        return here.resolve() == folder.resolve() or (here.exists() and folder.exists() and here.samefile(folder))

    def trouble(self, seen: str | None = None) -> str:
        """Write, read and remove a file; return why this machine cannot, and nothing if it can.

        Args:
            seen: a file that another machine left there.
        """
        name = f"check-{uuid.uuid4().hex}"
        content = name.encode()
        try:
            if seen is not None and seen not in self.names():
                return "is not the folder of that name on the other machines"
            self.write(name, b"")
            try:
                self.write(name, content)
                if self.read(name) != content or name not in self.names():
                    return "what was written reads back differently"
            finally:
                self.remove(name)
        except (OSError, ValueError) as error:
            return " ".join(str(error).split())
        return ""


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


@lru_cache(maxsize=4)
def _file_system(root: str) -> Any:
    """Return Arrow's file system of a bucket, one for each process."""
    # A file is then one request, not three.
    return FileSystem.from_uri(f"{root}&allow_delayed_open=true")[0]
