"""Tells the runtime how pods get their addresses, as soon as the node has a pod CIDR: writes the CNI configuration.

The runtime notices the file by itself and reports its network ready, which makes the node Ready.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ..api.meta import Object, name_of
from ..api.resources import NODES
from ..client.informer import InformerFactory
from ..concurrency import logger
from ..kubelet import cni

log = logger("cluster.pod-addresses")

VXLAN_OVERHEAD = 50
ETHERNET_MTU = 1500


class PodAddresses:
    """Writes the configuration into ``directory``; handed-out addresses are remembered in ``state``."""

    def __init__(
        self, factory: InformerFactory, *, node_name: str, directory: Path, state: Path, overlay: bool
    ) -> None:
        self._node_name, self._directory, self._state = node_name, directory, state
        self._mtu = ETHERNET_MTU - VXLAN_OVERHEAD if overlay else 0
        self._cidrs: list[str] = []
        self._changed = asyncio.Event()
        factory.informer(NODES).add_handler(self._on_node)

    def _on_node(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and name_of(new) == self._node_name:
            cidrs = (new.get("spec") or {}).get("podCIDRs") or []
            if cidrs and cidrs != self._cidrs:
                self._cidrs = list(cidrs)
                self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            configuration = cni.configuration(self._cidrs, state=self._state, mtu=self._mtu)
            await asyncio.to_thread(cni.write, self._directory, configuration)
            log.info("CNI configuration written", cidrs=",".join(self._cidrs))
