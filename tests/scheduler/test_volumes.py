"""Volumes: claims that wait for their first consumer, volumes that are there, and what keeps a pod from a node."""

from pybernetes.api.resources import CSI_NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from pybernetes.testing.cluster import run_virtually

from .support import placing

CONTROLLERS = ("serviceaccount", "persistentvolume-binder-controller")


def with_placing(test):
    def run():
        async def main(clock):
            async with placing(clock, controllers=CONTROLLERS) as at:
                await test(at)
                at.validate_state()

        run_virtually(main)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def storage_class(at, name="waiting", provisioner="kubernetes.io/no-provisioner", **more):
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    await at.client.create(
        STORAGE_CLASSES, {**made, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer", **more}
    )


async def claim(at, name, size="1Gi", storage_class="waiting", modes=("ReadWriteOnce",), **spec):
    made = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": list(modes),
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": size}},
            **spec,
        },
    }
    await at.client.create(PERSISTENT_VOLUME_CLAIMS, made)


async def volume(at, name, node=None, size="1Gi", storage_class="waiting", labels=None, mode="ReadWriteOnce", **spec):
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}} if node else {}
    made = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": [mode],
            "storageClassName": storage_class,
            "persistentVolumeReclaimPolicy": "Retain",
            **({"local": {"path": "/mnt"}} if "csi" not in spec else {}),
            **affinity,
            **spec,
        },
    }
    await at.client.create(PERSISTENT_VOLUMES, made)
    await at.cluster.wait_for(PERSISTENT_VOLUMES, name, lambda v: (v.get("status") or {}).get("phase") == "Available")


def using(*claims):
    return {"volumes": [{"name": f"v{i}", "persistentVolumeClaim": {"claimName": c}} for i, c in enumerate(claims)]}


@with_placing
async def test_a_pod_goes_where_its_claims_can_be_bound_and_the_smallest_volumes_are_taken(at):
    for name in ("n1", "n2", "n3"):
        await at.add_node(name)
    await storage_class(at)
    await volume(at, "big-on-2", "n2", "10Gi")
    await volume(at, "small-on-2", "n2", "1Gi")
    await volume(at, "only-on-3", "n3", "1Gi")
    await claim(at, "a")
    await claim(at, "b")
    await at.add_pod("p", **using("a", "b"))
    assert await at.placed("p") == "n2"
    volumes = {
        v["metadata"]["name"]: v["spec"].get("claimRef") for v in (await at.client.list(PERSISTENT_VOLUMES))["items"]
    }
    assert volumes["only-on-3"] is None
    assert {volumes["big-on-2"]["name"], volumes["small-on-2"]["name"]} == {"a", "b"}


@with_placing
async def test_two_pods_do_not_get_one_volume(at):
    await at.add_node("n1")
    await storage_class(at)
    await volume(at, "v1", "n1")
    await claim(at, "a")
    await claim(at, "b")
    await at.add_pod("p1", **using("a"))
    await at.add_pod("p2", **using("b"))
    await at.placed("p1")
    message = await at.refused("p2")
    assert message.startswith("0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.")
    await volume(at, "v2", "n1")
    assert await at.placed("p2") == "n1"


@with_placing
async def test_what_is_wrong_with_claims_is_said_for_the_whole_cluster(at):
    await at.add_node("n1")
    await storage_class(at)
    await at.add_pod("missing", **using("nowhere"))
    assert (await at.refused("missing")).startswith(
        '0/1 nodes are available: persistentvolumeclaim "nowhere" not found. '
    )
    await storage_class(at, "immediate", volumeBindingMode="Immediate")
    await claim(at, "slow", storage_class="immediate")
    await at.add_pod("unbound", **using("slow"))
    assert (await at.refused("unbound")).startswith(
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
    )
    # The claim that was missing comes, and its pod with it.
    await volume(at, "v", "n1")
    await claim(at, "nowhere")
    assert await at.placed("missing") == "n1"


@with_placing
async def test_a_bound_volume_keeps_its_pod_to_its_node_or_zone(at):
    await at.add_node("n1", labels={"topology.kubernetes.io/zone": "east"})
    await at.add_node("n2", labels={"topology.kubernetes.io/zone": "west"})
    await storage_class(at)
    await volume(at, "v", "n2")
    await claim(at, "a")
    await at.add_pod("first", **using("a"))
    assert await at.placed("first") == "n2"
    await at.add_pod("again", nodeSelector={"kubernetes.io/hostname": "n1"}, **using("a"))
    assert "1 node(s) didn't match PersistentVolume's node affinity" in await at.refused("again")
    await volume(at, "zonal", labels={"topology.kubernetes.io/zone": "east"}, csi={"driver": "d", "volumeHandle": "h"})
    await claim(at, "z", volumeName="zonal")
    await at.cluster.wait_for(PERSISTENT_VOLUME_CLAIMS, "z", lambda c: c["status"].get("phase") == "Bound", "default")
    await at.add_pod("in-zone", **using("z"))
    assert await at.placed("in-zone") == "n1"


@with_placing
async def test_read_write_once_pod_is_for_one_pod_at_a_time(at):
    await at.add_node("n1")
    await storage_class(at)
    await volume(at, "v", "n1", mode="ReadWriteOncePod")
    await claim(at, "mine", modes=("ReadWriteOncePod",))
    await at.add_pod("first", **using("mine"))
    await at.placed("first")
    await at.add_pod("second", **using("mine"))
    assert "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use" in await at.refused("second")
    await at.client.delete(PODS, "first", "default")
    assert await at.placed("second") == "n1"


@with_placing
async def test_no_more_volumes_than_a_driver_allows(at):
    await at.add_node("n1")
    driver = {"name": "csi.example.com", "nodeID": "n1", "topologyKeys": [], "allocatable": {"count": 1}}
    csi_node = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": {"name": "n1"},
        "spec": {"drivers": [driver]},
    }
    await at.client.create(CSI_NODES, csi_node)
    await storage_class(at)
    for i in (1, 2):
        await volume(at, f"v{i}", csi={"driver": "csi.example.com", "volumeHandle": f"h{i}"})
        await claim(at, f"c{i}", volumeName=f"v{i}")
        await at.cluster.wait_for(
            PERSISTENT_VOLUME_CLAIMS, f"c{i}", lambda c: c["status"].get("phase") == "Bound", "default"
        )
    await at.add_pod("p1", **using("c1"))
    await at.placed("p1")
    await at.add_pod("p2", **using("c2"))
    assert "1 node(s) exceed max volume count" in await at.refused("p2")
    await at.client.delete(PODS, "p1", "default")
    assert await at.placed("p2") == "n1"
