"""Nodes on one machine: each is a network namespace and a mount namespace, joined to the machine by a bridge.

::

    machine ── bridge p8sTAG 172.30.0.1 ──┬── veth ── eth0 172.30.0.10  namespace p8s-TAG-node-0
       │  routes: pods, services, load    └── veth ── eth0 172.30.0.11  namespace p8s-TAG-node-1
       │          via node-0's proxy
       └── nftables table p8s_TAG: pods and nodes may reach the world

Everything made here carries the cluster's tag, so ``remove`` finds all of it without remembering anything, and two clusters do
not meet. Mount namespaces keep a node's mounts away from the machine: when the last process in one is gone, so are they.
"""

from __future__ import annotations

import ctypes
import ipaddress
import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from .layout import ClusterError, Layout, Settings

NETNS_DIRECTORY = Path("/run/netns")
FIRST_NODE_ADDRESS = 10
JOIN_PROTOCOL = "137"
"""Marks routes of a machine that joined; those of the pod network have 136."""
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000


def run(*argv: str, text: str | None = None, check: bool = True) -> str:
    """Runs a system program; its standard output. Raises ClusterError with the program's own words."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=environment, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"`{' '.join(argv)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class NodeNetwork:
    """What a node on this machine needs to know of its place."""

    name: str
    address: str
    netns: Path
    mount_namespace: Path


class Machine:
    """The machine's side of one cluster."""

    def __init__(self, layout: Layout, settings: Settings) -> None:
        self._layout, self._settings = layout, settings
        self._tag = layout.tag

    @property
    def bridge(self) -> str:
        return f"p8s{self._tag}"

    @property
    def table(self) -> str:
        return f"p8s_{self._tag}"

    @property
    def gateway(self) -> str:
        """The machine's own address on the bridge: where nodes and pods find the API server."""
        return str(next(ipaddress.ip_network(self._settings.node_cidr).hosts()))

    @property
    def advertised(self) -> str:
        """Where others reach the API server."""
        return self.gateway if self._settings.nodes else default_address() or "127.0.0.1"

    def node(self, name: str) -> NodeNetwork:
        if self._settings.joined_node:
            pinned = self._layout.run / "mnt" / name
            return NodeNetwork(name, self._settings.joined_address, Path("/proc/self/ns/net"), pinned)
        index = self._settings.node_names.index(name)
        network = ipaddress.ip_network(self._settings.node_cidr)
        return NodeNetwork(
            name,
            str(network.network_address + FIRST_NODE_ADDRESS + index),
            NETNS_DIRECTORY / f"p8s-{self._tag}-{name}",
            self._layout.run / "mnt" / name,
        )

    def create(self) -> None:
        """Makes bridge, namespaces, links, routes and rules. What a crash left behind is removed first."""
        if not self._settings.node_names:
            return
        self.remove()
        self._private_run_directory()
        if self._settings.joined_node:
            self._create_joined()
            return
        prefix = ipaddress.ip_network(self._settings.node_cidr).prefixlen
        commands = [
            f"link add {self.bridge} type bridge",
            f"addr add {self.gateway}/{prefix} dev {self.bridge}",
            f"link set {self.bridge} up",
        ]
        run("ip", "-batch", "-", text="\n".join(commands) + "\n")
        for index, name in enumerate(self._settings.node_names):
            self._create_node(index, self.node(name), prefix)
        first = self.node(self._settings.node_names[0]).address
        networks = (self._settings.pod_cidr, self._settings.service_cidr, self._settings.load_balancer_cidr)
        routes = [f"route add {c} via {first}" for c in networks]
        run("ip", "-batch", "-", text="\n".join(routes) + "\n")
        self._allow_the_world()

    def _create_joined(self) -> None:
        """The machine itself is the node: no namespace but for mounts, no bridge."""
        from .joining import route_to_nodes

        command = route_to_nodes(self._settings)
        if command:
            run("ip", *command.split())
        self._create_mount_namespace(self.node(self._settings.joined_node))

    def _create_node(self, index: int, node: NodeNetwork, prefix: int) -> None:
        outer = f"{self.bridge}n{index}"
        run("ip", "netns", "add", node.netns.name)
        commands = [
            f"link add {outer} type veth peer name eth0 netns {node.netns.name}",
            f"link set {outer} master {self.bridge} up",
        ]
        run("ip", "-batch", "-", text="\n".join(commands) + "\n")
        inside = [
            "link set lo up",
            f"addr add {node.address}/{prefix} dev eth0",
            "link set eth0 up",
            f"route add default via {self.gateway}",
        ]
        run("ip", "-n", node.netns.name, "-batch", "-", text="\n".join(inside) + "\n")
        self._create_mount_namespace(node)

    def _private_run_directory(self) -> None:
        """A private mount: only on such a one may a mount namespace be pinned to a file."""
        self._layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.ismount(self._layout.run):
            run("mount", "-t", "tmpfs", "-o", "mode=700,size=16m", "p8s", str(self._layout.run))
            run("mount", "--make-private", str(self._layout.run))
        (self._layout.run / "mnt").mkdir(exist_ok=True)

    def _create_mount_namespace(self, node: NodeNetwork) -> None:
        node.mount_namespace.touch()
        # Inside, mounts are private, /sys shows the node's own network, and the second cgroup hierarchy of hybrid
        # machines is out of sight: crun refuses to work beside it.
        script = (
            "mount --make-rprivate / && if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi"
        )
        run("nsenter", f"--net={node.netns}", "unshare", f"--mount={node.mount_namespace}", "sh", "-c", script)

    def _allow_the_world(self) -> None:
        forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        if forwarding.read_text().strip() != "1":
            (self._layout.run / "ip_forward").write_text("0\n")
            forwarding.write_text("1\n")
        inside = f"{{ {self._settings.node_cidr}, {self._settings.pod_cidr} }}"
        rules = f"""
            table ip {self.table} {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat; policy accept;
                    ip saddr {inside} oifname != "{self.bridge}" masquerade
                }}
            }}
        """
        run("nft", "-f", "-", text=rules)

    def remove(self) -> None:
        """Takes away all that carries the tag; nothing there is no error."""
        links = json.loads(run("ip", "-json", "link", "show", check=False) or "[]")
        for link in links:
            if link["ifname"] == self.bridge or link["ifname"].startswith(f"{self.bridge}n"):
                run("ip", "link", "delete", link["ifname"], check=False)
        if NETNS_DIRECTORY.exists():
            for namespace in NETNS_DIRECTORY.glob(f"p8s-{self._tag}-*"):
                run("ip", "netns", "delete", namespace.name)
        run("nft", "delete", "table", "ip", self.table, check=False)
        if self._settings.joined_node:
            run("ip", "route", "flush", "proto", JOIN_PROTOCOL, check=False)
        if (self._layout.run / "ip_forward").exists():
            Path("/proc/sys/net/ipv4/ip_forward").write_text("0\n")
        for pinned in sorted((self._layout.run / "mnt").glob("*")) if (self._layout.run / "mnt").exists() else []:
            run("umount", str(pinned), check=False)
        if os.path.ismount(self._layout.run):
            run("umount", "--lazy", str(self._layout.run))
        if self._layout.run.exists():
            for leftover in self._layout.run.iterdir():
                leftover.unlink()
            self._layout.run.rmdir()


