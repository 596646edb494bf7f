"""Ray clusters of two nodes on this machine, for tests."""

import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@contextlib.contextmanager
def cluster(nodes: int = 2) -> Iterator[tuple[Cluster, list[Any]]]:
    """A cluster whose head takes no jobs, and its worker nodes."""
    made = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        yield made, [made.add_node(**NODE) for _ in range(nodes)]
    finally:
        made.shutdown()
