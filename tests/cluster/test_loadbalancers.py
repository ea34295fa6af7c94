"""Addresses for Services of type LoadBalancer."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network

from pybernetes.api.resources import SERVICES
from pybernetes.client.informer import InformerFactory
from pybernetes.cluster.layout import Settings
from pybernetes.cluster.loadbalancers import LoadBalancers, addresses_of, allocate
from pybernetes.testing.cluster import start_cluster

POOL = IPv4Network("172.30.0.192/30")


def service(name, **spec):
    return {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}}


def test_the_pool_lies_in_the_nodes_network():
    assert Settings().load_balancer_cidr == "172.30.0.192/26"


def test_allocation():
    assert allocate(POOL, "", {"172.30.0.193"}) == "172.30.0.194"
    assert allocate(POOL, "", {"172.30.0.193", "172.30.0.194"}) == ""
    assert allocate(POOL, "172.30.0.194", set()) == "172.30.0.194"
    assert allocate(POOL, "10.0.0.1", set()) == ""
    assert allocate(POOL, "nonsense", set()) == ""


async def test_services_get_addresses_and_give_them_back():
    async with start_cluster(nodes=0, controllers=(), schedule=False) as cluster:
        client = cluster.client
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        factory = InformerFactory(client, cluster.clock)
        balancers = LoadBalancers(client, factory, cluster.clock, str(POOL))
        tasks = [asyncio.create_task(factory.run()), asyncio.create_task(balancers.run())]
        try:
            for name in ("a", "b", "c"):
                await client.create(SERVICES, service(name), "default")
            other = service("d", loadBalancerClass="example.com/theirs")
            await client.create(SERVICES, other, "default")
            for name, address in (("a", "172.30.0.193"), ("b", "172.30.0.194")):
                await cluster.wait_for(
                    SERVICES, name, lambda s, a=address: addresses_of(s) == [a], "default", timeout=5
                )
            # The pool is empty; an address that comes back goes to who waits.
            await client.patch(SERVICES, "a", {"spec": {"type": "ClusterIP"}}, "default")
            await cluster.wait_for(SERVICES, "c", lambda s: addresses_of(s) == ["172.30.0.193"], "default", timeout=5)
            assert addresses_of(await client.get(SERVICES, "a", "default")) == []
            assert addresses_of(await client.get(SERVICES, "d", "default")) == []
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
