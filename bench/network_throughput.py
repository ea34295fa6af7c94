"""How much of a bare link two pods get: on one node beside a bare veth, over two nodes beside a bare VXLAN.

    python bench/network_throughput.py [--seconds 1] [--rounds 9] [--json]

As root, in network namespaces of its own. The nodes have our rules (Services and a NetworkPolicy that selects the receiver) and
our pod network's links. One process sends by TCP, one receives, the same for every way; ways take turns, so that what else the
machine does hits all of them alike. Python only hands large buffers to the kernel, which does the work that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pybernetes.proxy.backend import NftablesBackend
from pybernetes.proxy.model import VXLAN_PORT, Choice, PortName, ServicePort
from pybernetes.proxy.nft.kernel import Netfilter
from pybernetes.proxy.nft.writer import TableWriter
from pybernetes.proxy.podnetwork import DEVICE, VXLAN_ID, Peer, device_address, hardware_address, plan
from pybernetes.proxy.policy_model import policy_of, policy_pod
from pybernetes.proxy.policy_rules import PolicyRules
from pybernetes.proxy.policy_table import policy_table
from pybernetes.proxy.proxier import prepare_kernel
from pybernetes.proxy.service_rules import ServiceRules
from pybernetes.proxy.service_table import TableOptions

TAG = f"p8sthr{os.getpid()}"
PORT = 5201
CHUNK = 1 << 20


def name(place: str) -> str:
    return f"{TAG}-{place}"


def ip(place: str, *commands: str) -> None:
    for program in ("ip", "bridge"):
        lines = [c for c in commands if c.startswith("fdb ") == (program == "bridge")]
        argv = [program, "-n", name(place), "-batch", "-"]
        subprocess.run(argv, input="\n".join(lines) + "\n", text=True, check=True)


@contextmanager
def inside(place: str) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/run/netns/{name(place)}").open() as there:
        assert libc.setns(there.fileno(), 0x40000000) == 0
        try:
            yield
        finally:
            libc.setns(own.fileno(), 0x40000000)


def veth(a: str, a_link: str, b: str, b_link: str) -> None:
    ip(a, f"link add {a_link} type veth peer name {b_link} netns {name(b)}", f"link set {a_link} up")
    ip(b, f"link set {b_link} up")


def bare_veth() -> None:
    veth("va", "eth0", "vb", "eth0")
    ip("va", "addr add 192.0.2.1/24 dev eth0")
    ip("vb", "addr add 192.0.2.2/24 dev eth0")


def bare_vxlan() -> None:
    """Two machines whose own ends of a VXLAN speak to each other."""
    veth("xa", "eth0", "xb", "eth0")
    for place, own, peer, inner in (("xa", 1, 2, "198.51.100.1"), ("xb", 2, 1, "198.51.100.2")):
        ip(
            place,
            f"addr add 203.0.113.{own}/24 dev eth0",
            f"link add vx0 type vxlan id 7 local 203.0.113.{own} dev eth0 dstport {VXLAN_PORT} nolearning",
            f"addr add {inner}/24 dev vx0",
            "link set vx0 mtu 1450 up",
            f"fdb append 00:00:00:00:00:00 dev vx0 dst 203.0.113.{peer}",
        )


def on_core(place: str, core: int) -> None:
    """What comes in by the link is worked on there: each machine of two has a core of its own."""
    script = f"echo {1 << core:x} > /sys/class/net/eth0/queues/rx-0/rps_cpus"
    subprocess.run(["ip", "netns", "exec", name(place), "sh", "-c", script], check=True)


def pods() -> None:
    """Two nodes, two pods on the first and one on the second, with all that our agent would put there."""
    veth("n0", "eth0", "n1", "eth0")
    peers = [Peer(f"n{i}", f"172.30.9.{10 + i}", (f"10.244.{i}.0/24",)) for i in (0, 1)]
    for number, me in enumerate(peers):
        ip(me.name, f"addr add {me.address}/24 dev eth0")
        with inside(me.name):
            prepare_kernel(Path("/proc/sys"))
        ip(
            me.name,
            f"link add {DEVICE} address {hardware_address(me.address)} type vxlan id {VXLAN_ID} local {me.address}"
            f" dev eth0 dstport {VXLAN_PORT} nolearning",
            f"addr add {device_address(me.pod_cidrs[0])}/32 dev {DEVICE}",
            f"link set {DEVICE} mtu 1450 up",
        )
        for commands in plan("vxlan", me, [peers[1 - number]]).values():
            for command in commands:
                ip(me.name, command)
    for pod, node, address in (("p0", "n0", "10.244.0.2"), ("p1", "n0", "10.244.0.3"), ("p2", "n1", "10.244.1.2")):
        gateway = address.rsplit(".", 1)[0] + ".1"
        veth(node, pod, pod, "eth0")
        # The MTU of a pod in a network of VXLAN.
        ip(node, f"link set {pod} mtu 1450", f"addr add {gateway}/32 dev {pod}", f"route add {address}/32 dev {pod}")
        ip(
            pod,
            "link set eth0 mtu 1450",
            f"addr add {address}/32 dev eth0",
            f"route add {gateway}/32 dev eth0 scope link",
            f"route add default via {gateway}",
        )
    for me in peers:
        rules(me)


def rules(node: Peer) -> None:
    services, policies = ServiceRules(), PolicyRules(node.name)
    services.set_node_ips([node.address])
    for number in range(200):
        port = ServicePort(PortName("bench", f"s{number}", ""), 6, PORT, f"10.96.1.{number}")
        services.set_service(f"bench/s{number}", [(port, Choice((("10.244.0.3", PORT),), (), True))])
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}
    policies.set_policy("bench/p", policy_of({"metadata": {"namespace": "bench", "name": "p"}, "spec": spec}))
    for number, address in enumerate(("10.244.0.2", "10.244.0.3", "10.244.1.2")):
        pod = {
            "metadata": {"name": f"p{number}", "namespace": "bench"},
            "spec": {"nodeName": "n1" if number == 2 else "n0"},
            "status": {"podIP": address, "phase": "Running"},
        }
        policies.set_pod(f"bench/p{number}", policy_pod(pod))
    policies.take_update()
    with inside(node.name):
        backend = NftablesBackend(TableOptions("10.244.0.0/16", "10.96.0.0/16"))
        netfilter = Netfilter()
        asyncio.run(backend.rebuild(services))
        TableWriter(netfilter, policy_table()).rebuild(policies.contents, policies.sets, policies.chains)
        backend.close()
        netfilter.close()


WAYS = {
    "bare veth": ("va", "vb", "192.0.2.2"),
    "pod to pod, one node": ("p0", "p1", "10.244.0.3"),
    "pod to Service, one node": ("p0", "p1", "10.96.1.7"),
    "bare VXLAN": ("xa", "xb", "198.51.100.2"),
    "pod to pod, VXLAN": ("p0", "p2", "10.244.1.2"),
}


def undisturbed(core: int, realtime: bool) -> None:
    """One core each; before all other jobs of a busy machine where that is asked for."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    if realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def receive(place: str, ready: Any, results: Any, realtime: bool) -> None:
    undisturbed(1, realtime)
    with inside(place):
        listener = socket.create_server(("0.0.0.0", PORT))
    ready.set()
    buffer = bytearray(CHUNK)
    connection, _ = listener.accept()
    total, begun = 0, time.perf_counter()
    while count := connection.recv_into(buffer):
        total += count
    results.put(total / (time.perf_counter() - begun) * 8 / 1e9)


