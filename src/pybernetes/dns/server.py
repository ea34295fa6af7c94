"""The DNS server: UDP and TCP, answers for the cluster's zone at once and forwards the rest.

Clients repeat themselves, so an answer is kept as bytes under the bytes of its question (everything but the id) until the zone
changes: the common query costs one dictionary look-up. Malformed packets are answered FORMERR where they have an id, else dropped.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from typing import Any, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ..concurrency import Clock, logger
from .fast import quick_answer
from .forward import Forwarder, ForwardError
from .records import CNAME, NS, PTR, SOA, SRV, TXT, Answer, Zone

log = logger("dns")

TTL = 5
"""Seconds, CoreDNS' default for cluster names: short, for pods move."""
UDP_LIMIT = 512
CACHE_ENTRIES = 20_000
RECEIVE_BUFFER = 4 * 1024 * 1024
_SO_RCVBUFFORCE = 33
TCP_IDLE_SECONDS = 10.0


class DnsServer:
    """Serves one zone on one address. ``answered`` counts by outcome: ``cached``, ``cluster``, ``forwarded``, ``failed``."""

    def __init__(self, zone: Zone, forwarder: Forwarder, clock: Clock, rng: random.Random | None = None) -> None:
        self.zone, self.forwarder, self._clock = zone, forwarder, clock
        self._rng = rng or random.Random()
        self._cache: dict[bytes, bytes] = {}
        self._cache_generation = -1
        self._group: asyncio.TaskGroup | None = None
        self.rcodes = [0] * 16
        self.answered = {"cached": 0, "cluster": 0, "forwarded": 0, "failed": 0}
        self.addresses: list[tuple[str, int]] = []

    async def run(self, host: str, port: int, started: asyncio.Event | None = None) -> None:
        """Serves until cancelled. Port 0 takes a free one (``addresses`` says which). Raises OSError when it is taken."""
        transport, server = await self._listen(host, port)
        _enlarge(transport.get_extra_info("socket"))
        bound = transport.get_extra_info("sockname")
        self.addresses.append((bound[0], bound[1]))
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if started is not None:
                    started.set()
                await asyncio.Event().wait()
        finally:
            self._group = None
            transport.close()
            server.close()

    async def _listen(self, host: str, port: int) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
        """UDP and TCP on one port. What the kernel gives as free for the one may be taken for the other: then another."""
        loop = asyncio.get_running_loop()
        while True:
            server = await asyncio.start_server(self._tcp, host, port)
            address = (host, server.sockets[0].getsockname()[1])
            try:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=address)
            except OSError as failure:
                server.close()
                if port or failure.errno != errno.EADDRINUSE:
                    raise
            else:
                return transport, server

    @property
    def kept(self) -> int:
        """How many answers are kept."""
        return len(self._cache)

    def quick(self, packet: bytes) -> bytes | None:
        """The answer to this packet where it is kept or can be had at once."""
        if self._cache_generation != self.zone.generation:
            self._cache.clear()
            self._cache_generation = self.zone.generation
        kept = self._cache.get(packet[2:])
        if kept is not None:
            self.answered["cached"] += 1
            return packet[:2] + kept
        found = quick_answer(packet, self.zone, TTL, self._rng.shuffle)
        if found is None:
            return None
        self.answered["cluster"] += 1
        if found[1]:
            self._keep(packet, found[0])
        return found[0]

    def _keep(self, packet: bytes, answer: bytes) -> None:
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        self._cache[packet[2:]] = answer[2:]

    async def answer(self, packet: bytes, udp: bool) -> bytes | None:
        """The answer to one query; None where it deserves none."""
        try:
            query = dns.message.from_wire(packet)
        except (dns.exception.DNSException, ValueError, struct.error):
            self.answered["failed"] += 1
            # An answer's bit set means it is no query: answering could start a loop between two servers.
            if len(packet) < 12 or packet[2] & 0x80:
                return None
            return packet[:2] + b"\x80\x01" + b"\x00" * 8
        if query.flags & dns.flags.QR:
            return None
        if query.opcode() != 0 or len(query.question) != 1:
            return self._refuse(query, dns.rcode.NOTIMP if query.opcode() else dns.rcode.FORMERR)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        if question.rdclass == dns.rdataclass.IN and self.zone.covers(name):
            response = await self._from_zone(query, name, question.rdtype)
            limit = max(UDP_LIMIT, query.payload) if udp else 0xFFFF
            wire = _to_wire(response, limit)
            self.answered["cluster"] += 1
            if udp and _may_be_kept(response):
                self._keep(packet, wire)
            return wire
        return await self._forward(query, packet, udp)

    async def _forward(self, query: dns.message.Message, packet: bytes, udp: bool) -> bytes:
        try:
            answer = await self.forwarder.ask(packet, query.question[0].name.to_text(omit_final_dot=True).lower(), udp)
        except ForwardError as failure:
            log.debug("not forwarded", name=str(query.question[0].name), error=str(failure))
            self.answered["failed"] += 1
            return self._refuse(query, dns.rcode.SERVFAIL)
        self.answered["forwarded"] += 1
        return answer

    def _refuse(self, query: dns.message.Message, code: dns.rcode.Rcode) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(code)
        return response.to_wire()

    async def _from_zone(self, query: dns.message.Message, name: str, kind: int) -> dns.message.Message:
        answer = self.zone.lookup(name, kind)
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        if not answer.exists:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._fill(response, query.question[0].name, answer)
        if answer.records and answer.records[0].kind == CNAME and kind != CNAME:
            await self._follow(response, answer.records[0].data, kind)
        if name == self.zone.domain and kind == SOA:
            response.answer.append(self._soa())
        if not response.answer:
            response.authority.append(self._soa())
        return response

    def _fill(self, response: dns.message.Message, owner: dns.name.Name, answer: Answer) -> None:
        by_kind: dict[int, list[str]] = {}
        for record in answer.records:
            data = record.data
            if record.kind == TXT:
                data = f'"{data}"'
            elif record.kind in (NS, CNAME, PTR, SRV):
                data += "."
            by_kind.setdefault(record.kind, []).append(data)
        for kind, values in by_kind.items():
            if len(values) > 1:
                self._rng.shuffle(values)
            response.answer.append(
                dns.rrset.from_text(
                    owner, TTL, "IN", dns.rdatatype.to_text(dns.rdatatype.RdataType.make(kind)), *values
                )
            )

    async def _follow(self, response: dns.message.Message, target: str, kind: int) -> None:
        """Adds what the target of an ExternalName resolves to, where anybody knows; the CNAME stands alone otherwise."""
        name = dns.name.from_text(target)
        if self.zone.covers(target):
            self._fill(response, name, self.zone.lookup(target, kind))
            return
        question = dns.message.make_query(name, dns.rdatatype.RdataType.make(kind))
        try:
            answer = dns.message.from_wire(await self.forwarder.ask(question.to_wire(), target, True))
        except (ForwardError, dns.exception.DNSException):
            return
        response.answer.extend(answer.answer)

    def _soa(self) -> dns.rrset.RRset:
        text = f"ns.dns.{self.zone.domain}. hostmaster.{self.zone.domain}. {self.zone.generation} 7200 1800 86400 {TTL}"
        return dns.rrset.from_text(f"{self.zone.domain}.", TTL, "IN", "SOA", text)

    def received(self, packet: bytes, sender: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        """One UDP packet: answered on the spot where the answer is kept, else by a task."""
        kept = self.quick(packet)
        if kept is not None:
            self.rcodes[kept[3] & 15] += 1
            transport.sendto(kept, sender)
        elif self._group is not None:
            self._group.create_task(self._respond(packet, sender, transport))

    async def _respond(self, packet: bytes, sender: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        answer = await self.answer(packet, True)
        if answer is not None and not transport.is_closing():
            self.rcodes[answer[3] & 15] += 1
            transport.sendto(answer, sender)

    async def _tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with self._clock.timeout(TCP_IDLE_SECONDS):
                    size = struct.unpack("!H", await reader.readexactly(2))[0]
                    packet = await reader.readexactly(size)
                answer = await self.answer(packet, False)
                if answer is None:
                    return
                self.rcodes[answer[3] & 15] += 1
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            return  # the client is done, or idle for too long
        finally:
            writer.close()


def _enlarge(endpoint: Any) -> None:
    """Queries that come while the process waits for a processor are kept, not lost; root may pass the system's limit."""
    try:
        endpoint.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: Any) -> None:
        if self._transport is not None:
            self._server.received(data, sender, self._transport)


def _may_be_kept(response: dns.message.Message) -> bool:
    """Rotating addresses spread connections, so what has several is not; nor what others said of an ExternalName."""
    return all(len(r) < 2 and r.rdtype != dns.rdatatype.CNAME for r in response.answer)


def _to_wire(response: dns.message.Message, limit: int) -> bytes:
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        # The client asks again by TCP.
        short = dns.message.Message(id=response.id)
        short.question, short.flags = response.question, response.flags | dns.flags.TC
        return bytes(short.to_wire())
