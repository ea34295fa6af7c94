"""Claims and volumes: binding, provisioning, reclaiming, protection, ephemeral volumes."""

from pybernetes.api.resources import (
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
)
from pybernetes.controllers.persistentvolume.matching import best_match
from pybernetes.controllers.settings import Settings

from .helpers import template

BINDER = "persistentvolume-binder-controller"
PROVISIONER = "local-volume-provisioner-controller"


def claim(name="data", size="1Gi", class_name="", modes=("ReadWriteOnce",), **spec):
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": list(modes),
            "resources": {"requests": {"storage": size}},
            **({} if class_name is None else {"storageClassName": class_name}),
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def volume(name="pv", size="1Gi", class_name="", policy="Retain", modes=("ReadWriteOnce",), **spec):
    return {
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": list(modes),
            "storageClassName": class_name,
            "persistentVolumeReclaimPolicy": policy,
            "hostPath": {"path": "/x"},
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def storage_class(name, provisioner="example.com/p", mode="Immediate", default=False):
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": provisioner,
        "volumeBindingMode": mode,
    }


def get_claim(world, name="data"):
    return world.api.get(PERSISTENT_VOLUME_CLAIMS, "default", name)


def get_volume(world, name="pv"):
    return world.api.get(PERSISTENT_VOLUMES, "", name)


def reasons(world):
    return {e["reason"] for e in world.api.all(EVENTS)}


def test_the_smallest_that_fits(virtually):
    async def main(world):
        async def body():
            for name, size in (("big", "10Gi"), ("fits", "2Gi"), ("small", "500Mi")):
                world.api.create(PERSISTENT_VOLUMES, volume(name, size))
            world.api.create(PERSISTENT_VOLUMES, volume("other", "2Gi", modes=("ReadOnlyMany",)))
            await world.settle()
            assert {v["status"]["phase"] for v in world.api.all(PERSISTENT_VOLUMES)} == {"Available"}
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
            await world.settle()
            bound, found = get_volume(world, "fits"), get_claim(world)
            assert bound["status"]["phase"] == found["status"]["phase"] == "Bound"
            assert bound["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
            assert found["spec"]["volumeName"] == "fits" and found["status"]["capacity"] == {"storage": "2Gi"}
            assert found["metadata"]["annotations"] == {
                "pv.kubernetes.io/bind-completed": "yes",
                "pv.kubernetes.io/bound-by-controller": "yes",
            }
            assert bound["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
            world.api.remove(PERSISTENT_VOLUME_CLAIMS, "default", "data")
            await world.settle()
            assert get_volume(world, "fits")["status"]["phase"] == "Released"

        await world.managed(body, BINDER)

    virtually(main)


def test_a_claim_waits_for_a_volume_and_says_so(virtually):
    async def main(world):
        async def body():
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
            await world.settle(1)
            assert "FailedBinding" in reasons(world)
            world.api.create(PERSISTENT_VOLUMES, volume())
            await world.settle(1)
            assert get_claim(world)["status"]["phase"] == "Bound"

        await world.managed(body, BINDER)

    virtually(main)


def test_reserved_by_name_on_either_side(virtually):
    async def main(world):
        async def body():
            reference = {"namespace": "default", "name": "data"}
            world.api.create(PERSISTENT_VOLUMES, volume("for-data", "5Gi", claimRef=reference))
            world.api.create(PERSISTENT_VOLUMES, volume("named", "1Gi"))
            world.api.create(PERSISTENT_VOLUMES, volume("tight", "1Gi"))
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim("data"))
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim("names", volumeName="named"))
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim("greedy", "9Gi", volumeName="tight"))
            await world.settle(1)
            assert get_claim(world)["spec"]["volumeName"] == "for-data"
            assert get_volume(world, "named")["spec"]["claimRef"]["name"] == "names"
            assert "VolumeMismatch" in reasons(world)
            assert "claimRef" not in get_volume(world, "tight")["spec"]

        await world.managed(body, BINDER)

    virtually(main)


