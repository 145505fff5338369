"""The IDX format of MNIST's files: read, and proven by their hashes."""

from __future__ import annotations

import gzip
import hashlib
import math
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_fmnist.base.errors import InputError


class Expected(NamedTuple):
    """What a file must be: the SHA-256 of its uncompressed content or the MD5 of its archive, and its array's shape."""

    digest: str
    shape: tuple[int, ...]

    @property
    def is_of_archive(self) -> bool:
        """Whether the digest is the MD5 of the gzipped file."""
        return len(self.digest) == 2 * hashlib.md5(usedforsecurity=False).digest_size


def read_array(path: Path, name: str, files: Mapping[str, Expected]) -> NDArray[np.uint8]:
    """Return the array in a file, read-only.

    Args:
        path: the file, plain or gzipped.
        name: which of the dataset's files it must be.
        files: all files of the dataset, by name.

    Raises:
        InputError: it cannot be read, or is another file.
    """
    shape = files[name].shape
    return np.frombuffer(proven_content(path, name, files), np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def proven_content(path: Path, name: str, files: Mapping[str, Expected]) -> bytes:
    """Return a file's uncompressed content; arguments and errors as of ``read_array``."""
    expected = files[name]
    try:
        if expected.is_of_archive:
            return _proven_archive(path, expected)
        content = _content(path, _size(expected.shape))
    except (OSError, EOFError, zlib.error) as error:
        raise _unusable(path, f"cannot be read ({error})") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.digest:
        raise _unusable(path, _difference(content, digest, expected.shape, files))
    return content


def read_any(path: Path, dimensions: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the array in an IDX file of bytes, of which nothing is known; read-only.

    Args:
        path: the file, plain or gzipped.
        dimensions: how many the array may have.

    Raises:
        InputError: it cannot be read, is no such file, or is cut or longer than its header says.
    """
    hint = "see https://www.tensorflow.org/datasets/catalog/mnist, or use an .npz instead"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
            content = opened.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", file=path, hint=hint) from None
    start = content[:4].hex() or "nothing"
    if content[:3] != b"\0\0\x08" or content[3] not in dimensions:
        many = " or ".join(map(str, dimensions))
        what = f"is not an IDX file of bytes in {many} dimensions (it begins with {start})"
        raise InputError(what, file=path, hint=hint)
    header = 4 + 4 * content[3]
    shape = struct.unpack_from(f">{content[3]}I", content, 4) if len(content) >= header else ()
    if not shape or len(content) != _size(shape):
        what = f"is {len(content)} bytes long uncompressed, not {_size(shape) if shape else header}"
        raise InputError(what, file=path, hint="it is cut or damaged: write it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _proven_archive(path: Path, expected: Expected) -> bytes:
    size = _size(expected.shape)
    if not path.is_file() or path.stat().st_size > size:
        raise _unusable(path, "is not a regular file of the dataset's size")
    archive = path.read_bytes()
    digest = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    if digest != expected.digest:
        raise _unusable(path, f"is not the archive that was published (MD5 {digest}, not {expected.digest})")
    return gzip.decompress(archive)


def _content(path: Path, size: int) -> bytes:
    """Return the uncompressed content of a file, of ``size`` bytes or fewer: a pipe or a device may have no end."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError("not a regular file")
    if path.suffix != ".gz":
        if about.st_size > size:
            raise _unusable(path, f"is {about.st_size} bytes long uncompressed, not {size}")
        with path.open("rb") as plain:
            return plain.read(size)
    # What cannot be compressed becomes a little longer.
    if about.st_size > (most := size + size // 1_000 + 1_000):
        raise _unusable(path, f"is {about.st_size} bytes long, not {most} at most")
    with gzip.open(path) as compressed:
        content = compressed.read(size + 1)
    if len(content) > size:
        raise _unusable(path, f"is more than {size} bytes long uncompressed")
    return content


def _size(shape: tuple[int, ...]) -> int:
    """Return the bytes of a file: a magic number and the sizes, each of 4 bytes, and the array."""
    return 4 + 4 * len(shape) + math.prod(shape)


def _unusable(path: Path, what: str) -> InputError:
    hint = "replace it (in the cache: delete it and run again) or name another folder with --data-root"
    return InputError(what, file=path, hint=hint)


def _difference(content: bytes, digest: str, shape: tuple[int, ...], files: Mapping[str, Expected]) -> str:
    """Say how a file is not the expected one: IDX is a magic number, the sizes, each 4 bytes big endian, and bytes."""
    for name, other in files.items():
        if digest == other.digest:
            return f"holds what belongs in {name}"
    header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
    if content[:4] != header[:4] or len(content) < len(header):
        start = content[:4].hex() or "nothing"
        return f"is not an IDX file of bytes in {len(shape)} dimensions (it begins with {start})"
    if content[: len(header)] != header:
        return f"holds an array of {struct.unpack_from(f'>{len(shape)}I', content, 4)}, not {shape}"
    if len(content) != (size := _size(shape)):
        return f"is {len(content)} bytes long uncompressed, not {size}"
    return f"differs in content from the published file (SHA-256 {digest})"
