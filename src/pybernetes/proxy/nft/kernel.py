"""The netlink socket: transactions, dumps, and the stream of what anybody changes in nftables."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from . import wire
from .tables import Message

_NETFILTER = 12
_SOL_SOCKET_SNDBUFFORCE, _SOL_SOCKET_RCVBUFFORCE = 32, 33
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _CAP_ACK = 270, 1, 2, 10
GROUP_NFTABLES = 7
_SEND_BUFFER = 256 * 1024 * 1024
_RECEIVE_BUFFER = 8 * 1024 * 1024
_CHUNK = 1 << 20


class NftError(Exception):
    """The kernel refused a message. ``code`` is the errno, ``index`` the place of the message in the transaction."""

    def __init__(self, code: int, index: int = -1, kind: int = -1) -> None:
        super().__init__(
            f"nftables: {os.strerror(code)} ({errno.errorcode.get(code, code)}), message {index} of kind {kind}"
        )
        self.code, self.index, self.kind = code, index, kind


class Netfilter:
    """One nfnetlink socket in the network namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _SOL_SOCKET_SNDBUFFORCE, _SEND_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SOL_SOCKET_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """What the kernel calls this socket when it tells others who changed something."""
        return int(self._socket.getsockname()[0])

    def commit(self, messages: Iterable[Message], family: int) -> None:
        """All of the messages or none. Raises NftError for the first that the kernel refuses."""
        listed = list(messages)
        if not listed:
            return
        data, last = wire.batch(listed, family)
        self._socket.send(data)
        while True:
            for kind, _, sequence, body in wire.messages(self._socket.recv(_CHUNK)):
                if kind != wire.NLMSG_ERROR:
                    continue
                code = wire.error_of(body)
                if code:
                    self._drain()
                    index = sequence - 1
                    raise NftError(code, index, listed[index][0] if 0 <= index < len(listed) else -1)
                if sequence == last:
                    return

    def _drain(self) -> None:
        """Further errors of the same transaction are waiting: the next one must not read them."""
        while True:
            try:
                self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def dump(self, kind: int, family: int, body: bytes = b"") -> Iterator[bytes]:
        """The bodies (after the family header) of all answers. Raises NftError."""
        yield from self.ask(wire.nftables(kind), family, body, wire.DUMP)

    def get(self, kind: int, family: int, body: bytes = b"") -> bytes:
        """The one answer's body. Raises NftError (ENOENT where there is no such thing)."""
        return next(iter(list(self.ask(wire.nftables(kind), family, body, wire.ACK))))

    def ask(self, kind: int, family: int, body: bytes, flags: int) -> Iterator[bytes]:
        self._socket.send(wire.message(kind, family, body, flags=flags, sequence=1))
        answers: list[bytes] = []
        interrupted = False
        while True:
            for answer, answer_flags, _, payload in wire.messages(self._socket.recv(_CHUNK)):
                interrupted |= bool(answer_flags & 0x10)
                if answer == wire.NLMSG_ERROR:
                    code = wire.error_of(payload)
                    if code:
                        raise NftError(code, 0, kind)
                    return iter(answers)
                if answer == wire.NLMSG_DONE:
                    if interrupted:
                        raise NftError(errno.EINTR, 0, kind)
                    return iter(answers)
                answers.append(payload[4:])


class Monitor:
    """Tells who changes nftables: a socket to be watched by the event loop."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETFILTER
        )
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(socket.SOL_SOCKET, _SOL_SOCKET_RCVBUFFORCE, _RECEIVE_BUFFER)
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, GROUP_NFTABLES)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    @contextmanager
    def not_listening(self) -> Iterator[None]:
        """While a large transaction of one's own is written, whose echo would only fill the socket."""
        self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, GROUP_NFTABLES)
        try:
            yield
        finally:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, GROUP_NFTABLES)

    def foreign_changes(self, own: Collection[int]) -> set[str] | None:
        """Names of tables that others changed since the last call; None where events were lost and all must be checked.

        ``own`` are the ``port`` numbers of sockets whose changes do not count.
        """
        found: set[str] = set()
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return found
            except OSError as failure:
                if failure.errno != errno.ENOBUFS:
                    raise
                return None
            for kind, port, body in wire.notifications(data):
                if kind & 0xFF != wire.NEWGEN and port not in own:
                    name = wire.attributes(body, 4).get(1, b"")
                    found.add(name.rstrip(b"\0").decode("utf-8", "replace"))
