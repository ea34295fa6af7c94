"""The shell of node IPAM. Idle unless ``--allocate-node-cidrs`` and ``--cluster-cidr`` are given."""

from __future__ import annotations

from collections.abc import Iterable

from ...api.meta import Object, metadata, name_of
from ...api.resources import NODES
from ...client.events import NORMAL
from ..runtime import API_ERRORS, Controller
from . import decide


class NodeIPAMController(Controller):
    name = "node-ipam-controller"
    component = "cidrAllocator"
    workers = 1

    def setup(self) -> None:
        settings = self.context.settings
        self.ranges: list[decide.Ranges] = []
        if not settings.allocate_node_cidrs or not settings.cluster_cidr:
            return
        services = [c for c in settings.service_cluster_ip_range.split(",") if c]
        for cidr in settings.cluster_cidr.split(","):
            mask = settings.node_cidr_mask_size_ipv6 if ":" in cidr else settings.node_cidr_mask_size_ipv4
            self.ranges.append(decide.Ranges(cidr.strip(), mask, services))
        self.nodes = self.watch(NODES, self._of_node)

    def _of_node(self, kind: str, old: Object | None, new: Object | None) -> Iterable[str]:
        """What a node has is taken before anything is given: all of this runs before the first worker."""
        node = new or old or {}
        for cidr in decide.cidrs_of(node):
            for ranges in self.ranges:
                if kind == "DELETED":
                    ranges.free(cidr)
                else:
                    ranges.take(cidr)
        if kind != "DELETED" and decide.wants_range(node):
            yield name_of(node)

    async def sync(self, key: str) -> float | None:
        node = self.nodes.get_key(key)
        if node is None or not decide.wants_range(node):
            return None
        allocated: list[tuple[decide.Ranges, str]] = []
        try:
            for ranges in self.ranges:
                allocated.append((ranges, ranges.allocate()))
            cidrs = [c for _, c in allocated]
            patch = {"metadata": {"uid": metadata(node)["uid"]}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
            await self.writer.patch(NODES, key, patch)
        except decide.RangeFull:
            self._give_back(allocated)
            about = {"kind": "Node", "apiVersion": "v1", "name": key, "uid": metadata(node)["uid"]}
            self.event(about, NORMAL, "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
            return 30.0
        except API_ERRORS:
            self._give_back(allocated)
            raise
        return None

    def _give_back(self, allocated: list[tuple[decide.Ranges, str]]) -> None:
        for ranges, cidr in allocated:
            ranges.free(cidr)