def own_addresses() -> list[str]:
    """All IPv4 addresses of this machine that others may know it by."""
    links = json.loads(run("ip", "-json", "-4", "addr", "show", "scope", "global", check=False) or "[]")
    return [a["local"] for link in links for a in link.get("addr_info") or () if a.get("local")]


def default_address() -> str:
    """The address that this machine has towards the world; "" where there is no way to it."""
    found = json.loads(run("ip", "-json", "-4", "route", "get", "192.0.2.1", check=False) or "[]")
    return str(found[0].get("prefsrc") or "") if found else ""


def enter(node_netns: Path, mount_namespace: Path) -> None:
    """Moves this process into a node's namespaces. Only possible while it has one thread: call it first of all."""
    libc = ctypes.CDLL(None, use_errno=True)
    for path, kind in ((node_netns, _CLONE_NEWNET), (mount_namespace, _CLONE_NEWNS)):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if libc.setns(descriptor, kind) != 0:
                code = ctypes.get_errno()
                raise ClusterError(f"cannot enter {path}: {os.strerror(code)}", "start the cluster with `p8s up`")
        finally:
            os.close(descriptor)


def pick_free_networks(settings: Settings) -> Settings:
    """The settings with networks that nothing on this machine uses yet: other clusters, VPNs, container engines."""
    routes = json.loads(run("ip", "-json", "route", "show", "table", "all", check=False) or "[]")
    taken = []
    for route in routes:
        try:
            taken.append(ipaddress.IPv4Network(route.get("dst", ""), strict=False))
        except ValueError:
            continue  # "default", local host routes of other families

    def first_free(candidates: list[str], what: str) -> str:
        for candidate in candidates:
            if not any(ipaddress.IPv4Network(candidate).overlaps(t) for t in taken if t.prefixlen):
                return candidate
        raise ClusterError(f"no free network for {what} on this machine", "remove routes that are not needed")

    return replace(
        settings,
        node_cidr=first_free([f"172.30.{i}.0/24" for i in range(256)], "nodes"),
        pod_cidr=first_free(
            [f"10.{i}.0.0/16" for i in range(244, 255)] + [f"10.{i}.0.0/16" for i in range(200, 240)], "pods"
        ),
        service_cidr=first_free([f"10.{i}.0.0/16" for i in range(96, 128)], "services"),
    )
