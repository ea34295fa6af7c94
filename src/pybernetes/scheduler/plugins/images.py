"""ImageLocality: nodes that have the pod's images already, the more the fewer nodes lack them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...hooks.scheduling import MAX_NODE_SCORE, ClusterEvent, CycleState, Handle, Plugin, Rows, Scope
from ..columns import Array
from ..images import normalized_image
from ..nodetable import NodeTable

_MB = 1024 * 1024
MINIMUM, MAXIMUM_A_CONTAINER = 23 * _MB, 1000 * _MB


class ImageLocality(Plugin):
    name = "ImageLocality"
    scope = Scope.NODE

    def __init__(self, args: Mapping[str, Any], handle: Handle) -> None:
        self._table: NodeTable = handle.nodes

    def score(self, state: CycleState, pod: Any, rows: Rows) -> Array:
        total = np.zeros(self._table.capacity, dtype=np.int64)
        nodes = max(1, len(self._table))
        for image in pod.facts.images:
            holders = self._table.images.rows.get(normalized_image(image))
            if holders:
                # An image that few nodes have counts less: else those few would draw all its pods.
                spread = len(holders) / nodes
                at = np.fromiter(holders.keys(), dtype=np.int64, count=len(holders))
                sizes = np.fromiter(holders.values(), dtype=np.float64, count=len(holders))
                total[at] += (sizes * spread).astype(np.int64)
        maximum = MAXIMUM_A_CONTAINER * pod.facts.containers
        clipped = np.minimum(np.maximum(total[rows], MINIMUM), max(maximum, MINIMUM))
        found: Array = MAX_NODE_SCORE * (clipped - MINIMUM) // max(1, maximum - MINIMUM)
        return found

    def events(self) -> Iterable[ClusterEvent]:
        return ()
