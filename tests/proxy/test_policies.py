"""The policy component over a real API server: when its rules come, and that pods never run before them."""

from __future__ import annotations

import asyncio

import pytest

from pybernetes.api.resources import NETWORK_POLICIES, PODS
from pybernetes.client.informer import InformerFactory
from pybernetes.concurrency import RealClock
from pybernetes.proxy.policies import PolicyProxy, what_policies_see
from pybernetes.proxy.policy_model import policy_pod
from pybernetes.testing.cluster import start_cluster

from .lab import Lab, missing


def pod(name, **labels):
    return {
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "nodeName": "node0",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    }


def test_little_is_kept_of_a_pod():
    whole = pod("a", app="web")
    whole["metadata"] |= {"uid": "u", "resourceVersion": "5", "annotations": {"big": "x" * 1000}}
    whole["spec"]["volumes"] = [{"name": "v"}]
    whole["status"] = {"podIP": "10.244.0.2", "conditions": [{"type": "Ready"}], "phase": "Running"}
    seen = what_policies_see(whole)
    assert policy_pod(seen) == policy_pod(whole)
    assert policy_pod(seen).labels == {"app": "web"}
    assert "annotations" not in seen["metadata"] and "volumes" not in seen["spec"]


def test_pods_that_policies_do_not_concern():
    assert policy_pod(pod("a")) is None
    assert policy_pod({**pod("a"), "status": {"podIP": "10.244.0.2", "phase": "Failed"}}) is None
    host = pod("a") | {"status": {"podIP": "10.244.0.2"}}
    host["spec"]["hostNetwork"] = True
    assert policy_pod(host) is None
    assert policy_pod(pod("a"), "10.244.0.2").address == "10.244.0.2"


class Story:
    def __init__(self, lab: Lab) -> None:
        self.node = lab.node(0)
        self.pods = [lab.pod(self.node, f"10.244.0.{i}") for i in (2, 3)]
        for place in self.pods:
            place.serve(8080)

    async def ask(self) -> str:
        return (await asyncio.to_thread(self.pods[0].ask, self.pods[1].address, 8080, timeout=0.2)).split()[0]

    async def until(self, wanted: str) -> None:
        for _ in range(300):
            found = await self.ask()
            if found == wanted:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{found!r} did not become {wanted!r}")


@pytest.mark.network
@pytest.mark.root
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
def test_policies_over_the_api():
    async def main(lab: Lab) -> None:
        story, clock = Story(lab), RealClock()
        allowed, name = story.pods[1].name, {"metadata": {"name": "deny"}}
        deny = {**name, "spec": {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}}
        with story.node.inside():
            async with start_cluster(nodes=0, controllers=(), schedule=False) as cluster:
                account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
                await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
                await cluster.apply(account)
                factory = InformerFactory(cluster.client, clock)
                proxy = PolicyProxy(cluster.client, factory, clock, node_name="node0")
                tasks = [asyncio.create_task(factory.run()), asyncio.create_task(proxy.run())]
                try:
                    created = await cluster.client.create(PODS, pod("b", app="db"), "default")
                    await proxy.isolate(created, story.pods[1].address)
                    assert await story.ask() == allowed
                    await cluster.client.create(NETWORK_POLICIES, deny, "default")
                    await cluster.client.patch(
                        PODS, "b", {"status": {"podIP": "10.244.0.3", "podIPs": [{"ip": "10.244.0.3"}]}}, "default",
                        subresource="status",
                    )  # fmt: skip
                    await story.until("timeout")
                    # A second pod that the policy selects: protected as soon as the kubelet may go on.
                    await cluster.client.delete(PODS, "b", "default", grace_period_seconds=0)
                    await story.until(allowed)
                    again = await cluster.client.create(PODS, pod("c", app="db"), "default")
                    await proxy.isolate(again, story.pods[1].address)
                    assert await story.ask() == "timeout"
                    await asyncio.to_thread(story.node.run, "nft", "flush", "ruleset")
                    await story.until("timeout")
                    await cluster.client.delete(NETWORK_POLICIES, "deny", "default")
                    await story.until(allowed)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    with Lab() as lab:
        asyncio.run(main(lab))
