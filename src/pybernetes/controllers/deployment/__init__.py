"""Deployment: declarative rollout of a pod template over ReplicaSets."""
