"""An API server of nothing but the streaming handlers: real sockets and TLS, a dict for a store, enough discovery for kubectl."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from pybernetes.api.errors import StatusError, not_found
from pybernetes.apiserver.request import Request, RequestInfo
from pybernetes.apiserver.streaming import HANDLERS, StreamingContext
from pybernetes.hooks.identity import Credentials
from pybernetes.streams.http_server import HttpRequest, HttpResponse, HttpServer

from .backend import serving

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "HEAD": "get"}
_RESOURCES = [
    {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]},
    {"name": "nodes", "singularName": "node", "namespaced": False, "kind": "Node", "verbs": ["get", "list"]},
    {"name": "services", "singularName": "service", "namespaced": True, "kind": "Service", "verbs": ["get", "list"]},
]


class Objects:
    """An ``ObjectReader`` over a dict."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        for obj in objects:
            self.add(obj)

    def add(self, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        plural = {"Endpoints": "endpoints"}.get(obj["kind"], obj["kind"].lower() + "s")
        self.objects[plural, meta.get("namespace", ""), meta["name"]] = {"apiVersion": "v1", **obj}

    def get(self, gvr, namespace, name):
        return self.objects.get((gvr.resource, namespace, name))

    def list(self, gvr, namespace=""):
        return [o for (r, n, _), o in self.objects.items() if r == gvr.resource and namespace in ("", n)]

    def subscribe(self, gvr, listener):
        return lambda: None


def pod(name: str = "web", *, node: str = "node-1", containers: tuple[str, ...] = ("app",), ip: str = "", **spec):
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"nodeName": node, "containers": [{"name": c, "image": "x"} for c in containers], **spec},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}] if ip else []},
    }


def node(name: str = "node-1", host: str = "127.0.0.1", port: int = 10250, features: tuple[str, ...] = ()):
    addresses = [{"type": "InternalIP", "address": host}] if host else []
    return {
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "addresses": addresses,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "declaredFeatures": list(features),
        },
    }


def routed(request: HttpRequest) -> Request:
    parts = request.path.split("/")[3:]
    namespace = ""
    if parts and parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    if parts and parts[-1] == "":
        parts = parts[:-1]
    resource, name, subresource = (*parts, "", "", "")[:3]
    info = RequestInfo(
        True,
        _VERBS.get(request.method, ""),
        request.path,
        "",
        "v1",
        resource,
        subresource,
        namespace,
        name,
        tuple(parts),
    )
    return Request(
        request.method,
        request.path,
        request.raw_query,
        request.headers,
        request.body,
        Credentials(request.headers, request.client_certificate, request.remote_address),
        info,
    )


class Front:
    def __init__(self, context: StreamingContext) -> None:
        self.context = context

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            return await self._serve(request)
        except StatusError as failure:
            return HttpResponse(failure.code, orjson.dumps(failure.to_status()), "application/json")

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        document = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES},
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        }.get(request.path)
        if document is not None:
            return HttpResponse(200, orjson.dumps(document), "application/json")
        if not request.path.startswith("/api/v1/"):
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        inner = routed(request)
        assert inner.info is not None
        handler = HANDLERS.get((inner.info.resource, inner.info.subresource))
        if handler is None:
            return self._get(inner.info)
        answer = await handler(inner, self.context)
        return HttpResponse(answer.status, answer.body, answer.content_type, answer.headers, answer.upgrade)

    def _get(self, info: RequestInfo) -> HttpResponse:
        for (resource, namespace, name), obj in self.context.reader.objects.items():
            if (resource, namespace, name) == (info.resource, info.namespace, info.name):
                return HttpResponse(200, orjson.dumps(obj), "application/json")
        raise not_found("", info.resource, info.name)


@contextlib.asynccontextmanager
async def api_server(context: StreamingContext) -> AsyncIterator[HttpServer]:
    async with serving(Front(context)) as server:
        yield server


def kubeconfig(directory: Path, server: HttpServer) -> Path:
    path = directory / "kubeconfig"
    path.write_text(
        f"""apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{server.port}"}}}}]
users: [{{name: u, user: {{token: secret-token}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
current-context: c
"""
    )
    return path
