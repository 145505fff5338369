"""What TensorBoard, MLflow and Weights & Biases have of a search, read by these tools themselves."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import urlopen


@dataclass
class Seen:
    """A run as a tool has it: metrics as steps and values, and what else it says, as text."""

    metrics: defaultdict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    cells: dict[str, str] = field(default_factory=dict)
    succeeded: bool | None = None


class Tool(Protocol):
    """A tool, and where a search is exported to in it."""

    name: str
    into: str
    live: bool

    def runs(self) -> dict[str, list[Seen]]:
        """Return the runs by name; one that was exported twice would be there twice."""


class TensorBoard:
    """TensorBoard's reader of event files and its HParams page."""

    name, live = "tensorboard", True

    def __init__(self, folder: Path) -> None:
        self.into = str(folder)

    def runs(self) -> dict[str, list[Seen]]:
        from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
        from tensorboard.context import RequestContext
        from tensorboard.plugins.base_plugin import TBContext
        from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
        from tensorboard.util.tensor_util import make_ndarray

        found: dict[str, list[Seen]] = {}
        reader = plugin_event_multiplexer.EventMultiplexer(size_guidance={"tensors": 0})
        reader.AddRunsFromDirectory(self.into).Reload()
        for name, tags in reader.Runs().items():
            seen = Seen()
            for tag in tags["tensors"]:
                kind = reader.SummaryMetadata(name, tag).plugin_data.plugin_name
                for event in reader.Tensors(name, tag):
                    value = make_ndarray(event.tensor_proto)
                    if kind == "scalars":
                        seen.metrics[tag].append((event.step, float(value)))
                    elif kind == "text":
                        seen.cells[tag] = value.item().decode()
            found.setdefault(name.rpartition("/")[2], []).append(seen)
        provider = data_provider.MultiplexerDataProvider(reader, self.into)
        context = backend_context.Context(TBContext(logdir=self.into, data_provider=provider))
        asker = RequestContext()
        infos = context.experiment_from_metadata(asker, "", False, context.hparams_metadata(asker, ""), [])
        request = api_pb2.ListSessionGroupsRequest(
            allowed_statuses=[1, 2, 3, 0],
            start_index=0,
            slice_size=1000,
            col_params=[{"hparam": info.name, "include_in_result": True} for info in infos.hparam_infos],
        )
        listed = list_session_groups.Handler(asker, context, "", request).run()
        for group in listed.session_groups:
            (session,) = group.sessions
            (seen,) = found[session.name.rpartition("/")[2]]
            seen.succeeded = {1: True, 2: False}.get(session.status)
            for name, value in group.hparams.items():
                seen.cells[name] = _plain(value)
        return found


def _plain(value: Any) -> str:
    """Return a value of HParams as the table's cell is written; its numbers are floats."""
    if value.HasField("number_value"):
        return f"{value.number_value:.12g}"
    return str(value.string_value if value.HasField("string_value") else value.bool_value)


class Mlflow:
    """A server of MLflow, asked by its client."""

    name, live = "mlflow", True

    def __init__(self, uri: str, experiment: str) -> None:
        self.into, self._experiment = uri, experiment

    def runs(self) -> dict[str, list[Seen]]:
        from mlflow import MlflowClient

        client = MlflowClient(self.into)
        experiment = client.get_experiment_by_name(self._experiment)
        found: dict[str, list[Seen]] = defaultdict(list)
        for run in client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []:
            seen = Seen(cells=run.data.params | run.data.tags)
            seen.succeeded = {"FINISHED": True, "FAILED": False}.get(run.info.status)
            for name in run.data.metrics:
                told = client.get_metric_history(run.info.run_id, name)
                seen.metrics[name] = [(metric.step, metric.value) for metric in told]
            found[run.info.run_name].append(seen)
        return found


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run MLflow's server on loopback, with a database in a folder, for the block; yield its address."""
    port = free_port()
    store, address = f"sqlite:///{folder / 'mlflow.db'}", f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--default-artifact-root", str(folder)]
    # Of the jobs that a server runs for itself, nothing here needs any.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(f"{address}/health"):
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(server.pid, 15)
            server.wait()


def answers(address: str) -> bool:
    """Return whether a server answers with success."""
    try:
        with urlopen(address, timeout=5) as answer:  # noqa: S310 - an address of this machine
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


class Wandb:
    """The files that Weights & Biases leaves to send later."""

    name, live = "wandb", False

    def __init__(self, folder: Path) -> None:
        self.into = str(folder)

    def runs(self) -> dict[str, list[Seen]]:
        from wandb.proto import wandb_internal_pb2

        found: dict[str, list[Seen]] = defaultdict(list)
        for file in sorted(Path(self.into).glob("offline-run-*/run-*.wandb")):
            seen, name = Seen(), ""
            for content in _log_records(file.read_bytes()):
                record = wandb_internal_pb2.Record.FromString(content)
                kind = record.WhichOneof("record_type")
                if kind == "run":
                    name = record.run.display_name
                    config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                    seen.cells |= {key: str(value) for key, value in config.items()}
                    seen.cells |= {"group": record.run.run_group, "job_type": record.run.job_type}
                elif kind == "history":
                    for item in record.history.item:
                        key = item.key or ".".join(item.nested_key)
                        if not key.startswith("_"):
                            seen.metrics[key].append((record.history.step.num, float(json.loads(item.value_json))))
                elif kind == "summary":
                    for item in record.summary.update:
                        key = item.key or ".".join(item.nested_key)
                        if not key.startswith("_"):
                            seen.cells[key] = item.value_json
                elif kind == "exit":
                    seen.succeeded = record.exit.exit_code == 0
            found[name].append(seen)
        return found


def _log_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a ``.wandb`` file: LevelDB's log format, after a header of seven bytes."""
    block, record, place = 32768, b"", 7
    assert content[:4] == b":W&B"
    while place < len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        # Whole, first, middle, last part.
        if kind in (1, 4):
            yield record
            record = b""
