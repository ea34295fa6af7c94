"""The whole proxy over a real API server: objects in, packets through, and what disturbs it on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from pybernetes.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pybernetes.client.informer import InformerFactory
from pybernetes.concurrency import RealClock
from pybernetes.proxy.proxier import ProxyOptions, ServiceProxy
from pybernetes.testing.cluster import Cluster, start_cluster

from .lab import Lab, Place, missing

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

VIP = "10.96.0.50"
FOREIGN = """
table ip somebody_else {
    chain mine {
        type filter hook forward priority 10; policy accept;
        counter
    }
}
"""


def service(**spec):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": VIP, "ports": [{"name": "http", "port": 80}], **spec},
    }


def endpoint_slice(*addresses: str, node: str = "node0"):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [a], "nodeName": node} for a in addresses],
    }


class World:
    def __init__(self, lab: Lab, node: Place, pods: list[Place], cluster: Cluster, proxy: ServiceProxy) -> None:
        self.lab, self.node, self.pods, self.cluster, self.proxy = lab, node, pods, cluster, proxy

    async def until(self, found: Callable[[], object], wanted: object) -> None:
        """The kernel follows within moments; how many is the benchmark's matter."""
        for _ in range(100):
            last = await asyncio.to_thread(found)
            if last == wanted:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{last!r} did not become {wanted!r}")

    def who(self, address: str = VIP, port: int = 80) -> str:
        return self.pods[2].ask(address, port, timeout=0.3).split()[0]

    @property
    def names(self) -> list[str]:
        return [p.name for p in self.pods]


@asynccontextmanager
async def world(lab: Lab, mode: str) -> AsyncIterator[World]:
    node = lab.node(0)
    pods = [lab.pod(node, f"10.244.0.{i}") for i in (2, 3, 4)]
    for pod in pods:
        pod.serve(8080)
    node.run("nft", "-f", "-", text=FOREIGN)
    clock = RealClock()
    with node.inside():
        async with start_cluster(nodes=0, controllers=(), schedule=False) as cluster:
            await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
            await cluster.client.create(NODES, {"metadata": {"name": "node0"}})
            status = {"addresses": [{"type": "InternalIP", "address": node.address}]}
            await cluster.client.patch(NODES, "node0", {"status": status}, subresource="status")
            factory = InformerFactory(cluster.client, clock)
            options = ProxyOptions(mode=mode, healthz_port=0, metrics_port=0)
            proxy = ServiceProxy(cluster.client, factory, clock, node_name="node0", options=options)
            tasks = [asyncio.create_task(factory.run()), asyncio.create_task(proxy.run())]
            try:
                yield World(lab, node, pods, cluster, proxy)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


def play(story, mode: str = "nftables") -> None:
    async def main(lab: Lab) -> None:
        async with world(lab, mode) as w:
            await story(w)

    with Lab() as lab:
        asyncio.run(main(lab))


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_objects_become_rules_and_rules_follow_objects(mode):
    async def story(w: World) -> None:
        client = w.cluster.client
        await client.create(SERVICES, service(type="NodePort"), "default")
        await w.until(w.who, "refused")
        await client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        await client.patch(ENDPOINT_SLICES, "web-1", {"endpoints": [{"addresses": [w.pods[1].address]}]}, "default")
        await w.until(w.who, w.names[1])
        stored = await client.get(SERVICES, "web", "default")
        node_port = stored["spec"]["ports"][0]["nodePort"]
        await w.until(lambda: w.lab.outside.who(w.node.address, node_port), w.names[1])
        await client.delete(SERVICES, "web", "default")
        await w.until(lambda: w.lab.outside.who(w.node.address, node_port), "refused")
        if mode == "nftables":
            assert {owner[1] for owner in w.proxy.rules.contents.owners()} <= {"default/kubernetes"}
        else:
            saved = await asyncio.to_thread(w.node.run, "iptables-save")
            assert "default/web" not in saved and "-j KUBE-SERVICES" in saved

    play(story, mode)