def test_two_claims_never_share(virtually):
    async def main(world):
        async def body():
            world.api.create(PERSISTENT_VOLUMES, volume())
            for n in range(3):
                world.api.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{n}"))
            await world.settle(20)
            phases = sorted(c["status"]["phase"] for c in world.api.all(PERSISTENT_VOLUME_CLAIMS))
            assert phases == ["Bound", "Pending", "Pending"]

        await world.managed(body, BINDER)

    virtually(main)


def test_a_lost_volume(virtually):
    async def main(world):
        async def body():
            world.api.create(PERSISTENT_VOLUMES, volume())
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
            await world.settle()
            world.api.remove(PERSISTENT_VOLUMES, "", "pv")
            await world.settle()
            assert get_claim(world)["status"]["phase"] == "Lost" and "ClaimLost" in reasons(world)

        await world.managed(body, BINDER)

    virtually(main)


def test_a_claim_without_class_gets_the_default_later(virtually):
    async def main(world):
        async def body():
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim(class_name=None))
            await world.settle(1)
            world.api.create(STORAGE_CLASSES, storage_class("fast", default=True))
            await world.settle(1)
            found = get_claim(world)
            assert found["spec"]["storageClassName"] == "fast"
            assert found["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] == "example.com/p"
            assert "ExternalProvisioning" in reasons(world)

        await world.managed(body, BINDER)

    virtually(main)


def test_a_directory_on_the_chosen_node(virtually, tmp_path):
    home = tmp_path / "volumes"

    async def main(world):
        async def body():
            world.api.node("n1")
            await world.settle(1)
            assert world.api.get(STORAGE_CLASSES, "", "standard")["volumeBindingMode"] == "WaitForFirstConsumer"
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim(class_name="standard"))
            await world.settle(1)
            assert reasons(world) == {"WaitForFirstConsumer"} and world.api.all(PERSISTENT_VOLUMES) == []
            found = get_claim(world)
            annotations = {"volume.kubernetes.io/selected-node": "n1"}
            world.api.update(
                PERSISTENT_VOLUME_CLAIMS, {**found, "metadata": {**found["metadata"], "annotations": annotations}}
            )
            await world.settle(1)
            (made,) = world.api.all(PERSISTENT_VOLUMES)
            assert made["status"]["phase"] == get_claim(world)["status"]["phase"] == "Bound"
            path = made["spec"]["hostPath"]["path"]
            assert path == f"{home}/pvc-{found['metadata']['uid']}_default_data"
            assert made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0][
                "values"
            ] == ["n1"]
            (home / path.rsplit("/", 1)[1]).mkdir(parents=True)
            (home / path.rsplit("/", 1)[1] / "file").write_text("x")
            world.api.remove(PERSISTENT_VOLUME_CLAIMS, "default", "data")
            for _ in range(100):
                await world.settle(0.1)
                if not world.api.all(PERSISTENT_VOLUMES):
                    break
                import asyncio

                # The directory goes in a thread, which virtual time does not wait for.
                await asyncio.sleep(0.01)
            assert world.api.all(PERSISTENT_VOLUMES) == [] and list(home.iterdir()) == []

        await world.managed(body, BINDER, PROVISIONER, settings=Settings(local_volume_directory=str(home)))

    virtually(main)


