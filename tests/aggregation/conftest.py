"""A small API server behind ours: one resource in memory, over TLS, that believes the front proxy only."""

import asyncio
import base64
import ssl
import time
from contextlib import asynccontextmanager
from unittest.mock import patch

import orjson
import pytest
from tests.apiserver.conftest import running

from pybernetes.apiserver.server import ServerConfig
from pybernetes.client import signing
from pybernetes.client.signing import Subject, key_to_pem
from pybernetes.concurrency import RealClock
from pybernetes.streams import http_server
from pybernetes.streams.http_server import HttpResponse, HttpServer

GROUP, VERSION = "pets.example.com", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """File paths: ca.crt, serving.crt/.key for cats.default.svc, proxy-ca.crt, proxy.crt/.key."""
    directory, now = tmp_path_factory.mktemp("pki"), time.time()
    serving, proxy = (signing.new_authority(n, now=now, lifetime=86400.0) for n in ("serving", "proxy"))
    for name, authority, subject, usages in (
        ("serving", serving, Subject("cats", (), ("cats.default.svc",)), signing.SERVER_USAGES),
        ("proxy", proxy, Subject("front-proxy-client"), signing.CLIENT_USAGES),
    ):
        certificate, key = signing.issue(authority, subject, usages, now=now, lifetime=86400.0)
        (directory / f"{name}.crt").write_bytes(certificate)
        (directory / f"{name}.key").write_bytes(key)
        (directory / f"{name}-ca.crt").write_bytes(signing.to_pem(authority.certificate))
    assert key_to_pem
    return directory


class Cats:
    """Keeps cats. ``requests`` is what it was asked, with the headers."""

    def __init__(self):
        self.cats, self.requests, self.status, self.delay = {}, [], 200, 0.0
        self.aggregated = True
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.watch_closed = asyncio.Event()

    async def __call__(self, request):
        self.requests.append(request)
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.status != 200:
            return HttpResponse(self.status, b"broken", "text/plain")
        if request.client_certificate is None:
            return HttpResponse(401, b"no front proxy", "text/plain")
        if request.upgrading:
            return HttpResponse(101, headers=[("Connection", "Upgrade"), ("Upgrade", "echo")], upgrade=self.echo)
        answer = self.document(request)
        if answer is not None:
            return self.json(answer)
        _, _, rest = request.path.partition("/namespaces/")
        self.namespace, _, name = rest.partition("/cats")
        return await self.resource(request, name.strip("/"))

    def document(self, request):
        path = request.path
        row = {
            "name": "cats", "singularName": "cat", "namespaced": True, "kind": "Cat", "shortNames": ["ct"],
            "verbs": ["create", "delete", "get", "list", "watch", "deletecollection"],
        }  # fmt: skip
        if path == "/apis" and self.aggregated and "APIGroupDiscoveryList" in request.headers["accept"]:
            resource = {
                "resource": "cats", "responseKind": {"group": GROUP, "version": VERSION, "kind": "Cat"},
                "scope": "Namespaced", "singularResource": "cat", "verbs": row["verbs"], "shortNames": ["ct"],
            }  # fmt: skip
            versions = [{"version": VERSION, "resources": [resource], "freshness": "Current"}]
            return {"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": GROUP}, "versions": versions}]}
        if path == "/apis":
            return {"kind": "APIGroupList", "groups": []}
        if path == ROOT:
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/{VERSION}",
                "resources": [row],
            }
        if path == "/openapi/v3":
            url = f"/openapi/v3/apis/{GROUP}/{VERSION}?hash=1"
            return {"paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": url}, "apis/other": {}}}
        if path == f"/openapi/v3/apis/{GROUP}/{VERSION}":
            return {"openapi": "3.0.0", "paths": {}, "components": {"schemas": {"Cat": {"type": "object"}}}}
        if path == "/openapi/v2":
            cat = {
                "properties": {"metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}}
            }
            meta = {"type": "object", "description": "an older one"}
            definitions = {"Cat": cat, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": meta, "Unused": {}}
            get = {"responses": {"200": {"schema": {"$ref": "#/definitions/Cat"}}}}
            return {"paths": {f"{ROOT}/cats": {"get": get}, "/apis/apps/": {}}, "definitions": definitions}
        return None

    async def resource(self, request, name):
        if request.method == "POST":
            cat = orjson.loads(request.body)
            if "fur" not in cat:
                cat["metadata"] |= {"uid": cat["metadata"]["name"], "namespace": self.namespace, "resourceVersion": "1"}
            self.cats[cat["metadata"]["name"]] = cat
            return self.json(cat, 201)
        if request.method == "DELETE":
            found = self.cats.pop(name, None) if name else self.cats.clear() or {}
            return self.json(
                found or {"kind": "Status", "code": 404, "reason": "NotFound"}, 200 if found is not None else 404
            )
        if "watch=" in request.raw_query:
            return HttpResponse(200, self.watch(), "application/json")
        if name:
            return self.json(self.cats[name]) if name in self.cats else self.json({"kind": "Status", "code": 404}, 404)
        head = {"kind": "CatList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"resourceVersion": "1"}}
        return self.json({**head, "items": list(self.cats.values())})

    async def watch(self):
        try:
            while True:
                yield await self.events.get()
        finally:
            self.watch_closed.set()

    @staticmethod
    async def echo(connection):
        while data := await connection.read():
            await connection.write(data.upper())

    @staticmethod
    def json(value, status=200):
        return HttpResponse(status, orjson.dumps(value), "application/json", [("X-Cat", "miau")])


def counted(handler):
    """A connection class that lets the handler know of connections, and close them."""
    open_ones = []

    class Counted(http_server._ServerConnection):
        def connection_made(self, transport):
            handler.connections += 1
            open_ones.append(transport)
            super().connection_made(transport)

    handler.connections = 0
    handler.restart = lambda: [t.close() for t in open_ones]
    return Counted


@asynccontextmanager
async def serving(handler, pki):
    """The port of the server behind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "serving.crt", pki / "serving.key")
    context.load_verify_locations(pki / "proxy-ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    server = HttpServer(handler, clock=RealClock(), tls=context)
    with patch.object(http_server, "_ServerConnection", counted(handler)):
        task = asyncio.get_running_loop().create_task(server.run())
        await server.started.wait()
        try:
            yield server.port
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def config(pki):
    return ServerConfig(proxy_certificate=(str(pki / "proxy.crt"), str(pki / "proxy.key")))


@pytest.fixture
async def front(config):
    async with running(config) as server:
        yield server


@pytest.fixture
async def cats(pki):
    handler = Cats()
    async with serving(handler, pki) as handler.port:
        yield handler


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "cats", "namespace": "default"},
    "spec": {"type": "ExternalName", "externalName": "localhost"},
}


def api_service(pki, port, **changes):
    bundle = base64.b64encode((pki / "serving-ca.crt").read_bytes()).decode()
    spec = {
        "group": GROUP, "version": VERSION, "groupPriorityMinimum": 2000, "versionPriority": 15, "caBundle": bundle,
        "service": {"namespace": "default", "name": "cats", "port": port}, **changes,
    }  # fmt: skip
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": spec,
    }
