"""The manager's own small HTTP server: ``/healthz`` (whole and by controller), ``/livez``, ``/readyz``, ``/metrics``, ``/version``.

Plain HTTP on loopback unless a certificate is given; nothing here changes anything.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from ..concurrency import Clock, logger

log = logger("controllers.serving")

_TIMEOUT = 10.0
_MAX_HEAD = 16 * 1024
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}


class Served(Protocol):
    """What a manager shows."""

    def health(self) -> Mapping[str, bool]: ...

    def metrics_text(self) -> bytes: ...


class HealthServer:
    """Serves until cancelled. Raises OSError where the port is taken."""

    def __init__(self, served: Served, clock: Clock, *, version: Mapping[str, Any]) -> None:
        self._served, self._clock, self._version = served, clock, version
        self.address: tuple[str, int] | None = None
        self.serving = asyncio.Event()

    async def run(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        server = await asyncio.start_server(self._connected, host, port, ssl=tls, limit=_MAX_HEAD)
        self.address = server.sockets[0].getsockname()[:2]
        self.serving.set()
        log.info("serving health and metrics", host=self.address[0], port=self.address[1])
        async with server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._clock.timeout(_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as failure:
            log.debug("request dropped", error=str(failure))
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or words[0] not in ("GET", "HEAD"):
            return _response(405, b"method not allowed\n", "text/plain; charset=utf-8", body=True)
        status, body, content_type = self._page(words[1].partition("?")[0])
        return _response(status, body, content_type, body=words[0] == "GET")

    def _page(self, path: str) -> tuple[int, bytes, str]:
        text = "text/plain; charset=utf-8"
        if path == "/metrics":
            return 200, self._served.metrics_text(), "text/plain; version=0.0.4; charset=utf-8"
        if path == "/version":
            return 200, orjson.dumps(dict(self._version)), "application/json"
        health = self._served.health()
        root, _, name = path.strip("/").partition("/")
        if root == "livez" and not name:
            return 200, b"ok", text
        if root not in ("healthz", "readyz", "livez") or (name and name not in health):
            return 404, b"404 page not found\n", text
        chosen = {name: health[name]} if name else health
        failed = [n for n, good in chosen.items() if not good]
        if not failed:
            return 200, b"ok", text
        lines = [f"[{'+' if good else '-'}]{n} {'ok' if good else 'failed: not started'}" for n, good in chosen.items()]
        return 500, ("\n".join(lines) + f"\n{root} check failed\n").encode(), text


def _response(status: int, content: bytes, content_type: str, *, body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
        "Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
