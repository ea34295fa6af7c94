"""What goes wrong around the proxy, while somebody asks a Service without pause: not one request may fail."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pybernetes.api.resources import ENDPOINT_SLICES, SERVICES
from pybernetes.proxy.nft.contents import difference

from .lab import Lab, missing
from .test_proxier import VIP, World, endpoint_slice, play, service
from .test_services_in_kernel import Node, port

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


@contextmanager
def asking(place, address: str = VIP, number: int = 80) -> Iterator[list[str]]:
    """``answers`` grows; every one must be a server's name."""
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(place.ask(address, number, timeout=5).split()[0])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def flapping(rng: random.Random, number: int) -> dict:
    """One of ten slices of a hundred endpoints, of which some are ready now."""
    found = endpoint_slice(*(f"10.99.{number}.{i}" for i in range(1, 101)))
    found["metadata"] = {
        "name": f"noise-{number}",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "noise"},
    }
    for endpoint in found["endpoints"]:
        endpoint["conditions"] = {"ready": rng.random() < 0.5}
    return found


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_a_thousand_flapping_endpoints_disturb_nobody(mode):
    async def story(w: World) -> None:
        client, rng = w.cluster.client, random.Random(3)
        await client.create(SERVICES, service(), "default")
        await client.create(ENDPOINT_SLICES, endpoint_slice(*(p.address for p in w.pods)), "default")
        noise = service(clusterIP="10.96.0.60")
        noise["metadata"]["name"] = "noise"
        await client.create(SERVICES, noise, "default")
        for number in range(10):
            await client.create(ENDPOINT_SLICES, flapping(rng, number), "default")
        await w.until(lambda: w.who() in w.names, True)
        with asking(w.lab.outside) as answers:
            w.lab.outside.ip("route replace 10.96.0.0/16 via 172.30.77.10")
            await w.until(lambda: len([a for a in answers if a in w.names]) > 3, True)
            del answers[:]
            for _ in range(12):
                for number in range(10):
                    await client.patch(
                        ENDPOINT_SLICES, f"noise-{number}", {"endpoints": flapping(rng, number)["endpoints"]}, "default"
                    )
            ready = sum(
                e["conditions"]["ready"]
                for s in (await client.list(ENDPOINT_SLICES, "default"))["items"]
                if s["metadata"]["name"].startswith("noise-")
                for e in s["endpoints"]
            )
            await w.until(lambda: endpoints_in_kernel(w, mode), ready)
        assert answers and set(answers) <= set(w.names)

    play(story, mode)


def endpoints_in_kernel(w: World, mode: str) -> int:
    """Of the Service that flaps."""
    if mode == "nftables":
        listed = w.node.run("nft", "list", "map", "ip", "p8s_services", "endpoints")
        return listed.count("10.96.0.60 . tcp")
    saved = w.node.run("iptables-save", "-t", "nat").splitlines()
    return len([line for line in saved if "default/noise:http ->" in line])


WRITER = """
import asyncio, sys
from pybernetes.proxy.backend import NftablesBackend
from pybernetes.proxy.model import Choice, PortName, ServicePort
from pybernetes.proxy.service_rules import ServiceRules
from pybernetes.proxy.service_table import TableOptions

async def main():
    rules, backend = ServiceRules(), NftablesBackend(TableOptions("10.244.0.0/16", "10.96.0.0/16"))
    web = ServicePort(PortName("default", "web", "http"), 6, 80, "10.96.0.50")
    rules.set_service("default/web", [(web, Choice((("10.244.0.2", 8080),), (), True))])
    print("ready", flush=True)
    for step in range(10**6):
        for n in range(400):
            port = ServicePort(PortName("default", f"s{n}", ""), 6, 80, f"10.96.{1 + n // 200}.{n % 200}")
            targets = tuple((f"10.98.{step % 250}.{i}", 1000 + n) for i in range(1, 4 + step % 3))
            rules.set_service(f"default/s{n}", [(port, Choice(targets, (), True))])
        update = rules.take_update()
        await (backend.apply(rules, update) if step % 5 else backend.rebuild(rules))

asyncio.run(main())
"""


