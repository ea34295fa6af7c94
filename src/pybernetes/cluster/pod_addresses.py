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
from ..proxy.podnetwork import link_of, pod_mtu

log = logger("cluster.pod-addresses")


class PodAddresses:
    """Writes the configuration into ``directory``; handed-out addresses are remembered in ``state``."""

    def __init__(
        self, factory: InformerFactory, *, node_name: str, address: str, directory: Path, state: Path, network: str
    ) -> None:
        """``address`` is the node's: what its link carries, less what ``network`` needs, is what a pod's may."""
        self._node_name, self._directory, self._state = node_name, directory, state
        self._address, self._network = address, network
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
            mtu = pod_mtu(self._network, (await link_of(self._address))[1])
            configuration = cni.configuration(self._cidrs, state=self._state, mtu=mtu)
            await asyncio.to_thread(cni.write, self._directory, configuration)
            log.info("CNI configuration written", cidrs=",".join(self._cidrs))
