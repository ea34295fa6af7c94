"""pods/log and the proxy subresources against real sockets."""

from __future__ import annotations

import asyncio
import gzip
from urllib.parse import quote

import orjson
import pytest

from pybernetes.apiserver.streaming import KubeletTLS, StreamingContext
from pybernetes.apiserver.streaming.proxies import _allowed, split_name
from pybernetes.apiserver.streaming.rewriting import Rewriter, join, rewrite_body
from pybernetes.streams.connection import dial
from pybernetes.streams.http_client import Upgraded, exchange, upgrade
from pybernetes.streams.http_server import HttpRequest, HttpResponse

from .backend import CLOCK, make_pki, serving
from .front import Objects, api_server, node, pod

LOG = "/api/v1/namespaces/default/pods/web/log"


class Backend:
    """A kubelet and an application in one; what it was asked is kept."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.more = asyncio.Event()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        path = request.path
        if path.startswith("/containerLogs/"):
            return await self._log(request)
        if path == "/page":
            page = (
                b'<html><a href="/x?y=1">x</a> <a href="rel">r</a> <IMG src=\'/i.png\'/><!-- <a href="/c"> --></html>'
            )
            return HttpResponse(200, page, "text/html; charset=utf-8", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        if path == "/packed":
            return HttpResponse(200, gzip.compress(b'<a href="/x">'), "text/html", [("Content-Encoding", "gzip")])
        if path == "/redirect":
            return HttpResponse(302, headers=[("Location", "/target/")])
        if path == "/shout":

            async def run(client):
                while data := await client.read():
                    await client.write(data.upper())

            return HttpResponse(101, headers=[("Upgrade", "shout"), ("Connection", "Upgrade")], upgrade=run)
        text = f"{request.method} {path}?{request.raw_query} {request.body.decode()}"
        return HttpResponse(200, text.encode(), "text/plain", [("Access-Control-Allow-Origin", "*")])

    async def _log(self, request: HttpRequest) -> HttpResponse:
        if "previous" in request.query:
            return HttpResponse(400, b'previous terminated container "app" in pod "web" not found')
        if request.query.get("tailLines") == ["404"]:
            return HttpResponse(404, b"gone")

        async def body():
            yield b"line 1\n"
            if "follow" in request.query:
                await self.more.wait()
            yield b"line 2\n"

        return HttpResponse(200, body(), "text/plain")


@pytest.fixture
async def world(tmp_path):
    pki = make_pki(tmp_path)
    backend = Backend()
    async with serving(backend, pki.server) as tls, serving(backend) as plain:
        context = StreamingContext(Objects(node(port=tls.port), pod()), CLOCK, kubelet=KubeletTLS(pki.client))
        async with api_server(context) as server:
            yield context, backend, server, plain.port, tls.port


async def ask(server, path: str, method: str = "GET", headers=(), body: bytes = b""):
    connection = await dial("127.0.0.1", server.port, clock=CLOCK)
    length = [("Content-Length", str(len(body)))] if body else []
    return await exchange(connection, method, path, [("Host", "api:6443"), *headers, *length], body)


async def whole(server, path: str, **more) -> tuple[int, bytes]:
    answer = await ask(server, path, **more)
    body = await answer.read()
    answer.close()
    return answer.status, body


async def test_a_log(world):
    _, backend, server, *_ = world
    status, body = await whole(server, LOG + "?tailLines=5&limitBytes=100&timestamps=true&sinceSeconds=7&follow=0")
    assert (status, body) == (200, b"line 1\nline 2\n")
    asked = backend.requests[0]
    assert asked.path == "/containerLogs/default/web/app"
    assert asked.raw_query == "limitBytes=100&sinceSeconds=7&tailLines=5&timestamps=true"


async def test_a_followed_log_comes_line_by_line(world):
    _, backend, server, *_ = world
    answer = await ask(server, LOG + "?follow")
    assert answer.header("content-type") == "text/plain"
    chunks = answer.chunks()
    assert await anext(chunks) == b"line 1\n"
    backend.more.set()
    assert await anext(chunks) == b"line 2\n"
    answer.close()


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("container=x", 400, "container x is not valid for pod web"),
        ("previous=true", 400, 'previous terminated container "app" in pod "web" not found'),
        ("tailLines=404", 404, "the server could not find the requested resource ( pods/log web)"),
        ("tailLines=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            "tailLines=-1",
            422,
            'PodLogOptions "web" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
        ),
        ("limitBytes=0", 422, 'PodLogOptions "web" is invalid: limitBytes: Invalid value: 0: must be greater than 0'),
        (
            "sinceSeconds=0",
            422,
            'PodLogOptions "web" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0',
        ),
        (
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            422,
            'PodLogOptions "web" is invalid: <nil>: Forbidden: '
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ],
)
async def test_log_refusals(world, query, code, message):
    status, body = await whole(world[2], f"{LOG}?{query}")
    assert (status, orjson.loads(body)["message"]) == (code, message)


async def test_a_log_before_there_is_a_node(world):
    world[0].reader.add(pod(node=""))
    assert await whole(world[2], LOG) == (204, b"")


async def test_a_log_of_a_node_that_is_away(world):
    world[0].reader.add(node(port=1))
    status, body = await whole(world[2], LOG)
    assert status == 500
    assert orjson.loads(body)["message"] == (
        'Get "https://127.0.0.1:1/containerLogs/default/web/app": dial tcp 127.0.0.1:1: connect: connection refused'
    )


@pytest.fixture
def any_address(monkeypatch):
    """The loopback is not proxied to, and the loopback is all that a test has."""
    monkeypatch.setattr("pybernetes.apiserver.streaming.proxies._allowed", lambda address: bool(address))


@pytest.fixture
def proxied(world, any_address):
    context, backend, server, plain, tls = world
    context.reader.add(pod(ip="127.0.0.1"))
    context.reader.add(
        {
            "kind": "Service",
            "metadata": {"name": "svc", "namespace": "default"},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]},
        }
    )
    target = {"kind": "Pod", "namespace": "default", "name": "web"}
    context.reader.add(
        {
            "kind": "Endpoints",
            "metadata": {"name": "svc", "namespace": "default"},
            "subsets": [
                {
                    "addresses": [{"ip": "10.9.9.9", "targetRef": target}, {"ip": "127.0.0.1", "targetRef": target}],
                    "ports": [{"name": "http", "port": plain}, {"name": "tls", "port": tls}],
                }
            ],
        }
    )
    return context, backend, server, plain, tls


PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"


async def test_pods_are_proxied_with_every_method(proxied):
    _, backend, server, port, tls = proxied
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, body = await whole(
            server, f"{PODS}/web:{port}/proxy/a%20b/?q=1", method=method, body=b"data" if method == "POST" else b""
        )
        assert (status, body) == (200, f"{method} /a b/?q=1 {'data' if method == 'POST' else ''}".encode())
    asked = backend.requests[-1].headers
    assert asked["host"] == "api:6443"
    assert asked["x-forwarded-for"] == "127.0.0.1"
    assert asked["x-forwarded-uri"] == f"{PODS}/web:{port}/proxy/a%20b/"
    status, body = await whole(server, f"{PODS}/https:web:{tls}/proxy/x")
    assert (status, body) == (200, b"GET /x? ")


async def test_credentials_and_hop_by_hop_headers_stay_here(proxied):
    _, backend, server, port, _ = proxied
    headers = [
        ("Authorization", "Bearer x"),
        ("Connection", "X-Private"),
        ("X-Private", "1"),
        ("X-Remote-User", "root"),
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Kept", "a"),
        ("X-Kept", "b"),
    ]
    answer = await ask(server, f"{PODS}/web:{port}/proxy/", headers=headers)
    assert not answer.header("access-control-allow-origin")
    answer.close()
    asked = backend.requests[-1].headers
    assert not {"authorization", "x-private", "x-remote-user"} & set(asked)
    assert asked["x-forwarded-for"] == "1.1.1.1, 127.0.0.1"
    assert asked["x-kept"] == "a, b"


async def test_the_root_is_a_redirect(proxied):
    _, _, server, port, _ = proxied
    answer = await ask(server, f"{PODS}/web:{port}/proxy?x=1")
    assert (answer.status, answer.header("location")) == (301, f"{PODS}/web:{port}/proxy/?x=1")
    answer.close()


async def test_links_lead_through_the_proxy(proxied):
    _, _, server, port, _ = proxied
    base = f"{PODS}/web:{port}/proxy"
    answer = await ask(server, f"{base}/page")
    assert (
        await answer.read()
        == (
            f'<html><a href="{base}/x?y=1">x</a> <a href="rel">r</a> <img src="{base}/i.png"/>'
            '<!-- <a href="/c"> --></html>'
        ).encode()
    )
    assert [v for n, v in answer.headers if n == "Set-Cookie"] == ["a=1", "b=2"]
    answer.close()
    status, packed = await whole(server, f"{base}/packed")
    assert gzip.decompress(packed) == f'<a href="{base}/x">'.encode()
    answer = await ask(server, f"{base}/redirect")
    assert (answer.status, answer.header("location")) == (302, f"{base}/target/")
    answer.close()


async def test_services_by_name_number_and_scheme(proxied):
    _, _, server, *_ = proxied
    for name in ("svc:http", "svc:80", "https:svc:tls", "https:svc:443"):
        assert await whole(server, f"{SERVICES}/{quote(name)}/proxy/x") == (200, b"GET /x? ")


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (f"{SERVICES}/svc:81/proxy/", 503, 'no service port 81 found for service "svc"'),
        (f"{SERVICES}/svc:odd/proxy/", 503, 'no endpoints available for service "svc:odd"'),
        (f"{SERVICES}/ftp:svc:80/proxy/", 400, 'invalid service request "ftp:svc:80"'),
        (f"{SERVICES}/none/proxy/", 404, 'endpoints "none" not found'),
        (
            f"{PODS}/web:1/proxy/",
            503,
            "error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (f"{PODS}/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
    ],
)
async def test_proxy_refusals(proxied, path, code, message):
    status, body = await whole(proxied[2], path)
    assert (status, orjson.loads(body)["message"]) == (code, message)


async def test_nodes_are_proxied_to_the_kubelet(proxied):
    _, backend, server, plain, tls = proxied
    assert await whole(server, "/api/v1/nodes/node-1/proxy/healthz") == (200, b"GET /healthz? ")
    assert backend.requests[-1].client_certificate
    assert await whole(server, f"/api/v1/nodes/node-1:{tls}/proxy/pods") == (200, b"GET /pods? ")
    assert await whole(server, f"/api/v1/nodes/http:node-1:{plain}/proxy/x") == (200, b"GET /x? ")


async def test_an_upgrade_is_proxied(proxied):
    _, _, server, port, _ = proxied
    connection = await dial("127.0.0.1", server.port, clock=CLOCK)
    headers = [("Host", "x"), ("Connection", "Upgrade"), ("Upgrade", "shout")]
    answer = await upgrade(connection, "GET", f"{PODS}/web:{port}/proxy/shout", headers)
    assert isinstance(answer, Upgraded)
    await connection.write(b"hello")
    assert await connection.read() == b"HELLO"
    connection.write_eof()
    assert await connection.read() == b""
    connection.close()


async def test_addresses_that_are_never_proxied_to(world):
    context, _, server, *_ = world
    for address in ("", "127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1"):
        context.reader.add(pod(ip=address))
        status, body = await whole(server, f"{PODS}/web:80/proxy/")
        assert (status, orjson.loads(body)["message"]) == (400, "address not allowed")
    assert _allowed("10.1.2.3") and _allowed("fd00::1")
    status, _ = await whole(server, "/api/v1/nodes/node-1/proxy/")
    assert status == 400


def test_names():
    assert split_name("a", "pod") == ("", "a", "")
    assert split_name("a:1", "pod") == ("", "a", "1")
    assert split_name("https:a:1", "pod") == ("https", "a", "1")


def test_paths_are_joined_as_go_does():
    assert join("/a", "/b/../c/") == "/a/c/"
    assert join("", "//x//y") == "/x/y"
    assert join("", "") == ""
    assert join("", "/") == "/"


def test_rewriting_leaves_the_rest_alone():
    rewriter = Rewriter("/p", "10.0.0.1:80", "api")
    page = b"<a\n href='/x' data=1>\xff</a><script>if (a<b) x = '<a href=\"/y\">'</script><a href=\"http://other/x\">"
    assert rewrite_body(page, "", rewriter) == page.replace(b"<a\n href='/x' data=1>", b'<a href="/p/x" data="1">')
    assert rewriter.url("http://10.0.0.1:80/x") == "/p/x"
    assert rewriter.url("http://api/x") == "http://api/p/x"
    assert rewriter.url("/p/x") == "/p/x"
    assert rewriter.url("http://[bad/x") == "http://[bad/x"
    assert rewrite_body(b"not gzip", "gzip", rewriter) == b"not gzip"
    assert rewrite_body(b'<a href="/x">', "br", rewriter) == b'<a href="/x">'
