"""One writer per search on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.store.lock import only_writer
from tune_fmnist.store.paths import SearchPaths


@pytest.mark.parametrize("content", [b"", b"x", b"[]", b'"x"', b'{"pid": 7, "no', b"\xff\xfe", None])
def test_who_comes_second_is_told_also_by_a_damaged_file(tmp_path: Path, content: bytes | None) -> None:
    paths = SearchPaths(tmp_path)
    with only_writer(paths):
        if content is None:
            paths.holder.unlink()
        else:
            paths.holder.write_bytes(content)
        with (
            pytest.raises(InputError, match=r"--name: is in use by process \? on \? since \?; wait for it or end it$"),
            only_writer(paths),
        ):
            pass
    assert not paths.holder.exists()
