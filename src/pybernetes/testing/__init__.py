"""What we ship to people who test against Kubernetes: a real cluster inside the test process.

``async with start_cluster() as cluster`` gives an API server on the memory store, all controllers, the scheduler and simulated
nodes, in the caller's event loop; ``run_virtually`` runs a whole test on a clock that jumps. ``pytest_plugin`` has the fixtures.
"""

from .cluster import Cluster, ClusterThread, run_virtually, start_cluster

__all__ = ["Cluster", "ClusterThread", "run_virtually", "start_cluster"]
