"""What must be there before anything is started: root, programs, room, ports. Each lack is one line with its remedy."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from .layout import ClusterError, Layout, Settings

CNI_PLUGIN_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
"""Program to the Debian package that brings it."""
JOINED_PORTS = (10053, 10249, 10250, 10256)
"""What a node's agent serves, here on the machine itself."""
MINIMUM_FREE_BYTES = 512 * 1024 * 1024


def find_cni_plugins() -> Path | None:
    """The first directory that holds all the plugins we call."""
    return next((d for d in CNI_PLUGIN_DIRECTORIES if all((d / p).exists() for p in CNI_PLUGINS)), None)


def missing_packages(proxy_mode: str = "nftables") -> list[str]:
    """Debian packages that ``p8s up`` needs and this machine lacks, in the order of ``PROGRAMS``."""
    # sbin is often missing from a user's PATH though the programs are there.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    programs = {**PROGRAMS, "iptables-restore": "iptables"} if proxy_mode == "iptables" else PROGRAMS
    packages = [package for program, package in programs.items() if shutil.which(program, path=path) is None]
    if find_cni_plugins() is None:
        packages.append("containernetworking-plugins")
    return list(dict.fromkeys(packages))


def check_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("p8s up needs root: it makes network namespaces and containers", "run it with sudo")


def check_programs(proxy_mode: str = "nftables") -> None:
    packages = missing_packages(proxy_mode)
    if packages:
        raise ClusterError(f"missing: {', '.join(packages)}", f"apt-get install {' '.join(packages)}")


def check_space(layout: Layout) -> None:
    """Looks at the nearest existing parent, for the directory itself may still have to be made."""
    place = next(p for p in (layout.data, *layout.data.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < MINIMUM_FREE_BYTES:
        raise ClusterError(
            f"only {free >> 20} MiB free at {place}, at least {MINIMUM_FREE_BYTES >> 20} are needed",
            "free some space, or choose another place with --data-dir",
        )


def check_ports(ports: Iterable[int]) -> None:
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError as failure:
                if failure.errno != errno.EADDRINUSE:
                    raise
                raise ClusterError(
                    f"port {port} is in use", "stop what listens there, or choose another with --api-port"
                ) from failure


def check_all(layout: Layout, settings: Settings) -> None:
    """Raises ClusterError for the first thing that stands in the way; nothing has been changed by then."""
    if settings.node_names:
        check_root()
        check_programs(settings.proxy_mode)
    layout.check_version()
    check_space(layout)
    check_ports(JOINED_PORTS if settings.joined_node else [settings.api_port])
