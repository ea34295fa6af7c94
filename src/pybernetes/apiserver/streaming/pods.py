"""pods/exec, pods/attach and pods/portforward: the upgrade passed on to the node's kubelet.

A kubelet that declares ``ExtendWebSocketsToKubelet`` (1.36 and newer, ours too) gets the client's bytes as they are. An older one knows
no v5 channels and no tunnelled SPDY: for those clients the translation is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from ...api.errors import bad_request
from ...api.meta import Object, name_of, namespace_of
from ...streams.connection import RawConnection
from ...streams.http_client import Upgraded
from ...streams.relay import Translator, translate
from ...wire.channels import V5
from ...wire.portforward import TUNNEL_PREFIX, tunnelled
from ...wire.remotecommand import SPDY_PROTOCOLS, StreamOptions
from ...wire.translation import ExecTranslator, TunnelTranslator
from ...wire.upgrade import (
    SPDY31,
    STREAM_PROTOCOL,
    NegotiationError,
    accept_websocket,
    is_upgrade,
    is_websocket,
    websocket_protocols,
)
from ..request import Request, Response
from .context import NODES, PODS, StreamingContext, ensure_may_create, info_of
from .forwarding import Backend, forward_upgrade, switch
from .kubelets import KubeletAddress, kubelet_address
from .options import attach_options, exec_options, port_forward_options, stream_options

SPEAKS_WEBSOCKETS = "ExtendWebSocketsToKubelet"


def container_names(pod: Object) -> Iterator[str]:
    """In upstream's order of visiting: init containers, containers, ephemeral ones."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod["spec"].get(field) or ():
            yield container["name"]


def container_of(pod: Object, wanted: str) -> str:
    """The container that a request means. Raises 400."""
    name = name_of(pod)
    if wanted:
        if wanted not in container_names(pod):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    containers = pod["spec"].get("containers") or []
    if len(containers) == 1:
        only: str = containers[0]["name"]
        return only
    if not containers:
        raise bad_request(f"a container name must be specified for pod {name}")
    listed = " ".join(container_names(pod))
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")


async def pod_exec(request: Request, context: StreamingContext) -> Response:
    await ensure_may_create(request, context)
    options = exec_options(request.query)
    return await _command(request, context, "exec", options, [("command", c) for c in options.get("command", ())])


async def pod_attach(request: Request, context: StreamingContext) -> Response:
    await ensure_may_create(request, context)
    return await _command(request, context, "attach", attach_options(request.query), [])


async def _command(
    request: Request, context: StreamingContext, verb: str, options: Object, more: list[tuple[str, str]]
) -> Response:
    info = info_of(request)
    pod = context.get(PODS, info.namespace, info.name)
    container = container_of(pod, options.get("container", ""))
    address = _kubelet(pod, context)
    streams = stream_options(options)
    path = f"/{verb}/{namespace_of(pod)}/{name_of(pod)}/{container}"
    backend = _backend(address, path, streams.query() + more, context)
    if not is_upgrade(request.headers):
        raise bad_request("Upgrade request required")
    wants_v5 = is_websocket(request.headers) and V5 in websocket_protocols(request.headers)
    if wants_v5 and SPEAKS_WEBSOCKETS not in address.features:
        return await _translated_command(request, context, backend, streams)
    return await _passed_on(request, context, backend)


async def pod_port_forward(request: Request, context: StreamingContext) -> Response:
    await ensure_may_create(request, context)
    info = info_of(request)
    options = port_forward_options(request.query)
    pod = context.get(PODS, info.namespace, info.name)
    address = _kubelet(pod, context)
    ports = options.get("ports") or []
    query = [("port", ",".join(str(port) for port in ports))] if ports else []
    backend = _backend(address, f"/portForward/{namespace_of(pod)}/{name_of(pod)}", query, context)
    if not is_upgrade(request.headers):
        raise bad_request("Upgrade request required")
    offered = tunnelled(websocket_protocols(request.headers)) if is_websocket(request.headers) else []
    if offered and SPEAKS_WEBSOCKETS not in address.features:
        return await _tunnelled_forward(request, context, backend, offered)
    return await _passed_on(request, context, backend)


def _kubelet(pod: Object, context: StreamingContext) -> KubeletAddress:
    node = pod["spec"].get("nodeName")
    if not node:
        raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
    return kubelet_address(context.get(NODES, "", node), context.kubelet)


def _backend(address: KubeletAddress, path: str, query: list[tuple[str, str]], context: StreamingContext) -> Backend:
    return Backend(
        address.host,
        address.port,
        path,
        urlencode(query),
        context.kubelet.tls(),
        dial_timeout=context.kubelet.dial_timeout,
    )


async def _passed_on(request: Request, context: StreamingContext, backend: Backend) -> Response:
    upgraded = await forward_upgrade(request, backend, context.clock)
    return switch(upgraded, context.clock) if isinstance(upgraded, Upgraded) else upgraded


def _as_spdy(protocols: list[str]) -> dict[str, str | None]:
    """The header changes that make a WebSocket request a SPDY one."""
    return {
        "upgrade": SPDY31,
        "sec-websocket-protocol": None,
        "sec-websocket-key": None,
        "sec-websocket-version": None,
        "sec-websocket-extensions": None,
        STREAM_PROTOCOL.lower(): "\n".join(protocols),
    }


async def _translated_command(
    request: Request, context: StreamingContext, backend: Backend, options: StreamOptions
) -> Response:
    changes = _as_spdy(list(SPDY_PROTOCOLS))
    upgraded = await forward_upgrade(request, backend, context.clock, method="POST", changes=changes)
    if not isinstance(upgraded, Upgraded):
        return upgraded
    spoken = upgraded.head.get(STREAM_PROTOCOL) or SPDY_PROTOCOLS[-1]
    return _accepted(request, context, upgraded, [V5], lambda: ExecTranslator(options, backend_protocol=spoken))


async def _tunnelled_forward(
    request: Request, context: StreamingContext, backend: Backend, offered: list[str]
) -> Response:
    upgraded = await forward_upgrade(request, backend, context.clock, method="POST", changes=_as_spdy(offered))
    if not isinstance(upgraded, Upgraded):
        return upgraded
    spoken = TUNNEL_PREFIX + upgraded.head.get(STREAM_PROTOCOL, offered[0])
    return _accepted(request, context, upgraded, [spoken], TunnelTranslator)


def _accepted(
    request: Request,
    context: StreamingContext,
    upgraded: Upgraded,
    protocols: list[str],
    make: Callable[[], Translator],
) -> Response:
    try:
        _, headers = accept_websocket(request.headers, protocols)
    except NegotiationError as refusal:
        upgraded.connection.abort()
        return Response(refusal.status, f"{refusal}\n".encode(), "text/plain; charset=utf-8", refusal.headers)
    translator: Translator = make()

    async def run(client: RawConnection) -> None:
        await translate(client, upgraded.connection, translator, clock=context.clock)

    return Response(101, content_type="", headers=headers, upgrade=run)
