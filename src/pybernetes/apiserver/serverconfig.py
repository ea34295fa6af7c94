"""What an API server is made of and told, beside its store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..api.resources import GVR
from ..hooks.admission import AdmissionPlugin
from ..hooks.authorization import Authorizer
from ..hooks.identity import Authenticator
from .crossorigin import CrossOrigin
from .request import Handler


@dataclass(slots=True)
class ServerConfig:
    """What an API server is made of, beside its store."""

    authenticators: Sequence[Authenticator] = ()
    authorizer: Authorizer | None = None
    """None allows everything."""
    admission: Sequence[AdmissionPlugin] = ()
    connect_handlers: Mapping[tuple[str, str], Handler] = field(default_factory=dict)
    """(resource, subresource) -> who answers: exec, log, proxy and their like."""
    virtual_resources: Mapping[GVR, Handler] = field(default_factory=dict)
    """Resources that are answered and never stored (reviews)."""
    service_cluster_ip_ranges: Sequence[str] = ("10.96.0.0/12",)
    service_node_port_range: tuple[int, int] = (30000, 32767)
    advertise_address: str = ""
    secure_port: int = 6443
    event_ttl: float = 3600.0
    compaction_interval: float = 300.0
    """0: all history is kept."""
    least_watch_seconds: int = 1800
    external_hostname: str = ""
    service_node_port: int = 0
    """Of the Service kubernetes; 0: none."""
    endpoints: bool = True
    """Whether this server writes itself into that Service's endpoints."""
    origins: CrossOrigin | None = None
    """Whose scripts may read answers."""
    hidden_metrics: frozenset[str] = frozenset()
    bootstrap: bool = True
    fairness: bool = True
    """Whether priority and fairness says which requests wait; else only the two limits do."""
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    proxy_certificate: tuple[str, str] | None = None
    """Files of the front proxy's certificate and key, shown to aggregated servers."""
