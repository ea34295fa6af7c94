"""Plugins that are off by default, and the one that looks at what nodes say they can."""

import copy

import pytest
from auth_support import obj, user
from test_admission import World, pod

from pybernetes.api.resources import CONFIG_MAPS, GVR, NAMESPACES, NODES, PODS
from pybernetes.apiserver.admission.declaredfeatures import needed
from pybernetes.hooks.authorization import Decision, Verdict


async def test_always_deny_and_always_admit():
    message = await World(enable=["AlwaysDeny"]).refused(PODS, pod())
    assert message == 'pods "p" is forbidden: admission control is denying all modifications'
    await World(enable=["AlwaysAdmit"]).write(PODS, pod())


async def test_always_pull_images():
    world = World(enable=["AlwaysPullImages"])
    made = await world.write(PODS, pod(initContainers=[{"name": "i", "image": "x", "imagePullPolicy": "Never"}]))
    spec = made["spec"]
    assert [c["imagePullPolicy"] for c in (*spec["containers"], *spec["initContainers"])] == ["Always", "Always"]
    old = copy.deepcopy(made)
    old["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    kept = await world.write(PODS, {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}, old)
    assert kept["spec"]["containers"][0]["imagePullPolicy"] == "Never"


async def test_extended_resources_are_tolerated():
    requests = {"example.com/gpu": "1", "cpu": "1", "kubernetes.io/own": "1"}
    wanted = pod()
    wanted["spec"]["containers"][0]["resources"] = {"requests": requests}
    made = await World(enable=["ExtendedResourceToleration"]).write(PODS, wanted)
    added = [t for t in made["spec"]["tolerations"] if t["effect"] == "NoSchedule"]
    assert added == [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


async def test_wide_anti_affinity_is_refused():
    def with_key(key):
        term = {"topologyKey": key, "labelSelector": {}}
        return pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})

    world = World(enable=["LimitPodHardAntiAffinityTopology"])
    await world.write(PODS, with_key("kubernetes.io/hostname"))
    message = await world.refused(PODS, with_key("zone"))
    assert "has TopologyKey zone but only key kubernetes.io/hostname is allowed" in message


async def test_namespaces_choose_nodes():
    annotations = {"scheduler.alpha.kubernetes.io/node-selector": "disk=ssd, env=prod"}
    world = World((NAMESPACES, obj("ns", meta={"annotations": annotations})), enable=["PodNodeSelector"])
    made = await world.write(PODS, pod(nodeSelector={"x": "y"}))
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "env": "prod", "x": "y"}
    message = await world.refused(PODS, pod(nodeSelector={"disk": "hdd"}))
    assert "conflicts with its namespace node label selector" in message


class Only:
    """Allows some (verb, resource, subresource)."""

    def __init__(self, *allowed):
        self.allowed = allowed

    async def authorize(self, a):
        return Verdict(Decision.ALLOW if (a.verb, a.resource, a.subresource) in self.allowed else Decision.NO_OPINION)


def owned(**reference):
    found = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", **reference}
    return obj("c", "ns", meta={"ownerReferences": [found]} if reference is not None else {})


async def test_owners_are_set_by_those_who_may():
    settings = {
        "resource_of_kind": lambda v, k: (GVR("apps", "v1", "replicasets"), True) if k == "ReplicaSet" else None
    }
    plugin = ["OwnerReferencesPermissionEnforcement"]
    bare = obj("c", "ns")
    deleter = World(enable=plugin, authorizer=Only(("delete", "configmaps", "")), settings=settings)
    await deleter.write(CONFIG_MAPS, owned(), bare, who=user())
    message = await deleter.refused(CONFIG_MAPS, owned(blockOwnerDeletion=True), bare)
    assert (
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on" in message
    )
    assert "cannot find RESTMapping" in await deleter.refused(
        CONFIG_MAPS, owned(kind="X", blockOwnerDeletion=True), bare
    )
    nobody = World(enable=plugin, authorizer=Only(), settings=settings)
    assert "cannot set an ownerRef on a resource you can't delete" in await nobody.refused(CONFIG_MAPS, owned(), bare)
    await nobody.write(CONFIG_MAPS, owned(), owned())
    await nobody.write(CONFIG_MAPS, owned())
    both = Only(("delete", "configmaps", ""), ("update", "replicasets", "finalizers"))
    await World(enable=plugin, authorizer=both, settings=settings).write(
        CONFIG_MAPS, owned(blockOwnerDeletion=True), bare
    )


@pytest.mark.parametrize(
    "old, new, features",
    [
        ({}, {}, []),
        ({"resources": {"limits": {"cpu": "1"}}}, {"resources": {"limits": {"cpu": "2"}}}, ["InPlacePodLevelResourcesVerticalScaling"]),
        ({"initContainers": [{"resources": {}}]}, {"initContainers": [{}]}, []),
        (
            {"initContainers": [{"resources": {"limits": {"cpu": "1"}}}]},
            {"initContainers": [{}]},
            ["InPlacePodVerticalScalingInitContainers"],
        ),
        ({"initContainers": [{"restartPolicy": "Always", "resources": {"limits": {}}}]}, {"initContainers": [{}]}, []),
    ],
)  # fmt: skip
def test_what_a_change_needs(old, new, features):
    assert needed(old, new) == features


async def test_nodes_must_have_what_an_update_needs():
    old = pod(nodeName="n", resources={"limits": {"cpu": "1"}}, meta={"generation": 1})
    new = pod(nodeName="n", resources={"limits": {"cpu": "2"}}, meta={"generation": 2})
    able = obj(
        "n", status={"declaredFeatures": ["InPlacePodLevelResourcesVerticalScaling"], "allocatable": {"cpu": "8"}}
    )
    await World((NODES, able)).write(PODS, new, old, subresource="resize")
    unable = obj("n", status={"allocatable": {"cpu": "8"}})
    message = await World((NODES, unable)).refused(PODS, new, old, subresource="resize")
    words = "pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node"
    assert message == f'pods "p" is forbidden: {words} "n"'
    assert 'node "n" not found' in await World().refused(PODS, new, old, subresource="resize")
