"""A network and images of the user's own over several hosts, which have neither before the search is submitted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cluster.lab import ROOT, Lab
from tests.cluster.launcher import alive, command, trials_of
from tests.s3 import S3
from tune_fmnist import data
from tune_fmnist.base.errors import InputError
from tune_fmnist.runtime.nodes import check_code
from tune_fmnist.runtime.ray_session import running_ray

EXAMPLE = ROOT / "examples" / "resnet.py"


def test_a_network_and_a_folder_are_brought_to_every_node(
    lab: Lab, s3_of_lab: S3, cluster: str, training: data.Images
) -> None:
    head, here = lab.host(1), lab.client.path("/root/mine")
    (here / "small").mkdir(parents=True)
    shutil.copy(EXAMPLE, here / "mynet.py")
    images, labels = training.images, training.labels
    parts = {"x_train": images[:600], "y_train": labels[:600], "x_test": images[600:700], "y_test": labels[600:700]}
    np.savez(here / "small" / "images.npz", **parts)
    command(lab, "up", cluster)
    lab.await_true(lambda: alive(lab) == 3, "three nodes")
    options = "--model mynet:ResNet --dataset small --trials 6 --max-epochs 2 --scheduler fifo --name mine "
    options += f"--confirm 0 --retrain-seeds 1 --storage '{s3_of_lab.uri('own')}'"
    submit = f"cd /root/mine && PYTHONPATH={ROOT} python -m tune_fmnist.cluster submit {cluster} -- {options}"
    lab.client.run("bash", "-c", submit)
    record, log = head.path("/root/results/mine/search.json"), head.path("/root/results/mine.log")

    def over() -> bool:
        ended = record.exists() and json.loads(record.read_text())["state"] != "running"
        return ended or bool(log.exists() and not head.processes("tune_fmnist.search"))

    lab.await_true(over, "the end", 300)
    state = json.loads(record.read_text())["state"] if record.exists() else "none"
    assert state == "finished", log.read_text()[-3000:]
    rows = trials_of(head, "mine")
    assert {(row["status"], row["dataset"]) for row in rows} == {("completed", "small/")}
    assert {row["node"] for row in rows} == {"host1", "host2", "host3"}


@pytest.fixture
def two_nodes() -> Any:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_what_a_node_cannot_import_is_one_line_that_names_it(two_nodes: Any, tmp_path: Path) -> None:
    file = tmp_path / "only_here.py"
    # The driver has imported it; a node has not what it needs.
    file.write_text("import a_library_that_no_node_has\n")
    with running_ray(two_nodes.address, code=file), pytest.raises(InputError) as caught:
        check_code("only_here")
    line = str(caught.value)
    assert "--model: node " in line
    assert "cannot import only_here: ModuleNotFoundError: No module named 'a_library_that_no_node_has'" in line
    assert "\n" not in line
