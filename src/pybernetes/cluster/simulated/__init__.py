"""Simulated nodes: Node objects with leases whose pods run by a description, with no containers, all in one process.

``stages`` says how pods behave, ``machine`` (pure) what a pod's status is at a moment, ``nodes`` registers the nodes and
reports. Everything else of the cluster (scheduler, controllers, clients) sees ordinary nodes and pods.
"""

from .nodes import SimulatedNodes
from .stages import Stage, StageError, load_stages, parse_stages

__all__ = ["SimulatedNodes", "Stage", "StageError", "load_stages", "parse_stages"]
