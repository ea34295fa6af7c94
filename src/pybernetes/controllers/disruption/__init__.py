"""PodDisruptionBudgets: how many pods may be evicted now. The eviction call of the API server reads and charges the status."""
