"""Deployments: rollouts keep their promises, pause, deadline, history, rollback, scaling in the middle of a rollout."""

import pytest

from pybernetes.api import errors
from pybernetes.api.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.deployment import sets

from .helpers import assign_everything, change_spec, condition, deployment, template

NAMES = ("deployment-controller", "replicaset-controller")


@pytest.fixture
def rolling(virtually):
    """Runs a body with the two controllers, an instant scheduler and one simulated node."""

    def run(body, *stages, seed=0):
        async def main(world):
            import asyncio

            assign_everything(world, "sim-0")
            nodes = SimulatedNodes(world.client, world.clock, 1, stages=stages or (Stage(),), rng=world.rng)
            task = asyncio.get_running_loop().create_task(nodes.run())
            try:
                return await world.managed(lambda: body(world), *NAMES)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return virtually(main, seed)

    return run


def active_sets(world):
    return {s["spec"]["template"]["spec"]["containers"][0]["image"]: s for s in world.api.all(REPLICA_SETS)}


def test_a_new_deployment_becomes_complete(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 3))
        await world.settle(5)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        (rs,) = world.api.all(REPLICA_SETS)
        template_hash = rs["metadata"]["labels"]["pod-template-hash"]
        assert rs["metadata"]["name"] == f"web-{template_hash}"
        assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": template_hash}
        assert rs["metadata"]["annotations"] == {
            sets.REVISION: "1",
            sets.DESIRED_REPLICAS: "3",
            sets.MAX_REPLICAS: "4",
        }
        assert made["metadata"]["annotations"] == {sets.REVISION: "1"}
        status = made["status"]
        counts = {k: v for k, v in status.items() if k != "conditions"}
        assert counts == {
            "observedGeneration": 1,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "terminatingReplicas": 0,
        }
        assert condition(made, "Available") == ("True", "MinimumReplicasAvailable")
        assert condition(made, "Progressing") == ("True", "NewReplicaSetAvailable")
        messages = [e["message"] for e in world.api.all(EVENTS) if e["reason"] == "ScalingReplicaSet"]
        assert messages == [f"Scaled up replica set web-{template_hash} from 0 to 3"]

    rolling(body)


@pytest.mark.parametrize(("surge", "unavailable"), [("25%", "25%"), (1, 0), (0, 1), ("100%", "0%"), ("30%", "50%")])
def test_a_rollout_keeps_its_bounds(rolling, surge, unavailable):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 10, surge=surge, unavailable=unavailable))
        await world.settle(30)
        most = 10 + (surge if isinstance(surge, int) else int(surge[:-1]) / 10)
        least = 10 - (unavailable if isinstance(unavailable, int) else int(unavailable[:-1]) / 10)
        seen = {"asked": 0, "available": 99}

        def check(kind, gvr, obj):
            asked = sum(s["spec"]["replicas"] for s in world.api.all(REPLICA_SETS))
            ready = [
                p
                for p in world.api.all(PODS)
                if not p["metadata"].get("deletionTimestamp") and condition(p, "Ready") == ("True", None)
            ]
            seen["asked"] = max(seen["asked"], asked)
            seen["available"] = min(seen["available"], len(ready))

        world.api.on_change.append(check)
        new = template({"app": "web"}, "app:2")
        change_spec(world.api, DEPLOYMENTS, "web", template=new)
        await world.settle(120)
        assert seen["asked"] <= -(-most // 1) and seen["available"] >= least // 1
        found = active_sets(world)
        assert (found["app:1"]["spec"]["replicas"], found["app:2"]["spec"]["replicas"]) == (0, 10)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert made["status"]["updatedReplicas"] == made["status"]["availableReplicas"] == 10
        assert made["metadata"]["annotations"][sets.REVISION] == "2"

    rolling(body, Stage(start=(0.1, 1.0), ready=(0.5, 3.0), stop=(0.1, 2.0)))


def test_recreate_waits_for_the_last_old_pod(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 4, strategy={"type": "Recreate"}))
        await world.settle(10)
        mixed = []

        def check(kind, gvr, obj):
            images = {p["spec"]["containers"][0]["image"] for p in world.api.all(PODS)}
            mixed.append(len(images) > 1)

        world.api.on_change.append(check)
        change_spec(world.api, DEPLOYMENTS, "web", template=template({"app": "web"}, "app:2"))
        await world.settle(60)
        assert not any(mixed)
        assert {p["spec"]["containers"][0]["image"] for p in world.api.all(PODS)} == {"app:2"}

    rolling(body, Stage(stop=(3.0, 5.0)))


