"""How pods of one node reach those of the others: a VXLAN device, or plain routes, kept by the Node objects.

``vxlan`` works wherever nodes reach each other by UDP: every node has one device whose hardware address follows from the node's
own address, so that routes, neighbours and forwarding entries of all others can be written down without asking or learning.
``routes`` needs nodes on one link and costs no header. ``none`` leaves all to a CNI plugin of the user's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..api.meta import Object, name_of
from ..api.resources import NODES
from ..client.informer import InformerFactory
from ..concurrency import Backoff, Clock, logger
from .model import VXLAN_PORT

log = logger("proxy.podnetwork")

DEVICE = "p8s-vxlan"
VXLAN_ID = 36
VXLAN_OVERHEAD = 50
CHECK_SECONDS = 60.0
"""How often all is written again: what a hand or a link that went down took away comes back by then."""
MODES = ("vxlan", "routes", "none")
ROUTE_PROTOCOL = "136"
"""Marks routes as ours: ``ip route show proto 136`` lists them, and no other is ever removed."""


class NetworkError(Exception):
    """The kernel refused a link or a route."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node: where it is and which pods it has."""

    name: str
    address: str
    pod_cidrs: tuple[str, ...]


def peer_of(node: Object) -> Peer | None:
    """None until the node has an address and a pod CIDR."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    addresses = [a.get("address", "") for a in status.get("addresses") or () if a.get("type") == "InternalIP"]
    address = next((a for a in addresses if a and ":" not in a), "")
    cidrs = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    cidrs = tuple(c for c in cidrs if ":" not in c)
    return Peer(name_of(node), address, cidrs) if address and cidrs else None


def hardware_address(address: str) -> str:
    """Of the VXLAN device of the node with this address: locally administered, one for each IPv4 address."""
    return "0a:58:" + ":".join(f"{octet:02x}" for octet in ipaddress.IPv4Address(address).packed)


def device_address(pod_cidr: str) -> str:
    """The network address of a pod CIDR: no pod gets it, so the device may have it."""
    return str(ipaddress.ip_network(pod_cidr).network_address)


def pod_mtu(mode: str, link_mtu: int) -> int:
    """What a pod's interface may carry when nodes are joined by links of ``link_mtu``."""
    return link_mtu - VXLAN_OVERHEAD if mode == "vxlan" else link_mtu


def plan(mode: str, me: Peer, others: Iterable[Peer]) -> dict[str, list[str]]:
    """For every pod CIDR of the others, the ``ip`` (or ``bridge``) commands that lead there; repeating them is harmless."""
    found: dict[str, list[str]] = {}
    for peer in others:
        for cidr in peer.pod_cidrs:
            if mode == "routes":
                found[cidr] = [f"route replace {cidr} via {peer.address} proto {ROUTE_PROTOCOL}"]
            elif mode == "vxlan":
                gateway, hardware = device_address(cidr), hardware_address(peer.address)
                found[cidr] = [
                    f"neigh replace {gateway} lladdr {hardware} dev {DEVICE} nud permanent",
                    f"fdb replace {hardware} dev {DEVICE} dst {peer.address} self permanent",
                    f"route replace {cidr} via {gateway} dev {DEVICE} src {device_address(me.pod_cidrs[0])}"
                    f" onlink proto {ROUTE_PROTOCOL}",
                ]
    return found


def withdrawal(commands: list[str]) -> list[str]:
    """The commands that take back what ``plan`` gave for one CIDR."""
    verbs = {"route": "route del", "neigh": "neigh del", "fdb": "fdb del"}
    found = []
    for command in reversed(commands):
        what, _, rest = command.partition(" replace ")
        if what == "route":
            rest = rest.partition(" ")[0] + f" proto {ROUTE_PROTOCOL}"
        elif what == "neigh":
            rest = rest.replace(" nud permanent", "")
        else:
            rest = rest.replace(" permanent", "")
        found.append(f"{verbs[what]} {rest}")
    return found


