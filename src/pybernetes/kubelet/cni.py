"""The CNI configuration that the runtime reads: how a pod gets its interface and address.

First form: one ``bridge`` (or ``ptp``) plugin with ``host-local`` addresses out of the node's pod CIDR, and ``portmap`` for host
ports. The network component replaces what ``configuration`` returns; ``write`` is the seam. Specified by the CNI spec 1.0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

FILE = "10-pybernetes.conflist"


def configuration(
    pod_cidrs: Sequence[str],
    *,
    state: Path,
    bridge: str = "cni0",
    plugin: str = "bridge",
    mtu: int = 0,
    host_ports: bool = True,
) -> dict[str, Any]:
    """A network configuration list. ``state`` keeps the addresses that are handed out."""
    ipam = {
        "type": "host-local",
        "dataDir": str(state),
        "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
        "routes": [{"dst": "::/0" if ":" in cidr else "0.0.0.0/0"} for cidr in pod_cidrs],
    }
    first: dict[str, Any] = {"type": plugin, "ipMasq": False, "ipam": ipam}
    if plugin == "bridge":
        first |= {"bridge": bridge, "isGateway": True, "hairpinMode": True}
    if mtu:
        first["mtu"] = mtu
    plugins = [first]
    if host_ports:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}, "snat": True})
    return {"cniVersion": "0.4.0", "name": "pybernetes", "plugins": plugins}


def write(directory: Path, config: dict[str, Any]) -> None:
    """Puts the configuration where the runtime looks, whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    temporary = directory / f".{FILE}.{os.getpid()}"
    temporary.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    temporary.replace(directory / FILE)
