"""The real data set, found or fetched once for all tests."""

from __future__ import annotations

import pytest

from tune_fmnist import data


@pytest.fixture(scope="session")
def source() -> data.Source:
    """Where Fashion-MNIST is on this machine."""
    return data.locate(None)


@pytest.fixture(scope="session")
def training(source: data.Source) -> data.Images:
    """The 60,000 training images, read-only."""
    return data.read_training(source)


@pytest.fixture(scope="session")
def small_split(training: data.Images) -> data.Split:
    """1,600 images to train on and 400 to validate."""
    return data.split(data.limited(training, 2_000, seed=0), seed=0)
