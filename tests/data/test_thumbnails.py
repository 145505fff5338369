"""An image becomes a small PNG, whatever its size and channels."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from tune_fmnist.data.thumbnails import LONGEST, thumbnail


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        ((28, 28), (28, 28), "L"),
        ((28, 28, 1), (28, 28), "L"),
        ((9, 8, 2), (8, 9), "L"),
        ((32, 32, 3), (32, 32), "RGB"),
        ((32, 32, 4), (32, 32), "RGBA"),
        ((224, 112, 3), (LONGEST // 2, LONGEST), "RGB"),
    ],
)
def test_a_thumbnail_shows_the_image(shape: tuple[int, ...], size: tuple[int, int], mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shown = PIL.Image.open(io.BytesIO(thumbnail(image)))
    assert (shown.size, shown.mode, shown.format) == (size, mode, "PNG")
    if max(shape[:2]) <= LONGEST:
        pixels = image if mode != "L" else image.reshape(*shape[:2], -1).mean(axis=2).round()
        assert np.array_equal(np.asarray(shown), pixels.astype(np.uint8))
