"""StatefulSets: order, identity, claims and their retention, rolling updates, revisions."""

import asyncio

import pytest

from pybernetes.api.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
)
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.statefulset.identity import revision_of

from .helpers import assign_everything, change_spec, condition, template

NAME = "statefulset-controller"
SLOW = (Stage(start=(0.5, 2.0), ready=(0.5, 2.0), stop=(0.5, 3.0)),)


def stateful_set(replicas=3, claims=False, **spec):
    labels = {"app": "db"}
    made = {
        "metadata": {"name": "db", "namespace": "default", "labels": labels},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": labels},
            "template": template(labels),
            "podManagementPolicy": "OrderedReady",
            "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            **spec,
        },
    }
    if claims:
        made["spec"]["volumeClaimTemplates"] = [
            {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        ]
    return made


@pytest.fixture
def keeping(virtually):
    def run(body, *stages, seed=0):
        async def main(world):
            assign_everything(world, "sim-0")
            nodes = SimulatedNodes(world.client, world.clock, 1, stages=stages or SLOW, rng=world.rng)
            task = asyncio.get_running_loop().create_task(nodes.run())
            try:
                return await world.managed(lambda: body(world), NAME)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return virtually(main, seed)

    return run


def pods(world):
    return {p["metadata"]["name"]: p for p in world.api.all(PODS)}


def images(world):
    return {n: p["spec"]["containers"][0]["image"] for n, p in pods(world).items()}


def is_ready(pod):
    return condition(pod, "Ready") == ("True", None) and not pod["metadata"].get("deletionTimestamp")


def test_pods_come_one_after_the_other_and_go_in_reverse(keeping):
    async def body(world):
        order = []

        def watch(kind, gvr, obj):
            if gvr == PODS and kind in ("ADDED", "DELETED"):
                name = obj["metadata"]["name"]
                order.append((kind, name))
                if kind == "ADDED":
                    assert all(is_ready(p) for n, p in pods(world).items() if n < name)

        world.api.on_change.append(watch)
        world.api.create(STATEFUL_SETS, stateful_set())
        await world.settle(30)
        assert order == [("ADDED", f"db-{i}") for i in range(3)]
        pod = pods(world)["db-1"]
        assert pod["spec"]["hostname"] == "db-1" and pod["spec"]["subdomain"] == "db"
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "db-1" and labels["apps.kubernetes.io/pod-index"] == "1"
        found = world.api.get(STATEFUL_SETS, "default", "db")["status"]
        (revision,) = world.api.all(CONTROLLER_REVISIONS)
        assert found == {
            "observedGeneration": 1,
            "replicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "currentReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": revision["metadata"]["name"],
            "updateRevision": revision["metadata"]["name"],
            "collisionCount": 0,
        }
        assert revision["data"]["spec"]["template"]["$patch"] == "replace"
        order.clear()
        change_spec(world.api, STATEFUL_SETS, "db", replicas=1)
        await world.settle(30)
        assert order == [("DELETED", "db-2"), ("DELETED", "db-1")]
        messages = {e["message"] for e in world.api.all(EVENTS)}
        assert {
            "Create Pod db-0 in StatefulSet db successful",
            "Delete Pod db-2 in StatefulSet db successful",
        } <= messages

    keeping(body)


def test_in_parallel_nothing_waits(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(5, podManagementPolicy="Parallel", ordinals={"start": 10}))
        await world.settle(0.1)
        assert sorted(pods(world)) == [f"db-{i}" for i in range(10, 15)]
        change_spec(world.api, STATEFUL_SETS, "db", replicas=1)
        await world.settle(20)
        assert sorted(pods(world)) == ["db-10"]

    keeping(body)


def test_a_rolling_update_goes_backwards_one_at_a_time(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(4))
        await world.settle(60)
        order, least = [], [4]

        def watch(kind, gvr, obj):
            if gvr == PODS:
                least[0] = min(least[0], sum(map(is_ready, world.api.all(PODS))))
                if kind == "ADDED":
                    order.append(obj["metadata"]["name"])

        world.api.on_change.append(watch)
        change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, "app:2"))
        await world.settle(60)
        assert order == ["db-3", "db-2", "db-1", "db-0"] and least == [3]
        assert set(images(world).values()) == {"app:2"}
        found = world.api.get(STATEFUL_SETS, "default", "db")["status"]
        assert found["currentRevision"] == found["updateRevision"]
        assert [r["revision"] for r in world.api.all(CONTROLLER_REVISIONS)] == [1, 2]

    keeping(body)


def test_a_partition_holds_pods_back_even_when_they_are_replaced(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(4))
        await world.settle(60)
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
        change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, "app:2"), updateStrategy=strategy)
        await world.settle(60)
        world.api.remove(PODS, "default", "db-1")
        await world.settle(60)
        assert images(world) == {"db-0": "app:1", "db-1": "app:1", "db-2": "app:2", "db-3": "app:2"}
        found = world.api.get(STATEFUL_SETS, "default", "db")["status"]
        assert (found["currentReplicas"], found["updatedReplicas"]) == (2, 2)
        assert found["currentRevision"] != found["updateRevision"]

    keeping(body)


