"""A small network of namespaces: nodes on one link, pods behind them, all served and asked from this process.

A socket belongs to the namespace it was made in, so one test process can listen in every pod and ask from anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from . import sctp

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_ENVIRONMENT = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


def missing() -> str:
    """Why such tests cannot run here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("ip", "nft"):
        if shutil.which(program, path=_ENVIRONMENT["PATH"]) is None:
            return f"needs {program}"
    probe = subprocess.run(["ip", "netns", "add", "p8s-probe"], capture_output=True, env=_ENVIRONMENT, check=False)
    subprocess.run(["ip", "netns", "delete", "p8s-probe"], capture_output=True, env=_ENVIRONMENT, check=False)
    return "" if probe.returncode == 0 else "cannot make network namespaces"


def run(*argv: str, text: str | None = None) -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=_ENVIRONMENT, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """This thread in another namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(namespace, os.O_RDONLY)
    try:
        assert _LIBC.setns(there, _CLONE_NEWNET) == 0
        yield
    finally:
        _LIBC.setns(own, _CLONE_NEWNET)
        os.close(own)
        os.close(there)


class Place:
    """One namespace, whoever made it."""

    def __init__(self, lab: Sockets, name: str, address: str, namespace: Path) -> None:
        self.lab, self.name, self.address, self.namespace = lab, name, address, namespace

    @property
    def netns(self) -> str:
        """Its name, where it is one that ``ip netns`` knows."""
        return self.namespace.name

    def ip(self, *commands: str) -> None:
        run("ip", "-n", self.netns, "-batch", "-", text="\n".join(commands) + "\n")

    def run(self, *argv: str, text: str | None = None) -> str:
        return run("ip", "netns", "exec", self.netns, *argv, text=text)

    def inside(self) -> contextlib.AbstractContextManager[None]:
        return inside(self.namespace)

    def sysctl(self, name: str, value: str) -> None:
        with self.inside():
            Path("/proc/sys", name).write_text(value)

    def serve(self, port: int, protocol: str = "tcp", answer: str = "", address: str = "0.0.0.0") -> None:
        """Answers every connection or datagram with its own name and the peer's address."""
        self.lab.serve(self, port, protocol, answer or self.name, address)

    def ask(self, address: str, port: int, protocol: str = "tcp", *, source: str = "", timeout: float = 1.5) -> str:
        """``name peer`` of who answered; ``refused`` or ``timeout`` where nobody did."""
        with self.inside():
            connection = self.lab.socket(protocol)
        with connection:
            if protocol == "sctp":
                return sctp.ask(connection, address, port, timeout)
            connection.settimeout(timeout)
            try:
                if source:
                    connection.bind((source, 0))
                connection.connect((address, port))
                connection.sendall(b"?")
                return connection.recv(200).decode()
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                return "timeout"
            except OSError as failure:
                return failure.strerror or "error"

    def who(self, address: str, port: int, protocol: str = "tcp", **options: float | str) -> str:
        return self.ask(address, port, protocol, **options).split()[0]  # type: ignore[arg-type]


class Sockets:
    """Servers that answer in any namespace until the end of the ``with``."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = False

    def close(self) -> None:
        self._closing = True
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(2)

    @staticmethod
    def socket(protocol: str) -> socket.socket:
        if protocol == "sctp":
            return sctp.raw_socket()
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)

    def serve(self, place: Place, port: int, protocol: str, answer: str, address: str) -> None:
        with place.inside():
            listener = self.socket(protocol)
            if protocol == "sctp":
                listener.bind((address, 0))
                self._sockets.append(listener)
                self._threads.append(sctp.start(listener, port, answer))
                return
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
        self._sockets.append(listener)
        if protocol != "udp":
            listener.listen(64)
        target = self._answer_datagrams if protocol == "udp" else self._answer_connections
        thread = threading.Thread(target=target, args=(listener, answer), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _answer_connections(self, listener: socket.socket, answer: str) -> None:
        while not self._closing:
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(1)
                connection.recv(10)
                connection.sendall(f"{answer} {peer[0]}".encode())

    def _answer_datagrams(self, listener: socket.socket, answer: str) -> None:
        while not self._closing:
            try:
                _, peer = listener.recvfrom(100)
                if not peer:
                    return  # shut down
                listener.sendto(f"{answer} {peer[0]}".encode(), peer)
            except OSError:
                return


class Lab(Sockets):
    """Use as a context manager; everything is gone afterwards."""

    def __init__(self, tag: str = "") -> None:
        super().__init__()
        self.tag = tag or f"p8st{os.getpid()}"
        self.places: list[Place] = []
        self.outside = self._place("outside", "172.30.77.1")
        run("ip", "-n", self.outside.netns, "link", "add", "br0", "type", "bridge")
        self.outside.ip("addr add 172.30.77.1/24 dev br0", "link set br0 up")

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for place in self.places:
            run("ip", "netns", "delete", place.netns)

    def _place(self, name: str, address: str) -> Place:
        place = Place(self, name, address, Path(f"/run/netns/{self.tag}-{name}"))
        run("ip", "netns", "add", place.netns)
        place.ip("link set lo up")
        self.places.append(place)
        return place

    def node(self, index: int) -> Place:
        """A machine on the common link, forwarding."""
        node = self._place(f"node{index}", f"172.30.77.{10 + index}")
        self.outside.ip(
            f"link add n{index} type veth peer name eth0 netns {node.netns}", f"link set n{index} master br0 up"
        )
        node.ip(f"addr add {node.address}/24 dev eth0", "link set eth0 up", "route add default via 172.30.77.1")
        node.sysctl("net/ipv4/ip_forward", "1")
        return node

    def pod(self, node: Place, address: str) -> Place:
        """A pod as the ``ptp`` plugin makes it."""
        pod = self._place("pod" + address.replace(".", "-"), address)
        gateway = address.rsplit(".", 1)[0] + ".1"
        link = "v" + address.replace(".", "")[-8:]
        node.ip(
            f"link add {link} type veth peer name eth0 netns {pod.netns}",
            f"addr add {gateway}/32 dev {link}",
            f"link set {link} up",
            f"route add {address}/32 dev {link}",
        )
        pod.ip(
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway}/32 dev eth0 scope link",
            f"route add default via {gateway} src {address}",
        )
        return pod
