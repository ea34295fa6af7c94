"""ReplicaSets: counts, choice of the pods to go, adoption and release, failures, status."""

import pytest

from pybernetes.api import errors
from pybernetes.api.resources import EVENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from pybernetes.controllers.pods import rank_for_deletion
from pybernetes.controllers.replicaset import decide

from .helpers import assign_everything, change_spec, condition, replica_set, template

NAME = "replicaset-controller"


def names(pods):
    return [p["metadata"]["name"] for p in pods]


def test_makes_pods_and_reports(virtually):
    async def main(world):
        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 7))
            await world.settle()
            return world.api.all(PODS), world.api.get(REPLICA_SETS, "default", "web")

        pods, rs = await world.managed(body, NAME)
        assert len(pods) == 7
        assert all(n.startswith("web-") for n in names(pods))
        reference = pods[0]["metadata"]["ownerReferences"][0]
        assert reference == {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": "web",
            "uid": rs["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        assert rs["status"] == {
            "replicas": 7,
            "fullyLabeledReplicas": 7,
            "observedGeneration": 1,
            "terminatingReplicas": 0,
        }

    virtually(main)


def test_scales_down_and_says_so(virtually):
    async def main(world):
        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 5))
            await world.settle()
            change_spec(world.api, REPLICA_SETS, "web", replicas=2)
            await world.settle(1)
            return len(world.api.all(PODS)), {(e["reason"], e["message"].split(":")[0]) for e in world.api.all(EVENTS)}

        count, events = await world.managed(body, NAME)
        assert count == 2
        assert events == {("SuccessfulCreate", "Created pod"), ("SuccessfulDelete", "Deleted pod")}

    virtually(main)


def test_a_stale_copy_makes_nothing_twice(virtually):
    """Watch events that come late must not make the controller create or delete again."""

    async def main(world):
        feed = world.api._feed

        def late(watcher, event):
            world.clock.call_later(world.rng.random() * 3, lambda: None)
            world.clock.call_later(2.0, lambda: feed(watcher, event))

        async def body():
            await world.settle()
            world.api._feed = late
            world.api.create(REPLICA_SETS, replica_set("web", 20))
            await world.settle(10)
            assert len(world.api.all(PODS)) == 20
            creates = [w for w in world.api.log if w[0] == "POST" and w[1].endswith("/pods")]
            assert len(creates) == 20
            change_spec(world.api, REPLICA_SETS, "web", replicas=3)
            await world.settle(10)
            assert len(world.api.all(PODS)) == 3
            assert len([w for w in world.api.log if w[0] == "DELETE"]) == 17

        await world.managed(body, NAME)

    virtually(main)


def test_refused_creates_start_slowly_and_show_in_the_status(virtually):
    async def main(world):
        def full(method, path):
            if method == "POST" and path.endswith("/pods") and len(world.api.all(PODS)) >= 2:
                return errors.forbidden("", "pods", "web-", "exceeded quota: q")

        world.api.fault = full

        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 50))
            await world.settle()
            assert len(world.api.all(PODS)) == 2
            refused = [w for w in world.api.log if w == ("POST", "/api/v1/namespaces/default/pods")]
            assert len(refused) < 10
            rs = world.api.get(REPLICA_SETS, "default", "web")
            assert condition(rs, "ReplicaFailure") == ("True", "FailedCreate")
            assert 'pods "web-" is forbidden: exceeded quota: q' in rs["status"]["conditions"][0]["message"]
            world.api.fault = None
            await world.settle(30)
            rs = world.api.get(REPLICA_SETS, "default", "web")
            assert len(world.api.all(PODS)) == 50 and condition(rs, "ReplicaFailure") is None

        await world.managed(body, NAME)

    virtually(main)