def test_nothing_outside_our_directory_is_removed(virtually, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()

    async def main(world):
        async def body():
            world.api.create(
                PERSISTENT_VOLUMES,
                {
                    **volume(
                        policy="Delete",
                        hostPath={"path": str(precious)},
                        claimRef={"namespace": "default", "name": "x", "uid": "u"},
                    ),
                    "metadata": {
                        "name": "pv",
                        "annotations": {"pv.kubernetes.io/provisioned-by": "pybernetes.io/local"},
                    },
                },
            )
            await world.settle(5)
            assert get_volume(world)["status"]["phase"] == "Released" and precious.exists()
            assert "VolumeFailedDelete" in reasons(world)

        await world.managed(
            body, BINDER, PROVISIONER, settings=Settings(local_volume_directory=str(tmp_path / "volumes"))
        )

    virtually(main)


def test_what_is_used_stays(virtually):
    async def main(world):
        async def body():
            world.api.create(PERSISTENT_VOLUMES, volume())
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim())
            pod = template({})
            pod["metadata"].update(name="p", namespace="default")
            pod["spec"].update(nodeName="n", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
            world.api.create(PODS, pod)
            await world.settle()
            assert get_claim(world)["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
            world.api.remove(PERSISTENT_VOLUME_CLAIMS, "default", "data")
            world.api.remove(PERSISTENT_VOLUMES, "", "pv")
            await world.settle()
            assert get_claim(world)["metadata"]["deletionTimestamp"] and get_volume(world)
            world.api.remove(PODS, "default", "p", {"gracePeriodSeconds": 0})
            await world.settle()
            assert world.api.all(PERSISTENT_VOLUME_CLAIMS) == [] == world.api.all(PERSISTENT_VOLUMES)

        names = ("persistentvolumeclaim-protection-controller", "persistentvolume-protection-controller")
        await world.managed(body, BINDER, *names)

    virtually(main)


def test_a_class_of_attributes_stays_while_something_names_it(virtually):
    async def main(world):
        async def body():
            for name in ("gold", "silver", "lead"):
                body = {"metadata": {"name": name}, "driverName": "example.com", "parameters": {"iops": "1"}}
                world.api.create(VOLUME_ATTRIBUTES_CLASSES, body)
            world.api.create(PERSISTENT_VOLUMES, volume(volumeAttributesClassName="gold"))
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim(volumeAttributesClassName="silver"))
            await world.settle()

            def left():
                return [c["metadata"]["name"] for c in world.api.all(VOLUME_ATTRIBUTES_CLASSES)]

            gold = world.api.get(VOLUME_ATTRIBUTES_CLASSES, "", "gold")
            assert gold["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
            for name in left():
                world.api.remove(VOLUME_ATTRIBUTES_CLASSES, "", name)
            await world.settle()
            assert sorted(left()) == ["gold", "silver"]
            named = get_claim(world)
            world.api.update(
                PERSISTENT_VOLUME_CLAIMS, {**named, "spec": {**named["spec"], "volumeAttributesClassName": "gold"}}
            )
            await world.settle()
            assert left() == ["gold"]
            world.api.remove(PERSISTENT_VOLUMES, "", "pv")
            await world.settle()
            assert left() == ["gold"]
            world.api.remove(PERSISTENT_VOLUME_CLAIMS, "default", "data")
            await world.settle()
            assert left() == []

        await world.managed(body, "volumeattributesclass-protection-controller")

    virtually(main)


def test_ephemeral_claims(virtually):
    async def main(world):
        async def body():
            pod = template({})
            pod["metadata"].update(name="p", namespace="default")
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            pod["spec"]["volumes"] = [
                {
                    "name": "scratch",
                    "ephemeral": {"volumeClaimTemplate": {"metadata": {"labels": {"l": "v"}}, "spec": spec}},
                }
            ]
            world.api.create(PODS, pod)
            await world.settle()
            made = get_claim(world, "p-scratch")
            assert made["spec"] == spec and made["metadata"]["labels"] == {"l": "v"}
            assert made["metadata"]["ownerReferences"][0]["kind"] == "Pod"
            world.api.create(PERSISTENT_VOLUME_CLAIMS, claim("q-scratch"))
            pod["metadata"]["name"] = "q"
            world.api.create(PODS, pod)
            await world.settle(1)
            assert any(
                "was not created for pod default/q (pod is not owner)" in e["message"] for e in world.api.all(EVENTS)
            )

        await world.managed(body, "ephemeral-volume-controller")

    virtually(main)


def test_the_selector_narrows():
    wanted = claim(selector={"matchLabels": {"disk": "ssd"}})
    plain = {**volume("plain"), "status": {"phase": "Available"}}
    ssd = {**volume("ssd", "9Gi"), "status": {"phase": "Available"}}
    ssd["metadata"]["labels"] = {"disk": "ssd"}
    assert best_match(wanted, [plain, ssd], delayed=False) is ssd
    assert best_match(wanted, [plain, ssd], delayed=True) is None
    assert NODES.resource == "nodes"