def test_pause_holds_a_rollout_and_resume_goes_on(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 4))
        await world.settle(5)
        change_spec(world.api, DEPLOYMENTS, "web", paused=True)
        await world.settle(5)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert condition(made, "Progressing") == ("Unknown", "DeploymentPaused")
        change_spec(world.api, DEPLOYMENTS, "web", template=template({"app": "web"}, "app:2"))
        change_spec(world.api, DEPLOYMENTS, "web", replicas=6)
        await world.settle(30)
        assert list(active_sets(world)) == ["app:1"] and len(world.api.all(PODS)) == 6
        change_spec(world.api, DEPLOYMENTS, "web", paused=False)
        await world.settle(30)
        assert active_sets(world)["app:2"]["spec"]["replicas"] == 6

    rolling(body)


def test_the_deadline_passes_and_progress_mends_it(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 2, progressDeadlineSeconds=30))
        await world.settle(20)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert condition(made, "Progressing") == ("True", "ReplicaSetUpdated")
        await world.settle(60)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert condition(made, "Progressing") == ("False", "ProgressDeadlineExceeded")
        assert condition(made, "Available") == ("False", "MinimumReplicasUnavailable")
        await world.settle(200)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert condition(made, "Progressing") == ("True", "NewReplicaSetAvailable")

    rolling(body, Stage(start=(100.0, 100.0)))


def test_history_is_cut_and_an_old_template_gets_a_new_revision(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 1, revisionHistoryLimit=2))
        for n in (1, 2, 3, 4, 5):
            change_spec(world.api, DEPLOYMENTS, "web", template=template({"app": "web"}, f"app:{n}"))
            await world.settle(20)
        assert sorted(active_sets(world)) == ["app:3", "app:4", "app:5"]
        change_spec(world.api, DEPLOYMENTS, "web", template=template({"app": "web"}, "app:3"))
        await world.settle(20)
        annotations = active_sets(world)["app:3"]["metadata"]["annotations"]
        assert (annotations[sets.REVISION], annotations[sets.REVISION_HISTORY]) == ("6", "3")
        assert world.api.get(DEPLOYMENTS, "default", "web")["metadata"]["annotations"][sets.REVISION] == "6"

    rolling(body)


def test_scaling_in_the_middle_of_a_rollout_is_proportional(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 10, surge=3, unavailable=2))
        await world.settle(5)
        # The new image never becomes ready: the rollout stands at 8 old and 5 new.
        bad = template({"app": "web", "broken": "yes"}, "bad")
        change_spec(world.api, DEPLOYMENTS, "web", template=bad)
        await world.settle(20)
        found = active_sets(world)
        assert (found["app:1"]["spec"]["replicas"], found["bad"]["spec"]["replicas"]) == (8, 5)
        change_spec(world.api, DEPLOYMENTS, "web", replicas=15)
        await world.settle(20)
        found = active_sets(world)
        assert (found["app:1"]["spec"]["replicas"], found["bad"]["spec"]["replicas"]) == (11, 7)

    rolling(body, Stage(labels={"broken": "yes"}, start=(1e6, 1e6)), Stage())


def test_a_name_that_is_taken_is_a_collision(rolling):
    async def body(world):
        made = deployment("web", 2)
        template_hash = sets.set_name({"metadata": {"name": "web"}}, "")
        assert template_hash == "web-"
        from pybernetes.controllers.values import hash_of

        name = f"web-{hash_of(made['spec']['template'])}"
        world.api.create(
            REPLICA_SETS,
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"x": "y"}}, "template": template({"x": "y"})},
            },
        )
        world.api.create(DEPLOYMENTS, made)
        await world.settle(10)
        status = world.api.get(DEPLOYMENTS, "default", "web")["status"]
        assert (status["collisionCount"], status["availableReplicas"]) == (1, 2)

    rolling(body)


def test_a_refused_set_shows_in_the_conditions(rolling):
    async def body(world):
        world.api.fault = lambda method, path: (
            errors.forbidden("apps", "replicasets", "x", "no")
            if (method, path[-11:]) == ("POST", "replicasets")
            else None
        )
        world.api.create(DEPLOYMENTS, deployment("web", 1))
        await world.settle(1)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        assert condition(made, "Progressing") == ("False", "ReplicaSetCreateError")
        world.api.fault = None
        await world.settle(60)
        assert world.api.get(DEPLOYMENTS, "default", "web")["status"]["availableReplicas"] == 1

    rolling(body)


def test_rollback_by_annotation(rolling):
    async def body(world):
        world.api.create(DEPLOYMENTS, deployment("web", 1))
        await world.settle(10)
        change_spec(world.api, DEPLOYMENTS, "web", template=template({"app": "web"}, "app:2"))
        await world.settle(10)
        made = world.api.get(DEPLOYMENTS, "default", "web")
        annotations = {**made["metadata"]["annotations"], sets.ROLLBACK_TO: "0"}
        world.api.update(DEPLOYMENTS, {**made, "metadata": {**made["metadata"], "annotations": annotations}})
        await world.settle(10)
        assert active_sets(world)["app:1"]["spec"]["replicas"] == 1
        messages = [e["message"] for e in world.api.all(EVENTS) if e["reason"] == "DeploymentRollback"]
        assert messages == ['Rolled back deployment "web" to revision 1']

    rolling(body)
