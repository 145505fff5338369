"""Three hosts and a client with an S3 server, for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.lab import CLIENT, NETWORK, Lab, built
from tests.cluster.launcher import command, onprem
from tests.s3 import S3, serving, weed


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Three hosts, the first of which is to be the head, and a client."""
    with built(3) as lab:
        yield lab


@pytest.fixture(scope="session")
def s3_of_lab(lab: Lab) -> Iterator[S3]:
    """An S3 server at the client, which all hosts reach."""
    if weed() is None:
        pytest.skip("no S3 server is installed: pip install 'tune-fmnist[cluster]'")
    with serving(lab.folder / "s3", f"{NETWORK}.{CLIENT}", lab.client.inside) as server:
        yield server


@pytest.fixture
def cluster(lab: Lab) -> Iterator[str]:
    """The file of a cluster of all hosts, at the client; afterwards it is down, and the first host is up again."""
    file = "/root/cluster.yaml"
    lab.client.path(file).write_text(onprem(lab))
    yield file
    command(lab, "down", file, check=False)
    if lab.host(1).process.poll() is not None:
        lab.power_on(1)
