"""What the parts of the kubelet share: settings, clock, runtime, API and the way to tell the user something."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..api.meta import Object
from ..client.events import EventRecorder
from ..client.rest import Client
from ..concurrency import Clock
from .cri import CRIClient
from .meters import Meters
from .pod.naming import Dns
from .pod.runtime_config import NodeSettings
from .settings import KubeletSettings


@dataclass(slots=True)
class Context:
    """Set up once at the start; the callables answer with what is true at the moment."""

    settings: KubeletSettings
    clock: Clock
    rng: random.Random
    cri: CRIClient
    client: Client | None
    node: NodeSettings
    recorder: EventRecorder | None = None
    node_dns: Dns = field(default_factory=Dns)
    host_ips: Callable[[], Sequence[str]] = lambda: ()
    allocatable: Callable[[], Mapping[str, Any]] = dict
    services: Callable[[], Sequence[Object]] = lambda: ()
    protect: Callable[[Object, str], Awaitable[None]] | None = None
    """Awaited between a pod's getting its address and the start of its first container: network policies take hold here."""
    meters: Meters = field(default_factory=Meters)

    def tell(self, pod: Object, kind: str, reason: str, message: str, *, container: str = "") -> None:
        """An event about a pod, or about one of its containers."""
        if self.recorder is None:
            return
        path = field_path(pod, container) if container else ""
        self.recorder.event({"kind": "Pod", "apiVersion": "v1", **pod}, kind, reason, message, field_path=path)


def field_path(pod: Object, container: str) -> str:
    """``spec.containers{name}``: how an event names a container."""
    for key in ("containers", "initContainers", "ephemeralContainers"):
        if any(c.get("name") == container for c in pod["spec"].get(key) or ()):
            return f"spec.{key}{{{container}}}"
    return ""
