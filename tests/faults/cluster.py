"""``python -m tests.faults.cluster``: a cluster whose head computes nothing, with two nodes, one of them to be lost."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Say the address, then answer the standard input: ``head`` with its pid, ``lose`` after a node's loss."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "head":
            (head,) = cluster.head_node.all_processes["gcs_server"]
            print(head.process.pid, flush=True)
        else:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("lost", flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
