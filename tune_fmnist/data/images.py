"""Images as arrays, and their seeded subset and split, the same on every machine."""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tune_fmnist.base.datasets import DataShape
from tune_fmnist.base.errors import InputError

_FEWEST: Final = 10
"""Images of each class in the smallest subset: eight to train on and two to validate."""

Labels = NDArray[np.uint8] | NDArray[np.uint16]


class Images(NamedTuple):
    """Images and what is on them.

    Attributes:
        images: (n, height, width) or (n, height, width, channels) uint8, 0 black to 255 white.
        labels: (n,) uint8, or uint16 of more than 256 classes: places in the dataset's classes.
        classes: how many classes there are.
    """

    images: NDArray[np.uint8]
    labels: Labels
    classes: int

    @property
    def shape(self) -> DataShape:
        """What a network is built for that takes these images."""
        height, width, *channels = self.images.shape[1:]
        return DataShape((channels[0] if channels else 1, height, width), self.classes)


class Split(NamedTuple):
    """A training and a validation part, and the ``hash`` (16 hexadecimal digits) of which images are where.

    Equal hashes mean the same images in the same parts and order; another seed, subset or data set has another hash.
    """

    train: Images
    validation: Images
    hash: str


def limited(images: Images, count: int | None, seed: int) -> Images:
    """Return a seeded subset of ``count`` images, in their order, in which each class keeps its share.

    Classes that cannot have their exact share are rounded by largest remainder, the first classes first.

    Args:
        images: what to draw from.
        count: how many; ``None`` returns all.
        seed: 0 or more.

    Raises:
        InputError: ``count`` is less than ten of each class or more than there are.
    """
    have = len(images.labels)
    if count is None or count == have:
        return images
    fewest = _FEWEST * images.classes
    if not fewest <= count < have:
        what = f"cannot select {count} training images"
        raise InputError(what, key="--limit-train", hint=f"use {fewest} to {have}")
    scaled = _class_counts(images.labels) * count
    shares, remainders = scaled // have, scaled % have
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    return _take(images, _drawn(images.labels, shares, np.random.SeedSequence(seed, spawn_key=(0,))))


def split(images: Images, seed: int) -> Split:
    """Split into 80 % to train on and 20 % to validate (to the nearest image of each class), both in their order.

    The hash is the SHA-256 of each part's number of images (8 bytes, little endian), pixels and labels, training
    first: it depends on nothing but which images are where.  ``seed`` is 0 or more.
    """
    validation_counts = (2 * _class_counts(images.labels) + 5) // 10
    held_out = _drawn(images.labels, validation_counts, np.random.SeedSequence(seed, spawn_key=(1,)))
    train, validation = _take(images, ~held_out), _take(images, held_out)
    digest = hashlib.sha256()
    for part in (train, validation):
        digest.update(struct.pack("<Q", len(part.labels)))
        digest.update(part.images.data)
        digest.update(part.labels.data)
    return Split(train, validation, digest.hexdigest()[:16])


def _class_counts(labels: Labels) -> NDArray[np.intp]:
    return np.bincount(labels)


def _drawn(labels: Labels, counts: NDArray[np.intp], seed: np.random.SeedSequence) -> NDArray[np.bool_]:
    """Return a mask (n,) over ``counts[c]`` images of each class ``c``, drawn without replacement."""
    # NumPy promises the same raw bits in every version, but not the same `permutation` (NEP 19).
    keys = np.random.PCG64(seed).random_raw(len(labels))
    mask = np.zeros(len(labels), np.bool_)
    for label, count in enumerate(counts):
        members = np.flatnonzero(labels == label)
        mask[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    return mask


def _take(images: Images, mask: NDArray[np.bool_]) -> Images:
    return Images(images.images[mask], images.labels[mask], images.classes)
