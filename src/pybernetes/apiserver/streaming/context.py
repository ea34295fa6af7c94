"""What the streaming handlers know of the server they run in."""

from __future__ import annotations

import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ...api.errors import StatusError, forbidden, not_found
from ...api.meta import Object
from ...api.resources import GVR
from ...concurrency import Clock
from ...hooks.authorization import Attributes, Authorizer, Decision
from ...hooks.reading import ObjectReader
from ..request import Request, RequestInfo, Response
from .kubelets import KubeletTLS

PODS = GVR("", "v1", "pods")
NODES = GVR("", "v1", "nodes")
SERVICES = GVR("", "v1", "services")
ENDPOINTS = GVR("", "v1", "endpoints")


@dataclass(slots=True)
class StreamingContext:
    """``authorizer`` None allows all; ``proxy_tls`` verifies nothing, as upstream's proxy to pods and services."""

    reader: ObjectReader
    clock: Clock
    authorizer: Authorizer | None = None
    kubelet: KubeletTLS = field(default_factory=KubeletTLS)
    proxy_tls: ssl.SSLContext | None = None
    rng: random.Random = field(default_factory=random.Random)

    def get(self, gvr: GVR, namespace: str, name: str) -> Object:
        """Raises 404."""
        found = self.reader.get(gvr, namespace, name)
        if found is None:
            raise not_found(gvr.group, gvr.resource, name)
        return found


StreamingHandler = Callable[[Request, StreamingContext], Awaitable[Response]]


def info_of(request: Request) -> RequestInfo:
    if request.info is None:
        raise ValueError("the request was not routed")
    return request.info


def plain_error(message: str) -> StatusError:
    """What upstream makes of a Go error that is no API status: 500, no reason, the bare text."""
    return StatusError(500, "", message)


async def ensure_may_create(request: Request, context: StreamingContext) -> None:
    """A WebSocket upgrade is a GET, yet exec, attach and portforward need ``create``. Raises 403."""
    info = info_of(request)
    if info.verb == "create" or context.authorizer is None:
        return
    verdict = await context.authorizer.authorize(
        Attributes(
            request.user, "create", info.group, info.version, info.resource, info.subresource, info.namespace, info.name
        )
    )
    if verdict.decision is not Decision.ALLOW:
        raise forbidden(info.group, info.resource, info.name, verdict.reason)
