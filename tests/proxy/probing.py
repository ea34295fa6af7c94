"""Who reaches whom: many connections tried at once, by TCP, UDP and SCTP, so that a whole matrix costs moments."""

from __future__ import annotations

import itertools
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping

from . import sctp
from .lab import Place

_PORTS = itertools.count()
"""Source ports, each used once: a flow of an earlier matrix with the same ends would count as a connection that exists."""
Probe = tuple[str, str, str, int]
"""(from, to, protocol, port)."""


class _Attempt:
    def __init__(self, source: Place, address: str, protocol: str, port: int) -> None:
        self.protocol, self.port = protocol, port
        self.own = 10_000 + next(_PORTS) % 22_000
        with source.inside():
            self.socket = source.lab.socket(protocol.lower())
        self.socket.setblocking(False)
        if protocol == "UDP":
            self.socket.bind(("", self.own))
        self.address = address
        self.try_again()

    def try_again(self) -> None:
        """Datagrams are sent anew; a TCP connection repeats itself."""
        try:
            if self.protocol == "SCTP":
                self.socket.connect((self.address, 0))
                self.socket.send(sctp.packet(self.own, self.port, 0, 1))
                return
            self.socket.connect_ex((self.address, self.port))
            if self.protocol == "UDP":
                self.socket.send(b"?")
        except OSError:
            pass  # refused by an earlier datagram's answer: it shows as not reached

    @property
    def event(self) -> int:
        return selectors.EVENT_WRITE if self.protocol == "TCP" else selectors.EVENT_READ

    def outcome(self) -> bool | None:
        """None: nothing yet."""
        if self.protocol == "TCP":
            return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        try:
            data = self.socket.recv(2000)
        except BlockingIOError:
            return None
        except OSError:
            return False
        if self.protocol == "UDP":
            return True
        payload = data[(data[0] & 15) * 4 :]
        return True if struct.unpack("!HH", payload[:4]) == (self.port, self.own) and payload[12] == 2 else None


def measured(expected: Mapping[Probe, bool], place: Callable[[str], Place]) -> dict[Probe, bool]:
    """Waits as long as something hoped for is missing, then a little more for what should not be."""
    selector = selectors.DefaultSelector()
    found = dict.fromkeys(expected, False)
    for key in expected:
        source, target, protocol, port = key
        attempt = _Attempt(place(source), place(target).address, protocol, port)
        selector.register(attempt.socket, attempt.event, (key, attempt))
    end, again = time.monotonic() + 6, time.monotonic() + 1
    grace = None
    while time.monotonic() < end and (grace is None or time.monotonic() < grace):
        for event, _ in selector.select(0.05):
            key, attempt = event.data
            reached = attempt.outcome()
            if reached is not None:
                found[key] = reached
                selector.unregister(attempt.socket)
                attempt.socket.close()
        if time.monotonic() > again:
            again += 1
            for event in list(selector.get_map().values()):
                if event.data[1].protocol != "TCP" and expected[event.data[0]]:
                    event.data[1].try_again()
        if grace is None and all(found[k] for k, hoped in expected.items() if hoped):
            grace = time.monotonic() + 0.15
    for event in list(selector.get_map().values()):
        event.fileobj.close()
    selector.close()
    return found


def wrong(expected: Mapping[Probe, bool], found: Mapping[Probe, bool]) -> dict[Probe, str]:
    return {k: f"expected {v}, found {found[k]}" for k, v in expected.items() if found[k] != v}
