"""From a node to a connection with its kubelet: address and port of the node's status, TLS with our client certificate."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from ...api.errors import StatusError
from ...api.meta import Object, labels_of, name_of
from ...concurrency import Clock
from ...streams.connection import Connection, dial

KUBELET_PORT = 10250

# The addresses that any cluster's nodes can be reached at; upstream's built-in default starts with the hostname, which
# needs a resolver that knows the nodes, and kubeadm always overrides it with this order.
PREFERRED_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "Hostname")


def _insecure() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(slots=True)
class KubeletTLS:
    """How kubelets are dialled. Without ``context`` their certificate is not verified and ours is not shown."""

    context: ssl.SSLContext | None = None
    insecure_context: ssl.SSLContext | None = None
    """For ``insecureSkipTLSVerifyBackend``: shows our certificate, verifies nothing."""
    address_types: Sequence[str] = PREFERRED_ADDRESS_TYPES
    default_port: int = KUBELET_PORT
    dial_timeout: float = 30.0

    def tls(self, *, insecure: bool = False) -> ssl.SSLContext:
        chosen = self.insecure_context if insecure else self.context
        return chosen or _insecure()


@dataclass(frozen=True, slots=True)
class KubeletAddress:
    node: str
    host: str
    port: int
    features: frozenset[str]
    """``status.declaredFeatures``: what the kubelet says that it can."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def dial(self, settings: KubeletTLS, clock: Clock, *, insecure: bool = False) -> Connection:
        """Raises DialError."""
        return await dial(
            self.host, self.port, clock=clock, tls=settings.tls(insecure=insecure), timeout=settings.dial_timeout
        )


SIMULATED_LABEL = "pybernetes.io/simulated"


def kubelet_address(node: Object, settings: KubeletTLS) -> KubeletAddress:
    """Raises 503 for a node that has no kubelet to reach: one without an address, or a simulated one."""
    if labels_of(node).get(SIMULATED_LABEL) == "true":
        raise StatusError(
            503,
            "ServiceUnavailable",
            f"node {name_of(node)} is simulated: its pods run no containers, so there are no logs and nothing to exec into",
        )
    status = node.get("status") or {}
    addresses = status.get("addresses") or []
    host = next(
        (
            a["address"]
            for kind in settings.address_types
            for a in addresses
            if a.get("type") == kind and a.get("address")
        ),
        "",
    )
    if not host:
        known = " ".join(f"{{{a.get('type')} {a.get('address')}}}" for a in addresses)
        raise StatusError(
            503,
            "ServiceUnavailable",
            f"node {name_of(node)} has no kubelet to ask: no preferred addresses found; known addresses: [{known}]",
        )
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or settings.default_port
    return KubeletAddress(name_of(node), host, int(port), frozenset(status.get("declaredFeatures") or ()))
