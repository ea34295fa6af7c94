"""Which range a node gets: the lowest free one of each address family. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from ...api.meta import Object, annotations_of

Network = IPv4Network | IPv6Network
WITHOUT_RANGE = "node.pybernetes.io/without-pod-cidr"
"""An annotation: the node needs no range (a simulated one)."""


class RangeFull(Exception):
    """No range is left for another node."""


def cidrs_of(node: Object) -> list[str]:
    spec = node.get("spec") or {}
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def wants_range(node: Object) -> bool:
    return not cidrs_of(node) and annotations_of(node).get(WITHOUT_RANGE) != "true"


class Ranges:
    """One cluster CIDR cut into ranges of one size; remembers which are taken."""

    def __init__(self, cluster: str, mask: int, excluded: Iterable[str] = ()) -> None:
        self.network: Network = ip_network(cluster, strict=False)
        if mask < self.network.prefixlen:
            raise ValueError(f"node CIDR mask size /{mask} is larger than the cluster CIDR {cluster}")
        self._shift = self.network.max_prefixlen - mask
        self._mask = mask
        self.count = 1 << (mask - self.network.prefixlen)
        self._taken: set[int] = set()
        self._next = 0
        for cidr in excluded:
            self.take(cidr)

    def _indexes(self, cidr: str) -> range:
        """The ranges that a network overlaps."""
        network = ip_network(cidr, strict=False)
        if network.version != self.network.version or not network.overlaps(self.network):
            return range(0)
        base = int(self.network.network_address)
        first = max(int(network.network_address), base) - base
        last = min(int(network.broadcast_address), int(self.network.broadcast_address)) - base
        return range(first >> self._shift, (last >> self._shift) + 1)

    def take(self, cidr: str) -> None:
        self._taken.update(self._indexes(cidr))

    def free(self, cidr: str) -> None:
        self._taken.difference_update(self._indexes(cidr))

    def allocate(self) -> str:
        """Goes round, so that a range which was just freed is not at once given to another node. Raises RangeFull."""
        for step in range(self.count):
            index = (self._next + step) % self.count
            if index not in self._taken:
                self._taken.add(index)
                self._next = index + 1
                address = int(self.network.network_address) + (index << self._shift)
                return str(type(self.network)((address, self._mask)))
        raise RangeFull(f"no CIDR left in {self.network}")
