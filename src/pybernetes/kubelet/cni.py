"""The CNI configuration that the runtime reads: how a pod gets its interface and address.

One ``ptp`` plugin with ``host-local`` addresses out of the node's pod CIDR: each pod has its own link and a route of one address, so
pods on one node meet in the node's routing like all others, and rules need no bridge filtering. Host ports are rules of the
service proxy (``pybernetes.proxy``), not a further plugin process a pod: ``host_ports`` adds ``portmap`` where the proxy is not
ours. Specified by the CNI specification 1.0.
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
    plugin: str = "ptp",
    mtu: int = 0,
    host_ports: bool = False,
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
