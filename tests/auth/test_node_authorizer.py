"""What kubelets reach, and above all what they do not."""

import pytest
from auth_support import FakeReader, FixedClock, attributes, obj, user

from pybernetes.api.resources import PERSISTENT_VOLUMES, PODS
from pybernetes.apiserver import authz
from pybernetes.apiserver.authz.node import VOLUME_ATTACHMENTS
from pybernetes.hooks.authorization import Decision

N1, N2 = user("system:node:n1", "system:nodes"), user("system:node:n2", "system:nodes")

SPEC = {
    "nodeName": "n1",
    "serviceAccountName": "sa",
    "imagePullSecrets": [{"name": "pull"}],
    "initContainers": [{"envFrom": [{"secretRef": {"name": "from"}}]}],
    "containers": [{"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "k"}}}]}],
    "volumes": [
        {"name": "a", "secret": {"secretName": "vol"}},
        {"name": "b", "projected": {"sources": [{"secret": {"name": "proj"}}, {"configMap": {"name": "pcm"}}]}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
        {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}},
    ],
}


class World:
    def __init__(self, *objects):
        self.reader = FakeReader(*objects)
        options = authz.AuthorizationOptions(modes=("Node",))
        self.authorizer = authz.build(options, self.reader, FixedClock()).authorizer

    async def ask(self, who, verb, resource, name="", namespace="ns", **more):
        return await self.authorizer.authorize(attributes(who, verb, resource, name=name, namespace=namespace, **more))

    async def allowed(self, *args, **more):
        return (await self.ask(*args, **more)).decision is Decision.ALLOW


@pytest.fixture
def world():
    volume = {
        "claimRef": {"namespace": "ns", "name": "claim"},
        "csi": {"nodePublishSecretRef": {"namespace": "sys", "name": "mount"}},
    }
    return World(
        (PODS, obj("p", "ns", spec=SPEC)),
        (PERSISTENT_VOLUMES, obj("pv", spec=volume)),
        (VOLUME_ATTACHMENTS, obj("va", spec={"nodeName": "n1"})),
    )


REACHED = [
    ("secrets", "pull"), ("secrets", "from"), ("secrets", "vol"), ("secrets", "proj"), ("configmaps", "env"), ("configmaps", "pcm"),
    ("persistentvolumeclaims", "claim"), ("persistentvolumeclaims", "p-d"), ("pods", "p"), ("serviceaccounts", "sa"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "name"), REACHED)
async def test_what_a_pod_needs_its_node_may_read(world, resource, name):
    assert await world.allowed(N1, "get", resource, name)
    assert not await world.allowed(N2, "get", resource, name)
    assert not await world.allowed(N1, "get", resource, name, namespace="other")
    assert not await world.allowed(N1, "delete", "secrets", name)
    world.reader.delete(PODS, "ns", "p")
    assert not await world.allowed(N1, "get", resource, name)


async def test_volumes(world):
    assert await world.allowed(N1, "get", "persistentvolumes", "pv", namespace="")
    assert await world.allowed(N1, "get", "secrets", "mount", namespace="sys")
    assert not await world.allowed(N2, "get", "persistentvolumes", "pv", namespace="")
    assert not await world.allowed(N2, "get", "secrets", "mount", namespace="sys")
    assert await world.allowed(N1, "get", "volumeattachments", "va", namespace="", group="storage.k8s.io")
    assert not await world.allowed(N2, "get", "volumeattachments", "va", namespace="", group="storage.k8s.io")
    world.reader.put(PERSISTENT_VOLUMES, obj("pv", spec={}))
    assert not await world.allowed(N1, "get", "secrets", "mount", namespace="sys")


async def test_another_nodes_secret_in_upstreams_words(world):
    verdict = await world.ask(N2, "get", "secrets", "vol")
    assert verdict.reason == "no relationship found between node 'n2' and this object"
    assert (await world.ask(N1, "list", "secrets")).reason == "No Object name found"
    assert (
        await world.ask(N1, "list", "secrets", namespace="")
    ).reason == "can only read namespaced object of this type"


async def test_a_mirror_pod_brings_nothing():
    world = World((PODS, obj("p", "ns", spec=SPEC, meta={"annotations": {"kubernetes.io/config.mirror": "x"}})))
    assert await world.allowed(N1, "get", "pods", "p")
    assert not await world.allowed(N1, "get", "secrets", "vol")


async def test_one_of_two_pods_goes(world):
    world.reader.put(PODS, obj("q", "ns", spec=SPEC))
    world.reader.delete(PODS, "ns", "p")
    assert await world.allowed(N1, "get", "secrets", "vol")
    world.reader.delete(PODS, "ns", "q")
    assert not await world.allowed(N1, "get", "secrets", "vol")


async def test_pods_are_seen_when_bound_and_moved(world):
    world.reader.put(PODS, obj("late", "ns", spec={"volumes": [{"secret": {"secretName": "late"}}]}))
    assert not await world.allowed(N2, "get", "secrets", "late")
    world.reader.put(PODS, obj("late", "ns", spec={"nodeName": "n2", "volumes": [{"secret": {"secretName": "late"}}]}))
    assert await world.allowed(N2, "get", "secrets", "late") and not await world.allowed(N1, "get", "secrets", "late")


async def test_tokens_only_for_accounts_of_its_pods(world):
    assert await world.allowed(N1, "create", "serviceaccounts", "sa", subresource="token")
    assert not await world.allowed(N2, "create", "serviceaccounts", "sa", subresource="token")
    assert not await world.allowed(N1, "create", "serviceaccounts", "admin", subresource="token")
    assert not await world.allowed(N1, "update", "serviceaccounts", "sa")


async def test_lists_need_the_nodes_selector(world):
    assert await world.allowed(N1, "list", "pods", namespace="", field_selector="spec.nodeName=n1")
    assert not await world.allowed(N1, "list", "pods", namespace="", field_selector="spec.nodeName=n2")
    assert not await world.allowed(N1, "list", "pods", namespace="", field_selector="spec.nodeName!=n1")
    assert not await world.allowed(N1, "watch", "pods", namespace="")


async def test_nodes_leases_and_csi_nodes(world):
    assert await world.allowed(N1, "get", "nodes", "n1", namespace="")
    assert (
        await world.ask(N1, "get", "nodes", "n2", namespace="")
    ).reason == "node 'n1' cannot read 'n2', only its own Node object"
    assert (
        await world.ask(N1, "list", "nodes", namespace="")
    ).reason == "node 'n1' cannot read all nodes, only its own Node object"
    lease = {"group": "coordination.k8s.io", "namespace": "kube-node-lease"}
    assert await world.allowed(N1, "update", "leases", "n1", **lease)
    assert not await world.allowed(N1, "update", "leases", "n2", **lease)
    assert not await world.allowed(N1, "get", "leases", "n1", **(lease | {"namespace": "kube-system"}))
    assert not await world.allowed(N1, "update", "csinodes", "n2", namespace="", group="storage.k8s.io")


async def test_rules_for_the_rest(world):
    assert await world.allowed(N1, "list", "services", namespace="")
    assert await world.allowed(N1, "create", "events")
    assert not await world.allowed(N1, "create", "deployments", group="apps")


async def test_who_is_a_node(world):
    assert not await world.allowed(user("system:node:n1"), "list", "services")
    assert not await world.allowed(user("n1", "system:nodes"), "list", "services")
    verdict = await world.ask(user("system:node:", "system:nodes"), "list", "services")
    assert verdict.reason == 'unknown node for user "system:node:"'


async def test_exec_through_a_nodes_credentials(world):
    for subresource in ("exec", "attach", "portforward", "log", "binding"):
        for verb in ("get", "create"):
            assert not await world.allowed(N1, verb, "pods", "p", subresource=subresource)
