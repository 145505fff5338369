"""A real S3 server on this machine: SeaweedFS, which checks signatures."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


class S3(NamedTuple):
    """A server with a bucket named ``bucket``; ``address`` is host and port."""

    address: str

    def uri(self, prefix: str) -> str:
        return f"s3://bucket/{prefix}?endpoint_override={self.address}&scheme=http"


def weed() -> str | None:
    """Return SeaweedFS's program, which comes with the extra ``cluster``."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1", inside: tuple[str, ...] = ()) -> Iterator[S3]:
    """Run a server for the block, its data in ``folder``; ``inside`` is a command that runs one in another place."""
    program = weed()
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "somebody", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    s3, *others = _free_ports(8) if not inside else [8333, 9333, 19333, 8888, 18888, 8080, 18080, 8334]
    names = ("master.port", "master.port.grpc", "filer.port", "filer.port.grpc", "volume.port", "volume.port.grpc")
    ports = [f"-{name}={port}" for name, port in zip(names, others, strict=False)]
    command = [
        *inside, program, "server", f"-dir={folder}", f"-ip={host}", "-s3", f"-s3.config={config}",
        f"-s3.port={s3}", f"-s3.port.grpc={others[-1]}", "-volume.max=100", "-master.volumeSizeLimitMB=64", *ports,
        # These have fixed ports, which a second server would miss.
        "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = S3(f"{host}:{s3}")
        _make_bucket(server, inside)
        yield server
    finally:
        # Nothing of it is needed any more, and it would take its time.
        process.kill()
        process.wait()


_MAKE = """
import sys, time
from pyarrow.fs import FileSystem
uri, until = sys.argv[1], time.monotonic() + 60
while True:
    try:
        FileSystem.from_uri(uri)[0].create_dir("bucket")
        break
    except OSError:
        if time.monotonic() > until:
            raise
"""


def _make_bucket(server: S3, inside: tuple[str, ...]) -> None:
    uri = server.uri("") + "&allow_bucket_creation=true"
    subprocess.run([*inside, sys.executable, "-c", _MAKE, uri], check=True, env={**os.environ, **KEYS})


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