class PodNetwork:
    """Keeps this node's ways to the others' pods. Runs in the node's network namespace."""

    def __init__(self, factory: InformerFactory, clock: Clock, *, node_name: str, mode: str = "vxlan") -> None:
        if mode not in MODES:
            raise ValueError(f"unknown pod network {mode!r}: choose one of {', '.join(MODES)}")
        self._nodes, self._clock, self._node_name, self._mode = factory.informer(NODES), clock, node_name, mode
        self._changed = asyncio.Event()
        self._nodes.add_handler(lambda kind, old, new: self._changed.set())
        self._backoff = Backoff(0.2, 15.0)
        self._applied: dict[str, list[str]] = {}
        self._me: Peer | None = None

    async def run(self) -> None:
        if self._mode == "none":
            return
        await self._nodes.wait_synced()
        while True:
            self._changed.clear()
            try:
                await self.sync()
                self._backoff.reset()
            except NetworkError as failure:
                log.warning("pod network not in place", error=str(failure))
                self._applied.clear()
                await self._clock.sleep(self._backoff.next())
                continue
            try:
                async with self._clock.timeout(CHECK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                self._applied.clear()

    async def sync(self) -> None:
        peers = [p for p in map(peer_of, self._nodes.list()) if p is not None]
        me = next((p for p in peers if p.name == self._node_name), None)
        if me is None:
            return
        if me != self._me or not self._applied:
            await self._prepare(me)
            self._me = me
        wanted = plan(self._mode, me, (p for p in peers if p.name != self._node_name))
        await self._remove_stale(wanted)
        commands = [c for cidr, cs in wanted.items() if self._applied.get(cidr) != cs for c in cs]
        await _batch("bridge", [c for c in commands if c.startswith("fdb ")])
        await _batch("ip", [c for c in commands if not c.startswith("fdb ")])
        self._applied = wanted

    async def _prepare(self, me: Peer) -> None:
        if self._mode != "vxlan":
            return
        link, mtu = await link_of(me.address)
        create = (
            f"link add {DEVICE} address {hardware_address(me.address)} type vxlan id {VXLAN_ID} local {me.address}"
            f" dev {link} dstport {VXLAN_PORT} nolearning"
        )
        existing = await _run("ip", "-o", "-d", "link", "show", DEVICE, check=False)
        if existing and not (f"local {me.address} dev {link} " in existing and f"vxlan id {VXLAN_ID} " in existing):
            await _batch("ip", [f"link del {DEVICE}"])
            existing = ""
        await _batch("ip", [] if existing else [create])
        await _batch(
            "ip",
            [
                f"addr replace {device_address(me.pod_cidrs[0])}/32 dev {DEVICE}",
                f"link set {DEVICE} mtu {pod_mtu('vxlan', mtu)} up",
            ],
        )

    async def _remove_stale(self, wanted: dict[str, list[str]]) -> None:
        """Ways to nodes that are gone, also such as an earlier run of this agent left."""
        present = await _run("ip", "-4", "route", "show", "proto", ROUTE_PROTOCOL)
        for cidr in {line.split()[0] for line in present.splitlines()} - wanted.keys():
            known = self._applied.get(cidr)
            commands = withdrawal(known) if known else [f"route del {cidr} proto {ROUTE_PROTOCOL}"]
            await _batch("ip", [c for c in commands if not c.startswith("fdb ")], check=False)
            await _batch("bridge", [c for c in commands if c.startswith("fdb ")], check=False)


async def remove() -> None:
    """Takes back all that this module put into the network namespace."""
    present = await _run("ip", "-4", "route", "show", "proto", ROUTE_PROTOCOL, check=False)
    await _batch("ip", [f"route del {line.split()[0]} proto {ROUTE_PROTOCOL}" for line in present.splitlines()])
    await _run("ip", "link", "del", DEVICE, check=False)


async def link_of(address: str) -> tuple[str, int]:
    """The name and MTU of the link that has this address."""
    words = (await _run("ip", "-4", "-o", "addr", "show", "to", address)).split()
    if len(words) < 2:
        raise NetworkError(f"no link has the node's address {address}")
    details = (await _run("ip", "-o", "link", "show", "dev", words[1])).split()
    return words[1], int(details[details.index("mtu") + 1])


async def _batch(program: str, commands: list[str], *, check: bool = True) -> None:
    if commands:
        text = "".join(f"{c}\n" for c in commands)
        await _run(program, *(() if check else ("-force",)), "-batch", "-", text=text, check=check)


async def _run(*argv: str, text: str | None = None, check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"},
    )
    output, errors = await process.communicate(text.encode() if text is not None else None)
    if check and process.returncode != 0:
        raise NetworkError(f"`{' '.join(argv)}`: {errors.decode('utf-8', 'replace').strip()[:500]}")
    return output.decode("utf-8", "replace") if process.returncode == 0 else ""