def test_on_delete_waits_for_somebody(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(2, updateStrategy={"type": "OnDelete"}))
        await world.settle(60)
        change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, "app:2"))
        await world.settle(60)
        assert set(images(world).values()) == {"app:1"}
        world.api.remove(PODS, "default", "db-0")
        await world.settle(60)
        assert images(world) == {"db-0": "app:2", "db-1": "app:1"}

    keeping(body)


def test_more_than_one_may_be_unavailable(keeping):
    async def body(world):
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%"}}
        world.api.create(STATEFUL_SETS, stateful_set(6, updateStrategy=strategy, podManagementPolicy="Parallel"))
        await world.settle(60)
        least = [6]

        def watch(kind, gvr, obj):
            if gvr == PODS:
                least[0] = min(least[0], sum(map(is_ready, world.api.all(PODS))))

        world.api.on_change.append(watch)
        change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, "app:2"))
        await world.settle(60)
        assert set(images(world).values()) == {"app:2"} and least == [3]

    keeping(body)


def test_going_back_makes_the_old_revision_the_newest(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(1, revisionHistoryLimit=1))
        for image in ("app:2", "app:3", "app:2"):
            change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, image))
            await world.settle(30)
        revisions = {
            r["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: r["revision"]
            for r in world.api.all(CONTROLLER_REVISIONS)
        }
        assert revisions == {"app:2": 3, "app:3": 2}
        assert (
            revision_of(pods(world)["db-0"])
            == world.api.get(STATEFUL_SETS, "default", "db")["status"]["updateRevision"]
        )

    keeping(body)


def test_a_failed_pod_is_replaced_under_its_name(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(2))
        await world.settle(30)
        pod = pods(world)["db-0"]
        world.api.update(PODS, {**pod, "status": {"phase": "Failed"}}, "status")
        await world.settle(30)
        assert pods(world)["db-0"]["metadata"]["uid"] != pod["metadata"]["uid"]

    keeping(body)


def test_claims_are_made_and_kept(keeping):
    async def body(world):
        world.api.create(STATEFUL_SETS, stateful_set(2, claims=True))
        await world.settle(30)
        claims = {c["metadata"]["name"]: c for c in world.api.all(PERSISTENT_VOLUME_CLAIMS)}
        assert sorted(claims) == ["data-db-0", "data-db-1"]
        assert claims["data-db-0"]["metadata"]["labels"] == {"app": "db"}
        volume = pods(world)["db-1"]["spec"]["volumes"][0]
        assert volume == {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}
        change_spec(world.api, STATEFUL_SETS, "db", replicas=1)
        await world.settle(30)
        left = world.api.all(PERSISTENT_VOLUME_CLAIMS)
        assert len(left) == 2 and not any(c["metadata"].get("ownerReferences") for c in left)

    keeping(body)


def test_the_retention_policy_sets_the_owners(keeping):
    async def body(world):
        policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        world.api.create(STATEFUL_SETS, stateful_set(2, claims=True, persistentVolumeClaimRetentionPolicy=policy))
        await world.settle(30)

        def owners():
            return {
                c["metadata"]["name"]: [r["kind"] for r in c["metadata"].get("ownerReferences", [])]
                for c in world.api.all(PERSISTENT_VOLUME_CLAIMS)
            }

        assert owners() == {"data-db-0": ["StatefulSet"], "data-db-1": ["StatefulSet"]}
        change_spec(world.api, STATEFUL_SETS, "db", replicas=1)
        await world.settle(30)
        assert owners() == {"data-db-0": ["StatefulSet"], "data-db-1": ["Pod"]}
        # The claim goes with the pod that is gone: until it has, no new pod may begin with it.
        change_spec(world.api, STATEFUL_SETS, "db", replicas=2)
        await world.settle(30)
        assert sorted(pods(world)) == ["db-0"]
        world.api.remove(PERSISTENT_VOLUME_CLAIMS, "default", "data-db-1")
        change_spec(world.api, STATEFUL_SETS, "db", replicas=2, minReadySeconds=1)
        await world.settle(30)
        assert sorted(pods(world)) == ["db-0", "db-1"]

    keeping(body)


@pytest.mark.parametrize("seed", range(4))
def test_order_holds_while_the_manager_dies_again_and_again(virtually, seed):
    async def main(world):
        assign_everything(world, "sim-0")
        nodes = SimulatedNodes(world.client, world.clock, 1, stages=SLOW, rng=world.rng)
        loop = asyncio.get_running_loop()
        simulation = loop.create_task(nodes.run())
        broken = []

        def watch(kind, gvr, obj):
            if gvr == PODS and kind == "ADDED":
                name = obj["metadata"]["name"]
                if not all(is_ready(p) for n, p in pods(world).items() if n < name):
                    broken.append(name)

        world.api.on_change.append(watch)
        world.api.create(STATEFUL_SETS, stateful_set(4))
        for step in range(60):
            manager = loop.create_task(world.start(NAME))
            await world.clock.sleep(world.rng.uniform(0.01, 4))
            manager.cancel()
            await asyncio.gather(manager, return_exceptions=True)
            if step == 20:
                change_spec(world.api, STATEFUL_SETS, "db", template=template({"app": "db"}, "app:2"))
        assert images(world) == {f"db-{i}": "app:2" for i in range(4)} and not broken
        simulation.cancel()
        await asyncio.gather(simulation, return_exceptions=True)

    virtually(main, seed)
