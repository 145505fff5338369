"""An image as a small PNG, for people to look at."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LONGEST: Final = 64
"""Pixels of the longer side at most."""


def thumbnail(image: NDArray[np.uint8]) -> bytes:
    """Return an image as PNG, made smaller if it is longer than ``LONGEST``.

    Args:
        image: (height, width) or (height, width, channels), 0 to 255.  Three channels are colours, four have opacity;
            of two the mean is shown.
    """
    # A search imports this file at its start, and needs it at its end.
    from PIL import Image

    shown: NDArray[Any] = image
    if image.ndim == 3 and image.shape[2] < 3:
        shown = image.mean(axis=2).round().astype(np.uint8)
    picture = Image.fromarray(shown)
    picture.thumbnail((LONGEST, LONGEST))
    written = io.BytesIO()
    picture.save(written, format="PNG", optimize=True)
    return written.getvalue()