@pytest.mark.parametrize(
    "harm",
    [
        ["flush", "ruleset"],
        ["delete", "table", "ip", "p8s_services"],
        ["flush", "chain", "ip", "p8s_services", "prerouting"],
        ["flush", "map", "ip", "p8s_services", "endpoints"],
        ["add", "chain", "ip", "p8s_services", "prerouting", "{ policy drop; }"],
    ],
    ids=" ".join,
)
def test_what_a_hand_destroys_is_mended(harm):
    async def story(w: World) -> None:
        client = w.cluster.client
        await client.create(SERVICES, service(), "default")
        await client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        await asyncio.to_thread(w.node.run, "nft", *harm)
        await w.until(w.who, w.names[0])
        await client.patch(ENDPOINT_SLICES, "web-1", {"endpoints": [{"addresses": [w.pods[1].address]}]}, "default")
        await w.until(w.who, w.names[1])
        assert w.proxy.metrics.repairs._value.get() >= 1

    play(story)


@pytest.mark.parametrize(
    "harm",
    [
        ["nft", "flush", "ruleset"],
        ["iptables", "-t", "nat", "-F"],
        ["iptables", "-t", "nat", "-F", "KUBE-SERVICES"],
        ["iptables", "-t", "nat", "-D", "PREROUTING", "1"],
    ],
    ids=" ".join,
)
def test_what_a_hand_destroys_is_mended_in_iptables_too(harm):
    async def story(w: World) -> None:
        client = w.cluster.client
        await client.create(SERVICES, service(), "default")
        await client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        await asyncio.to_thread(w.node.run, *harm)
        await w.until(w.who, w.names[0])
        await w.until(lambda: w.proxy.metrics.repairs._value.get() >= 1, True)

    play(story, "iptables")


def test_iptables_rules_of_others_are_no_reason_to_write():
    async def story(w: World) -> None:
        await w.cluster.client.create(SERVICES, service(), "default")
        await w.cluster.client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        looks = []
        seen = w.proxy._backend.present
        w.proxy._backend.present = lambda: (looks.append(1), seen())[1]
        await asyncio.to_thread(
            w.node.run, "iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.1", "-j", "ACCEPT"
        )
        await w.until(lambda: bool(looks), True)
        await asyncio.sleep(0.1)
        assert w.proxy.metrics.repairs._value.get() == 0
        assert "192.0.2.1" in w.node.run("iptables-save")

    play(story, "iptables")


def test_rules_of_others_are_left_alone():
    async def story(w: World) -> None:
        before = w.node.run("nft", "list", "table", "ip", "somebody_else").count("counter")
        await w.cluster.client.create(SERVICES, service(), "default")
        await w.cluster.client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        await asyncio.to_thread(w.node.run, "nft", "add", "table", "ip", "another")
        assert w.node.run("nft", "list", "table", "ip", "somebody_else").count("counter") == before
        assert "another" in w.node.run("nft", "list", "tables")
        assert w.proxy.metrics.repairs._value.get() == 0

    play(story)


def test_rules_stay_when_the_agent_ends_and_the_next_takes_them_over():
    async def story(w: World) -> None:
        client = w.cluster.client
        await client.create(SERVICES, service(), "default")
        await client.create(ENDPOINT_SLICES, endpoint_slice(w.pods[0].address), "default")
        await w.until(w.who, w.names[0])
        clock = RealClock()
        for _ in range(2):
            factory = InformerFactory(client, clock)
            options = ProxyOptions(healthz_port=0, metrics_port=0)
            proxy = ServiceProxy(client, factory, clock, node_name="node0", options=options)
            tasks = [asyncio.create_task(factory.run()), asyncio.create_task(proxy.run())]
            await w.until(lambda proxy=proxy: proxy.metrics.full_sync._sum.get() > 0, True)
            assert w.who() == w.names[0]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await asyncio.to_thread(w.who) == w.names[0]

    play(story)


def test_host_ports_of_this_nodes_pods():
    async def story(w: World) -> None:
        ports = [{"containerPort": 8080, "hostPort": 9000}]
        pod = {
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {
                "nodeName": "node0",
                "serviceAccountName": "default",
                "automountServiceAccountToken": False,
                "containers": [{"name": "c", "image": "i", "ports": ports}],
            },
        }
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await w.cluster.apply(account)
        await w.cluster.client.create(PODS, pod, "default")
        status = {"podIP": w.pods[0].address, "podIPs": [{"ip": w.pods[0].address}], "phase": "Running"}
        await w.cluster.client.patch(PODS, "a", {"status": status}, "default", subresource="status")
        await w.until(lambda: w.lab.outside.who(w.node.address, 9000), w.names[0])
        await w.cluster.client.patch(PODS, "a", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        await w.until(lambda: w.lab.outside.who(w.node.address, 9000), "refused")

    play(story)
