"""Enough SCTP (RFC 9260) to see where an association would go, by raw sockets: many kernels have no SCTP of their own.

The client sends an INIT chunk, the server answers INIT ACK; its cookie says who answered. Firewalls track and translate these
like any association's.
"""

from __future__ import annotations

import os
import socket
import struct
import threading

PROTOCOL = 132
_INIT, _INIT_ACK, _COOKIE = 1, 2, 7
_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = _n >> 1 ^ (0x82F63B78 if _n & 1 else 0)
    _TABLE.append(_n)


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def packet(source: int, destination: int, tag: int, kind: int, cookie: bytes = b"") -> bytes:
    body = struct.pack("!IIHHI", 7, 65536, 1, 1, 1)
    if cookie:
        body += struct.pack("!HH", _COOKIE, 4 + len(cookie)) + cookie + b"\0" * (-len(cookie) % 4)
    chunk = struct.pack("!BBH", kind, 0, 4 + len(body)) + body
    head = struct.pack("!HHI", source, destination, tag)
    checksum = struct.pack("<I", crc32c(head + b"\0" * 4 + chunk))
    return head + checksum + chunk


def raw_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, PROTOCOL)


def serve(listener: socket.socket, port: int, answer: str) -> None:
    """Until the socket is shut down."""
    while True:
        try:
            data, peer = listener.recvfrom(2000)
        except OSError:
            return
        if not data:
            return
        payload = data[(data[0] & 15) * 4 :]
        source, destination = struct.unpack("!HH", payload[:4])
        if destination == port and payload[12] == _INIT:
            # The verification tag of the answer is the one that the INIT chunk names.
            tag = struct.unpack("!I", payload[16:20])[0]
            listener.sendto(packet(port, source, tag, _INIT_ACK, f"{answer} {peer[0]}".encode()), (peer[0], 0))


def ask(connection: socket.socket, address: str, port: int, timeout: float) -> str:
    """The server's words, ``refused`` or ``timeout``."""
    own = 20000 + int.from_bytes(os.urandom(2), "big") % 20000
    connection.settimeout(timeout)
    try:
        connection.connect((address, 0))
        connection.send(packet(own, port, 0, _INIT))
        while True:
            data = connection.recv(2000)
            payload = data[(data[0] & 15) * 4 :]
            if struct.unpack("!HH", payload[:4]) == (port, own) and payload[12] == _INIT_ACK:
                at = payload.index(struct.pack("!H", _COOKIE), 32)
                size = struct.unpack("!H", payload[at + 2 : at + 4])[0]
                return payload[at + 4 : at + size].decode()
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except OSError as failure:
        return failure.strerror or "error"


def start(listener: socket.socket, port: int, answer: str) -> threading.Thread:
    thread = threading.Thread(target=serve, args=(listener, port, answer), daemon=True)
    thread.start()
    return thread
