"""``tune-fmnist cluster`` at the lab's client, and what of a cluster and its searches is seen from outside."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.cluster.lab import ROOT, Host, Lab
from tune_fmnist.store import tables

RAY = r"raylet|gcs_server|ray::|ray/_private|monitor\.py"
"""What each of Ray's processes has in its command line."""


def onprem(lab: Lab, numbers: tuple[int, ...] = (1, 2, 3)) -> str:
    """Return clusters/onprem.yaml with the few values that must differ: addresses, key, and what shares a processor."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / "onprem.yaml").read_text())
    addresses = [lab.host(number).address for number in numbers]
    config["provider"] |= {"head_ip": addresses[0], "worker_ips": addresses[1:]}
    return _laid_over(config, "--num-cpus=1 --object-store-memory=300000000")


def aws(group: str) -> str:
    """Return cluster.yaml with the few values that must differ: who logs in, at which address, and what takes long.

    Args:
        group: the security group that a user would put in.
    """
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    config["provider"]["use_internal_ips"] = True
    config["idle_timeout_minutes"] = 0.2
    for node in config["available_node_types"].values():
        node["node_config"]["SecurityGroupIds"] = [group]
    # Memory is not divided between the hosts; the processors and the GPU are those that the file gives a machine.
    return _laid_over(config, "--object-store-memory=300000000")


def _laid_over(config: dict[str, Any], size: str) -> str:
    config["auth"]["ssh_user"] = "root"
    # The environment is the one that runs the tests.
    config["setup_commands"] = [line for line in config["setup_commands"] if "pip install" not in line]
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        config[name] = [re.sub(r"ray start", f"ray start {size}", line) for line in config[name]]
    text: str = yaml.safe_dump(config)
    return text


def command(lab: Lab, *arguments: object, check: bool = True, **environment: str) -> str:
    """Run ``tune-fmnist cluster`` at the client and return what it said."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    done = lab.client.run("env", *variables, "python", "-m", "tune_fmnist.cluster", *arguments, check=check)
    return done.stdout + done.stderr


def alive(lab: Lab, head: int = 1) -> int:
    """Return how many nodes the head counts."""
    script = "import ray; ray.init('auto', log_to_driver=False); print('alive', sum(n['Alive'] for n in ray.nodes()))"
    said = lab.host(head).run("env", "RAY_AUTH_MODE=token", "python", "-c", script, check=False).stdout
    found = re.search(r"alive (\d+)", said)
    return int(found[1]) if found else 0


def trials_of(head: Host, search: str) -> list[dict[str, Any]]:
    """Return the rows of a search's table of trials on its head, none before there is one."""
    file = head.path(f"/root/results/{search}/trials.parquet")
    return tables.read(file, tables.TRIALS).to_pylist() if file.exists() else []
