"""An API server of nothing but the streaming handlers: real sockets and TLS, a dict for a store, enough discovery for kubectl."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from pybernetes.api.errors import StatusError, not_found
from pybernetes.apiserver.http import HttpServer
from pybernetes.apiserver.request import Request, RequestInfo, Response
from pybernetes.apiserver.routing import route
from pybernetes.apiserver.server import error_response
from pybernetes.apiserver.streaming import HANDLERS, StreamingContext

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

    def each(self, gvr, namespace=""):
        return iter(self.list(gvr, namespace))

    def list(self, gvr, namespace=""):
        return [o for (r, n, _), o in self.objects.items() if r == gvr.resource and namespace in ("", n)]

    def subscribe(self, gvr, listener):
        return lambda: None


def pod(name: str = "web", *, node: str = "node-1", containers: tuple[str, ...] = ("app",), ip: str = "", **spec):
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"nodeName": node, "containers": [{"name": c, "image": "x"} for c in containers], **spec},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}] if ip else [],
            "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")],
        },
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


class Front:
    """What ``apiserver.http`` asks of a server: the real front, without the rest of the pipeline behind it."""

    def __init__(self, context: StreamingContext) -> None:
        self.context = context

    async def handle(self, request: Request) -> Response:
        try:
            return await self._serve(request)
        except StatusError as failure:
            return error_response(failure)

    async def _serve(self, request: Request) -> Response:
        document = {
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": _RESOURCES},
            "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        }.get(request.path.rstrip("/"))
        if document is not None:
            return Response(200, orjson.dumps(document))
        info = request.info = route(request)
        if not info.is_resource:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        handler = HANDLERS.get((info.resource, info.subresource))
        return await handler(request, self.context) if handler is not None else self._get(info)

    def _get(self, info: RequestInfo) -> Response:
        objects = self.context.reader.objects
        if info.verb == "list":
            items = [o for (r, n, name), o in objects.items() if r == info.resource and info.name in ("", name)]
            return Response(200, orjson.dumps({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
        found = objects.get((info.resource, info.namespace, info.name))
        if found is None:
            raise not_found("", info.resource, info.name)
        return Response(200, orjson.dumps(found))


@contextlib.asynccontextmanager
async def api_server(context: StreamingContext) -> AsyncIterator[HttpServer]:
    server, started = HttpServer(Front(context), context.clock), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run(started=started))
        await started.wait()
        try:
            yield server
        finally:
            task.cancel()


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
