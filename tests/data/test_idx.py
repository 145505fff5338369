"""Files of any dataset in the IDX format, named by what is expected of them."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from tune_fmnist.base.errors import InputError
from tune_fmnist.data.idx import Expected, read_array

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = struct.pack(">4I", 0x0803, 2, 3, 4) + PIXELS.tobytes()
FILES = {"images": Expected(hashlib.sha256(CONTENT).hexdigest(), (2, 3, 4))}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_array_comes_back_read_only(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(CONTENT) if suffix else CONTENT)
    array = read_array(path, "images", FILES)
    assert np.array_equal(array, PIXELS)
    assert not array.flags.writeable


def test_another_content_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(CONTENT[:-1] + b"\0")
    with pytest.raises(InputError, match="differs in content") as caught:
        read_array(path, "images", FILES)
    assert caught.value.file == path
