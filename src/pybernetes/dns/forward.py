"""Asking other name servers what the cluster does not know: the node's own resolvers, or a stub domain's.

Answers are kept as bytes for their lifetime (at most ``CACHE_SECONDS``), refusals included.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import dns.exception
import dns.message

from ..concurrency import Clock

CACHE_SECONDS = 30.0
CACHE_ENTRIES = 5_000
TRY_SECONDS = 2.0
TRIES = 2


MAX_CONCURRENT = 1_000
"""Questions under way; more are answered SERVFAIL at once, as CoreDNS' ``max_concurrent`` does."""


class ForwardError(Exception):
    """No server gave an answer."""


def resolvers_of(path: Path) -> list[str]:
    """The name servers of a resolv.conf; none where the file is missing."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]


class Forwarder:
    """``upstreams`` and ``stub_domains`` (domain to servers) may be replaced at any time. A server is ``host`` or ``host:port``."""

    def __init__(
        self, upstreams: Sequence[str], clock: Clock, stub_domains: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.upstreams = list(upstreams)
        self.stub_domains = dict(stub_domains or {})
        self._clock = clock
        self._cache: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._under_way = self.rejected = 0

    def servers_for(self, name: str) -> Sequence[str]:
        """The servers of the longest stub domain that holds the name, else the upstreams."""
        labels = name.split(".")
        for start in range(len(labels)):
            servers = self.stub_domains.get(".".join(labels[start:]))
            if servers:
                return servers
        return self.upstreams

    async def ask(self, packet: bytes, name: str, udp: bool) -> bytes:
        """The answer with the packet's own id. Raises ForwardError."""
        key = packet[2:] + (b"u" if udp else b"t")
        kept = self._cache.get(key)
        now = self._clock.monotonic()
        if kept is not None and kept[0] > now:
            return packet[:2] + kept[1][2:]
        if self._under_way >= MAX_CONCURRENT:
            self.rejected += 1
            raise ForwardError(f"{MAX_CONCURRENT} questions are under way already")
        self._under_way += 1
        try:
            answer = await self._ask_servers(packet, name, udp)
        finally:
            self._under_way -= 1
        self._cache[key] = (now + _lifetime(answer), answer)
        self._cache.move_to_end(key)
        while len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return answer

    async def _ask_servers(self, packet: bytes, name: str, udp: bool) -> bytes:
        failures = []
        for _ in range(TRIES):
            for server in self.servers_for(name):
                try:
                    async with self._clock.timeout(TRY_SECONDS):
                        return await (_ask_udp(packet, server) if udp else _ask_tcp(packet, server))
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as failure:
                    failures.append(f"{server}: {failure or type(failure).__name__}")
        raise ForwardError("; ".join(failures) or "no name server is configured")


def address_of(server: str) -> tuple[str, int]:
    """``192.0.2.1``, ``192.0.2.1:53``, ``2001:db8::1``, ``[2001:db8::1]:53``. Raises ValueError: names are not resolved."""
    host, port = server, "53"
    if server.startswith("["):
        host, bracket, port = server[1:].partition("]")
        if not bracket:
            raise ValueError(f"{server} has no closing bracket")
        port = port.removeprefix(":") or "53"
    elif server.count(":") == 1:
        host, _, port = server.partition(":")
    ipaddress.ip_address(host)
    if not 0 < int(port) < 65536:
        raise ValueError(f"{port} is no port")
    return host, int(port)


def _lifetime(answer: bytes) -> float:
    try:
        message = dns.message.from_wire(answer)
    except (dns.exception.DNSException, ValueError):
        return 0.0
    ttls = [r.ttl for r in (*message.answer, *message.authority)]
    return min(CACHE_SECONDS, min(ttls)) if ttls else 0.0


def _answers(question: bytes, data: bytes) -> bool:
    """Whether it is an answer to this question: the id, and the name and type as they were asked."""
    end = question.find(b"\0", 12) + 5
    same = data[:2] == question[:2] and data[12:end].lower() == question[12:end].lower()
    return len(data) >= 12 and bool(data[2] & 0x80) and same


class _Question(asyncio.DatagramProtocol):
    def __init__(self, packet: bytes, answer: asyncio.Future[bytes]) -> None:
        self._packet, self._answer = packet, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._packet)

    def datagram_received(self, data: bytes, sender: object) -> None:
        # Another id or question is a late answer or a forged one.
        if _answers(self._packet, data) and not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, failure: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(failure)


async def _ask_udp(packet: bytes, server: str) -> bytes:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Question(packet, answer), remote_addr=address_of(server)
    )
    try:
        return await answer
    finally:
        transport.close()


async def _ask_tcp(packet: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(*address_of(server))
    try:
        writer.write(struct.pack("!H", len(packet)) + packet)
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        return await reader.readexactly(size)
    finally:
        writer.close()
