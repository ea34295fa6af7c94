"""Which tracked UDP flows still lead to where they should. Pure.

Flows go on to any endpoint that serves, whatever policies and topology choose for new ones: that is how TCP connections fare too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from socket import inet_aton
from struct import pack
from typing import Protocol

from .model import UDP, Choice, HostPort, ServicePort, Target

Packed = bytes


class TrackedFlow(Protocol):
    """What must be known of a flow: where its first packet went to, and who answers."""

    @property
    def protocol(self) -> int: ...
    @property
    def destination(self) -> tuple[Packed, Packed]: ...
    @property
    def replier(self) -> tuple[Packed, Packed]: ...


def _packed(target: Target) -> tuple[Packed, Packed]:
    return inet_aton(target[0]), pack("!H", target[1])


@dataclass(slots=True)
class FlowTargets:
    """For every UDP frontend, what may stand behind it."""

    node_ips: frozenset[Packed] = frozenset()
    frontends: dict[tuple[Packed, Packed], set[tuple[Packed, Packed]]] = field(default_factory=dict)
    ports: dict[Packed, set[tuple[Packed, Packed]]] = field(default_factory=dict)
    """Ports that count at whatever address of the node."""

    def add_service(self, port: ServicePort, choice: Choice, node_port_addresses: Iterable[str] | None) -> None:
        """``node_port_addresses`` are where node ports are served; None means everywhere on the node."""
        if port.protocol != UDP:
            return
        targets = {_packed(t) for t in choice.serving}
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
            self.frontends[_packed((address, port.port))] = targets
        if port.node_port and node_port_addresses is None:
            self.ports[pack("!H", port.node_port)] = targets
        elif port.node_port:
            for address in node_port_addresses or ():
                self.frontends[_packed((address, port.node_port))] = targets

    def add_host_port(self, port: HostPort) -> None:
        if port.protocol != UDP:
            return
        target = {_packed((port.pod_ip, port.pod_port))}
        if port.host_ip in ("", "0.0.0.0"):
            self.ports.setdefault(pack("!H", port.port), target)
        else:
            self.frontends.setdefault(_packed((port.host_ip, port.port)), target)

    def is_stale(self, flow: TrackedFlow) -> bool:
        if flow.protocol != UDP:
            return False
        wanted = self.frontends.get(flow.destination)
        if wanted is None and (flow.destination[0] in self.node_ips or flow.destination != flow.replier):
            wanted = self.ports.get(flow.destination[1])
        return wanted is not None and flow.replier not in wanted


def udp_signature(ports: Sequence[tuple[ServicePort, Choice]]) -> list[tuple[ServicePort, Choice]]:
    """What decides where a Service's UDP flows may go: where this changes, flows must be looked through."""
    return [(port, choice) for port, choice in ports if port.protocol == UDP]
