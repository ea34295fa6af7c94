"""Figures of the node, its pods and containers, for ``/stats/summary`` and the metrics endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api.times import to_time
from .context import Context
from .node.machine import Machine

if TYPE_CHECKING:
    from .kubelet import Kubelet


class Stats:
    """Satisfies ``interfaces.StatsSource``."""

    def __init__(self, context: Context, machine: Machine, kubelet: Kubelet) -> None:
        self._context, self._machine, self._kubelet = context, machine, kubelet

    async def summary(self, only_cpu_and_memory: bool = False) -> dict[str, Any]:
        now = to_time(self._context.clock.now())
        return {"node": {"nodeName": self._kubelet.node_name, "startTime": now}, "pods": []}

    async def metrics(self) -> bytes:
        return b""

    async def cadvisor_metrics(self) -> bytes:
        return b""

    async def resource_metrics(self) -> bytes:
        return b""

    async def probe_metrics(self) -> bytes:
        return b""
