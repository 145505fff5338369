"""``python -m tests.faults.cluster``: a cluster whose head computes nothing, with two nodes, one of them to be lost."""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Say the address, and lose a node for each line on the standard input; the head's pid is said, not lost."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, include_dashboard=False) for _ in range(2)]
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if "head" in line:
            (head,) = cluster.head_node.all_processes["gcs_server"]
            print(head.process.pid, flush=True)
            continue
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("lost", flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
