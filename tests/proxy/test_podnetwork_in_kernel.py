"""Pods of two nodes reach each other, by VXLAN and by routes."""

from __future__ import annotations

import asyncio

import pytest

from pybernetes.concurrency import RealClock
from pybernetes.proxy import podnetwork
from pybernetes.proxy.podnetwork import PodNetwork

from .lab import Lab, missing

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]


class Nodes:
    """An informer's part, fed by hand."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def informer(self, _gvr):
        return self

    def add_handler(self, handler):
        pass

    async def wait_synced(self):
        pass

    def list(self):
        return [
            {
                "metadata": {"name": f"node{i}"},
                "spec": {"podCIDR": f"10.244.{i}.0/24"},
                "status": {"addresses": [{"type": "InternalIP", "address": f"172.30.77.{10 + i}"}]},
            }
            for i in self.numbers
        ]


def sync(place, mode, *numbers, network=None):
    network = network or PodNetwork(Nodes(), RealClock(), node_name=place.name, mode=mode)
    network._nodes.numbers = numbers
    with place.inside():
        asyncio.run(network.sync())
    return network


@pytest.mark.parametrize("mode", ["vxlan", "routes"])
def test_pods_of_two_nodes(mode):
    with Lab() as lab:
        nodes = [lab.node(i) for i in (0, 1)]
        pods = [lab.pod(node, f"10.244.{i}.2") for i, node in enumerate(nodes)]
        for pod in pods:
            pod.serve(8080)
            pod.serve(8080, "udp")
        networks = [sync(node, mode, 0, 1) for node in nodes]
        for here, there in ((0, 1), (1, 0)):
            assert pods[here].ask(pods[there].address, 8080) == f"{pods[there].name} {pods[here].address}"
            assert pods[here].ask(pods[there].address, 8080, "udp") == f"{pods[there].name} {pods[here].address}"
            # A node and another's pods.
            assert nodes[here].who(pods[there].address, 8080) == pods[there].name
        # Again from nothing, as after a restart: nothing breaks, and what is gone is taken away.
        sync(nodes[0], mode, 0, 1)
        assert pods[0].who(pods[1].address, 8080) == pods[1].name
        sync(nodes[0], mode, 0, network=networks[0])
        assert "10.244.1.0/24" not in nodes[0].run("ip", "route")
        sync(nodes[0], mode, 0, 1)
        sync(nodes[0], mode, 0)  # a new agent finds what an earlier one left
        assert "10.244.1.0/24" not in nodes[0].run("ip", "route")


def test_vxlan_leaves_room_for_its_header_and_goes_without_trace():
    with Lab() as lab:
        nodes = [lab.node(i) for i in (0, 1)]
        for node in nodes:
            sync(node, "vxlan", 0, 1)
        assert "mtu 1450" in nodes[0].run("ip", "link", "show", podnetwork.DEVICE)
        # The node got another address: the device is made anew.
        nodes[0].ip("addr add 172.30.77.99/24 dev eth0")
        network = PodNetwork(Nodes(0, 1), RealClock(), node_name="node0", mode="vxlan")
        moved = network._nodes.list()
        moved[0]["status"]["addresses"][0]["address"] = "172.30.77.99"
        network._nodes.list = lambda: moved
        with nodes[0].inside():
            asyncio.run(network.sync())
        assert "local 172.30.77.99" in nodes[0].run("ip", "-d", "link", "show", podnetwork.DEVICE)
        with nodes[0].inside():
            asyncio.run(podnetwork.remove())
        assert podnetwork.DEVICE not in nodes[0].run("ip", "link")
        assert "proto 136" not in nodes[0].run("ip", "route")
