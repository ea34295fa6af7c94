"""pods/proxy, services/proxy and nodes/proxy: any method, upgrades included.

Names are ``name``, ``name:port`` or ``scheme:name:port``. Where a request goes is decided here; how it is passed on is ``forwarding``'s.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from ...api.errors import StatusError, bad_request, service_unavailable
from ...api.meta import Object, namespace_of
from ...streams.http_client import ClientExchange, Upgraded
from ...wire.upgrade import is_upgrade
from ..request import Request, Response
from .context import ENDPOINTS, NODES, PODS, SERVICES, StreamingContext, info_of
from .forwarding import Backend, forward, forward_upgrade, switch, to_response
from .kubelets import kubelet_address
from .options import proxy_path
from .rewriting import Rewriter, join, rewrite_body

MAX_REWRITTEN_PAGE = 16 << 20


def split_name(identifier: str, kind: str) -> tuple[str, str, str]:
    """(scheme, name, port). Raises 400."""
    parts = identifier.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: tuple(parts)}.get(len(parts), ("", "", ""))
    if not name or scheme not in ("", "http", "https"):
        raise bad_request(f'invalid {kind} request "{identifier}"')
    return scheme, name, port


def _port_number(port: str, scheme: str) -> int:
    if not port:
        return 443 if scheme == "https" else 80
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise service_unavailable(f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")
    return int(port)


def _allowed(address: str) -> bool:
    """Go's ``IsGlobalUnicast``: no loopback, link-local, multicast, broadcast or unspecified address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    broadcast = ip == ipaddress.ip_address("255.255.255.255")
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or broadcast)


def pod_backend(request: Request, context: StreamingContext) -> Backend:
    info = info_of(request)
    scheme, name, port = split_name(info.name, "pod")
    pod = context.get(PODS, info.namespace, name)
    if not port:
        declared = (p["containerPort"] for c in pod["spec"].get("containers") or () for p in c.get("ports") or ())
        port = str(next(declared, ""))
    status = pod.get("status") or {}
    addresses = status.get("podIPs") or []
    address = addresses[0].get("ip", "") if addresses else status.get("podIP", "")
    if not _allowed(address):
        raise bad_request("address not allowed")
    return _backend(request, context, scheme, address, _port_number(port, scheme))


def service_backend(request: Request, context: StreamingContext) -> Backend:
    info = info_of(request)
    scheme, name, port = split_name(info.name, "service")
    if port.isascii() and port.isdigit():
        service = context.get(SERVICES, info.namespace, name)
        port = _service_port_name(service, name, int(port))
    endpoints = context.get(ENDPOINTS, info.namespace, name)
    subsets = endpoints.get("subsets") or []
    if not subsets:
        raise service_unavailable(f'no endpoints available for service "{name}"')
    first = context.rng.randrange(len(subsets))
    for subset in subsets[first:] + subsets[:first]:
        number = next((p["port"] for p in subset.get("ports") or () if (p.get("name") or "") == port), None)
        address = _ready_pod_address(subset, info.namespace, context)
        if number is not None and address:
            return _backend(request, context, scheme, address, number)
    raise service_unavailable(f'no endpoints available for service "{info.name}"')


def _service_port_name(service: Object, name: str, number: int) -> str:
    ports = (service.get("spec") or {}).get("ports") or []
    found = next((p for p in ports if p.get("port") == number), None)
    if found is None:
        raise service_unavailable(f'no service port {number} found for service "{name}"')
    return found.get("name") or ""


def _ready_pod_address(subset: Object, namespace: str, context: StreamingContext) -> str:
    """An address at random of those that truly are their pod's: endpoints that users write lead nowhere else."""
    addresses = list(subset.get("addresses") or ())
    context.rng.shuffle(addresses)
    for address in addresses:
        target = address.get("targetRef") or {}
        if target.get("namespace") != namespace:
            continue
        pod = context.reader.get(PODS, namespace, target.get("name") or "")
        if pod is None or namespace_of(pod) != namespace:
            continue
        status = pod.get("status") or {}
        known = {status.get("podIP"), *(p.get("ip") for p in status.get("podIPs") or ())}
        if address.get("ip") in known:
            return address["ip"]
    return ""


async def node_backend(request: Request, context: StreamingContext) -> Backend:
    info = info_of(request)
    scheme, name, port = split_name(info.name, "node")
    address = kubelet_address(context.get(NODES, "", name), context.kubelet)
    await _ensure_proxyable(address.host)
    if port in ("", str(address.port)):
        return Backend(
            address.host,
            address.port,
            join("", proxy_path(request)),
            request.raw_query,
            context.kubelet.tls(),
            dial_timeout=context.kubelet.dial_timeout,
        )
    return _backend(request, context, scheme, address.host, _port_number(port, scheme))


async def _ensure_proxyable(host: str) -> None:
    """A node's address must not lead to this machine's own services. Raises 400."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as failure:
        raise bad_request(f"lookup {host}: no such host") from failure
    if not all(_allowed(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found):
        raise bad_request("address not allowed")


def _backend(request: Request, context: StreamingContext, scheme: str, host: str, port: int) -> Backend:
    tls = None
    if scheme == "https":
        # As upstream: the certificate of a pod's server proves nothing that the cluster knows of.
        tls = context.proxy_tls or context.kubelet.tls(insecure=True)
    return Backend(host, port, join("", proxy_path(request)), request.raw_query, tls)


async def pod_proxy(request: Request, context: StreamingContext) -> Response:
    return await proxy(request, context, pod_backend(request, context))


async def service_proxy(request: Request, context: StreamingContext) -> Response:
    return await proxy(request, context, service_backend(request, context))


async def node_proxy(request: Request, context: StreamingContext) -> Response:
    return await proxy(request, context, await node_backend(request, context))


async def proxy(request: Request, context: StreamingContext, backend: Backend) -> Response:
    """Passes the request on. Raises StatusError where the backend cannot be reached."""
    if is_upgrade(request.headers):
        upgraded = await forward_upgrade(request, backend, context.clock)
        return switch(upgraded, context.clock) if isinstance(upgraded, Upgraded) else upgraded
    if not backend.path and request.method in ("GET", "HEAD"):
        query = f"?{request.raw_query}" if request.raw_query else ""
        return Response(301, content_type="", headers=[("Location", f"{request.path}/{query}")])
    prefix = request.path.removesuffix(backend.path)
    forwarded_uri = join(prefix, backend.target.partition("?")[0])
    answer = await forward(request, backend, context.clock, extra=[("X-Forwarded-Uri", forwarded_uri)])
    rewriter = Rewriter(prefix, backend.authority, request.headers.get("host", ""))
    return await rewritten(answer, rewriter)


async def rewritten(answer: ClientExchange, rewriter: Rewriter) -> Response:
    headers = answer.headers
    if answer.header("location"):
        return to_response(answer, [(n, rewriter.url(v) if n.lower() == "location" else v) for n, v in headers])
    if answer.header("content-type").partition(";")[0].strip() != "text/html":
        return to_response(answer)
    try:
        page = await answer.read(MAX_REWRITTEN_PAGE + 1)
    except ConnectionError as failure:
        answer.close()
        raise StatusError(503, "ServiceUnavailable", f"error trying to reach service: {failure}") from failure
    answer.close()
    if len(page) > MAX_REWRITTEN_PAGE:
        raise service_unavailable(f"an HTML page of more than {MAX_REWRITTEN_PAGE} bytes cannot be proxied")
    response = to_response(answer, [(n, v) for n, v in headers if n.lower() != "content-length"])
    response.body = rewrite_body(page, answer.header("content-encoding"), rewriter)
    return response