def test_killed_in_the_middle_of_writing_rules_are_whole_and_the_next_mends_them():
    with Lab() as lab:
        node = Node(lab, "nftables")
        node.set(port(), 0)
        rng = random.Random(5)
        with asking(node.pods[1]) as answers:
            for _ in range(6):
                writer = subprocess.Popen(
                    ["nsenter", f"--net={node.place.namespace}", sys.executable, "-c", WRITER],
                    stdout=subprocess.PIPE,
                    text=True,
                )
                assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
                time.sleep(rng.uniform(0, 0.2))  # anywhere in its work: where exactly is the point of the test
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
                # Whatever it was about to do, the table has no endpoint count without its endpoints.
                sizes, endpoints = (present(node, name) for name in ("sizes", "endpoints"))
                for frontend, size in sizes.items():
                    count = int.from_bytes(size, sys.byteorder) & 0xFFFFF
                    assert sum(key[:12] == frontend for key in endpoints) == count
            node.rebuild()
        wanted = node.rules.contents.of_set("endpoints")
        assert difference(wanted, present(node, "endpoints")) == ({}, {})
        assert answers and set(answers) == {node.pods[0].name}
        node.backend.close()


def present(node: Node, name: str) -> dict[bytes, bytes]:
    return node.backend._writer.present(name)


def test_a_full_conntrack_table_keeps_connections_and_lets_rules_be_written():
    """A quarter of a million flows that nobody answers: the kernel gives them up for new ones."""
    limit = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
    if limit > 300_000:
        pytest.skip(f"filling {limit} entries takes too long")
    with Lab() as lab:
        node = Node(lab, "nftables")
        node.set(port(), 0)
        with node.pods[0].inside():
            listener = socket.create_server(("0.0.0.0", 8090))
        with node.pods[1].inside():
            old = socket.create_connection((node.pods[0].address, 8090), timeout=2)
            flood = [lab.socket("udp") for _ in range(5)]
        for one in flood:
            for number in range(1, 65_536):
                try:
                    one.sendto(b"", ("198.51.100.1", number))
                except OSError:
                    pass  # no buffer for the moment: one flow less
        count = int(node.place.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count"))
        assert count > limit * 0.9
        accepted, _ = listener.accept()
        old.sendall(b"still there")
        assert accepted.recv(100) == b"still there"
        assert [node.pods[1].who(VIP, 80) for _ in range(20)] == [node.pods[0].name] * 20
        node.set(port(), 2)
        assert node.pods[1].who(VIP, 80) == node.pods[2].name
        # The proxy looks through all of them for stale ones beside its other work.
        node.set(port(protocol=17), 0)
        assert node.pods[1].who(VIP, 80, "udp") == node.pods[0].name
        for one in (old, accepted, listener, *flood):
            one.close()
        node.backend.close()


def test_rules_and_flows_do_not_wait_for_each_other():
    """A look through the flows that takes long holds no rule back."""

    async def story(w: World) -> None:
        client, gate = w.cluster.client, asyncio.Event()

        async def slow(rules) -> int:
            await gate.wait()
            return 0

        w.proxy._backend.forget_stale_flows = slow
        await client.create(SERVICES, service(ports=[{"name": "http", "port": 80, "protocol": "UDP"}]), "default")
        web = service(clusterIP="10.96.0.61")
        web["metadata"]["name"] = "tcp"
        await client.create(SERVICES, web, "default")
        found = endpoint_slice(w.pods[0].address)
        found["metadata"]["labels"]["kubernetes.io/service-name"] = "tcp"
        await client.create(ENDPOINT_SLICES, found, "default")
        await w.until(lambda: w.who("10.96.0.61"), w.names[0])
        gate.set()

    play(story)