def send(place: str, address: str, seconds: float, realtime: bool) -> None:
    undisturbed(0, realtime)
    with inside(place):
        connection = socket.create_connection((address, PORT), timeout=5)
    data, end = memoryview(bytes(CHUNK)), time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.sendall(data)
    connection.close()


def once(way: tuple[str, str, str], seconds: float, realtime: bool) -> float:
    """Gigabits a second."""
    ready, results = multiprocessing.Event(), multiprocessing.Queue()
    receiver = multiprocessing.Process(target=receive, args=(way[1], ready, results, realtime))
    receiver.start()
    assert ready.wait(10)
    sender = multiprocessing.Process(target=send, args=(way[0], way[2], seconds, realtime))
    sender.start()
    found: float = results.get(timeout=60)
    sender.join()
    receiver.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--realtime", action="store_true", help="Before all other jobs of a busy machine, which wait.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    places = ("va", "vb", "xa", "xb", "n0", "n1", "p0", "p1", "p2")
    for place in places:
        subprocess.run(["ip", "netns", "add", name(place)], check=True)
        ip(place, "link set lo up")
    try:
        bare_veth()
        bare_vxlan()
        pods()
        for place, core in (("xa", 0), ("xb", 1), ("n0", 0), ("n1", 1)):
            on_core(place, core)
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, ends in WAYS.items():
                found[way].append(once(ends, options.seconds, options.realtime))
    finally:
        for place in places:
            subprocess.run(["ip", "netns", "delete", name(place)], check=False)
    rows = []
    for way, speeds in found.items():
        base = found["bare VXLAN" if "VXLAN" in way else "bare veth"]
        ratio = statistics.median(speed / bare for speed, bare in zip(speeds, base, strict=True))
        rows.append({"way": way, "gbit_s": round(statistics.median(speeds), 2), "of_bare": round(ratio, 3)})
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['way']:<28}{row['gbit_s']:>8} Gbit/s{row['of_bare'] * 100:>8.0f} %")


if __name__ == "__main__":
    main()
