"""Ray clusters of two nodes on this machine, for tests."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


def started(split: Callable[[], Any]) -> Any:
    """A node; Ray waits half a minute for one to start, which a busy machine may exceed."""
    for _ in range(2):
        try:
            return split()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return split()


@contextlib.contextmanager
def cluster(nodes: int = 2) -> Iterator[tuple[Cluster, list[Any]]]:
    """A cluster whose head takes no jobs, and its worker nodes."""
    made = started(lambda: Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0}))
    try:
        yield made, [started(lambda: made.add_node(**NODE)) for _ in range(nodes)]
    finally:
        made.shutdown()
