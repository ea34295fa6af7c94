"""HTTP GET for probes and hooks: one request a connection, bounded, and nothing of it kept.

Rules of upstream's ``pkg/probe/http`` (headers, redirects to other hosts, the size that is read) on plain asyncio streams: the
general clients cost more memory than the rest of the prober.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from urllib.parse import urljoin, urlsplit

from ..api.meta import Object

MAX_BODY = 10 * 1024
_MAX_HEAD, _MAX_REDIRECTS = 64 * 1024, 10


class HttpError(Exception):
    """No answer; the message is Go's for the usual cases."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    location: str = ""
    redirected_away: str = ""
    """Where a redirect led to another host, which is not followed."""


@cache
def _unverified() -> ssl.SSLContext:
    # A probe asks whether the container serves, not who it is: certificates of pods are seldom signed for their address.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def go_dial_error(host: str, port: int, failure: BaseException) -> str:
    if isinstance(failure, ConnectionRefusedError):
        why = "connect: connection refused"
    elif isinstance(failure, TimeoutError):
        why = "i/o timeout"
    elif isinstance(failure, OSError) and failure.errno in (113, 101):
        why = "connect: " + {113: "no route to host", 101: "network is unreachable"}[failure.errno]
    else:
        why = str(failure) or type(failure).__name__
    address = f"[{host}]" if ":" in host else host
    return f"dial tcp {address}:{port}: {why}"


@asynccontextmanager
async def connection(host: str, port: int, *, tls: bool = False):  # type: ignore[no-untyped-def]
    """A stream pair that is closed, not lingered on, whatever happens."""
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=_unverified() if tls else None)
    except ssl.SSLError as failure:
        raise HttpError(f"tls: {failure.reason or failure}") from failure
    except OSError as failure:
        raise HttpError(go_dial_error(host, port, failure)) from failure
    try:
        yield reader, writer
    finally:
        transport = writer.transport
        if transport is not None:
            transport.abort()


def _request(host: str, port: int, scheme: str, path: str, headers: Sequence[Object], agent: str) -> bytes:
    address = f"[{host}]" if ":" in host else host
    default = 443 if scheme == "https" else 80
    fields: list[tuple[str, str]] = []
    given = {h.get("name", "").lower() for h in headers}
    host_header = next((h.get("value", "") for h in headers if h.get("name", "").lower() == "host"), None)
    fields.append(("Host", host_header or (address if port == default else f"{address}:{port}")))
    if "user-agent" not in given:
        fields.append(("User-Agent", agent))
    if "accept" not in given:
        fields.append(("Accept", "*/*"))
    fields += [(h["name"], h.get("value", "")) for h in headers if h.get("name", "").lower() != "host"]
    fields.append(("Connection", "close"))
    # An empty value means that the header is not to be sent at all.
    lines = [f"{k}: {v}" for k, v in fields if v]
    return (f"GET {path} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


async def _exchange(host: str, port: int, scheme: str, path: str, headers: Sequence[Object], agent: str) -> Answer:
    async with connection(host, port, tls=scheme == "https") as (reader, writer):
        try:
            writer.write(_request(host, port, scheme, path, headers, agent))
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            return await _answer(reader, head)
        except asyncio.IncompleteReadError as failure:
            raise HttpError("EOF" if not failure.partial else "malformed HTTP response") from failure
        except (asyncio.LimitOverrunError, ValueError, IndexError) as failure:
            raise HttpError("malformed HTTP response") from failure
        except ssl.SSLError as failure:
            raise HttpError(f"tls: {failure.reason or failure}") from failure
        except OSError as failure:
            raise HttpError(f"read tcp {host}:{port}: {failure.strerror or failure}") from failure


async def _answer(reader: asyncio.StreamReader, head: bytes) -> Answer:
    lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = lines[0].split(" ", 2)
    if not version.startswith("HTTP/"):
        raise HttpError(f'malformed HTTP response "{lines[0][:80]}"')
    fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunked(reader)
    else:
        length = fields.get("content-length", "")
        body = await _read(reader, min(MAX_BODY, int(length)) if length.isdigit() else MAX_BODY)
    return Answer(int(status), body.decode("utf-8", "replace"), fields.get("location", ""))


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    parts, left = [], size
    while left > 0:
        part = await reader.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < MAX_BODY:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            break
        body += await _read(reader, min(size, MAX_BODY - len(body)))
        await reader.read(2)
    return bytes(body)


async def get(
    scheme: str, host: str, port: int, path: str, headers: Sequence[Object] = (), *, agent: str, follow: bool = True
) -> Answer:
    """GET with redirects to the same host followed. Raises HttpError. The caller sets the time limit."""
    path = path if path.startswith("/") else "/" + path
    start = host
    for _ in range(_MAX_REDIRECTS):
        answer = await _exchange(host, port, scheme, path, headers, agent)
        if not follow or answer.status not in (301, 302, 303, 307, 308) or not answer.location:
            return answer
        address = f"[{host}]" if ":" in host else host
        target = urlsplit(urljoin(f"{scheme}://{address}:{port}{path}", answer.location))
        if target.hostname != start:
            return Answer(answer.status, answer.body, answer.location, target.hostname or "")
        scheme, host = target.scheme, target.hostname
        port = target.port or (443 if scheme == "https" else 80)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    raise HttpError(f"stopped after {_MAX_REDIRECTS} redirects")