def test_adopts_matching_orphans_and_releases_strangers(virtually):
    async def main(world):
        async def body():
            orphan = template({"app": "web"})
            orphan["metadata"].update(name="orphan", namespace="default")
            world.api.create(PODS, orphan)
            world.api.create(REPLICA_SETS, replica_set("web", 2))
            await world.settle()
            assert len(world.api.all(PODS)) == 2
            assert world.api.get(PODS, "default", "orphan")["metadata"]["ownerReferences"][0]["name"] == "web"
            pod = world.api.get(PODS, "default", "orphan")
            world.api.update(PODS, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
            await world.settle()
            assert len(world.api.all(PODS)) == 3
            assert world.api.get(PODS, "default", "orphan")["metadata"]["ownerReferences"] == []

        await world.managed(body, NAME)

    virtually(main)


def test_failed_pods_are_replaced(virtually):
    async def main(world):
        assign_everything(world)

        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 3))
            await world.settle()
            pod = world.api.all(PODS)[0]
            world.api.update(PODS, {**pod, "status": {"phase": "Failed"}}, "status")
            await world.settle()
            assert len(world.api.all(PODS)) == 4
            assert world.api.get(REPLICA_SETS, "default", "web")["status"]["replicas"] == 3

        await world.managed(body, NAME)

    virtually(main)


def test_available_only_after_min_ready_seconds(virtually):
    async def main(world):
        async def body():
            world.api.create(REPLICA_SETS, replica_set("web", 1, minReadySeconds=30))
            await world.settle()
            pod = world.api.all(PODS)[0]
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2023-11-14T22:13:20Z"}
            world.api.update(PODS, {**pod, "status": {"phase": "Running", "conditions": [ready]}}, "status")
            await world.settle(10)
            status = world.api.get(REPLICA_SETS, "default", "web")["status"]
            assert (status["readyReplicas"], status.get("availableReplicas")) == (1, None)
            await world.settle(25)
            assert world.api.get(REPLICA_SETS, "default", "web")["status"]["availableReplicas"] == 1

        await world.managed(body, NAME)

    virtually(main)


def test_replication_controllers_work_the_same(virtually):
    async def main(world):
        async def body():
            labels = {"app": "rc"}
            world.api.create(
                REPLICATION_CONTROLLERS,
                {
                    "metadata": {"name": "rc", "namespace": "default"},
                    "spec": {"replicas": 2, "selector": labels, "template": template(labels)},
                },
            )
            await world.settle()
            pods = world.api.all(PODS)
            assert [p["metadata"]["ownerReferences"][0]["kind"] for p in pods] == ["ReplicationController"] * 2
            assert world.api.get(REPLICATION_CONTROLLERS, "default", "rc")["status"]["replicas"] == 2

        await world.managed(body, "replicationcontroller-controller")

    virtually(main)


NOW = 1_700_000_000.0


def pod(
    name, *, node="n", phase="Running", ready="2023-11-14T20:00:00Z", cost="", restarts=0, made="2023-11-14T19:00:00Z"
):
    status = {"phase": phase, "containerStatuses": [{"name": "c", "restartCount": restarts}]}
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
    meta = {"name": name, "uid": name, "creationTimestamp": made}
    if cost:
        meta["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("z", node=""), pod("a")),
        (pod("z", phase="Pending"), pod("a")),
        (pod("z", ready=""), pod("a")),
        (pod("z", cost="-5"), pod("a")),
        (pod("z"), pod("a", cost="10")),
        (pod("z", node="crowded"), pod("a", node="empty")),
        (pod("z", ready="2023-11-14T22:13:00Z"), pod("a")),
        (pod("z", restarts=3), pod("a")),
        (pod("z", made="2023-11-14T22:13:19Z"), pod("a")),
        # Ages of one magnitude count as equal: the uid decides, so that no zone is emptied by habit.
        (pod("a", ready="2023-11-14T20:00:10Z"), pod("z", ready="2023-11-14T20:00:30Z")),
    ],
)
def test_who_goes_first(first, second):
    ranked = rank_for_deletion([second, first], {"crowded": 5, "empty": 1}, NOW)
    assert names(ranked) == names([first, second])


def test_a_set_that_is_being_deleted_makes_nothing():
    owner = replica_set("web", 3)
    owner["metadata"]["deletionTimestamp"] = "2023-11-14T20:00:00Z"
    assert decide.manage(decide.Snapshot(owner, [], [], []), {}, NOW) == []
