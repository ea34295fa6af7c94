"""Node IPAM: each node gets its range of pod addresses out of the cluster's."""
