"""Disruption budgets, quotas, aggregated roles."""

import pytest

from pybernetes.api.resources import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    RESOURCE_QUOTAS,
)
from pybernetes.controllers.clusterroleaggregation.decide import aggregated_rules
from pybernetes.controllers.disruption.decide import Expectation, wanted_counts

from .helpers import condition, deployment, replica_set, template

NAME = "disruption-controller"


def budget(**spec):
    return {
        "metadata": {"name": "pdb", "namespace": "default", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def ready_pod(world, name, owner=None, ready=True):
    pod = template({"app": "web"})
    pod["metadata"].update(name=name, namespace="default")
    if owner is not None:
        meta = owner["metadata"]
        reference = {
            "apiVersion": "apps/v1",
            "kind": owner["kind"],
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
        }
        pod["metadata"]["ownerReferences"] = [reference]
    pod["spec"]["nodeName"] = "n"
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return world.api.create(PODS, pod)


def status(world):
    return world.api.get(POD_DISRUPTION_BUDGETS, "default", "pdb")["status"]


def counts(world):
    found = status(world)
    return tuple(found[f] for f in ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"))


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, (3, 2)),
        ({"minAvailable": "50%"}, 3, 5, (5, 3)),
        ({"maxUnavailable": 1}, 3, 5, (5, 4)),
        ({"maxUnavailable": "50%"}, 3, 5, (5, 2)),
        ({"maxUnavailable": 9}, 3, 5, (5, 0)),
    ],
)
def test_what_is_wanted(spec, pods, scale, expected):
    assert wanted_counts(budget(**spec), [{}] * pods, Expectation(scale)) == expected


def test_counts_healthy_pods(virtually):
    async def main(world):
        async def body():
            world.api.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=2))
            for n in range(3):
                ready_pod(world, f"p{n}")
            await world.settle()
            assert counts(world) == (3, 2, 3, 1)
            assert condition(world.api.get(POD_DISRUPTION_BUDGETS, "default", "pdb"), "DisruptionAllowed") == (
                "True",
                "SufficientPods",
            )
            ready_pod(world, "p3", ready=False)
            world.api.remove(PODS, "default", "p0")
            await world.settle()
            assert counts(world) == (2, 2, 4, 0)
            assert condition(world.api.get(POD_DISRUPTION_BUDGETS, "default", "pdb"), "DisruptionAllowed") == (
                "False",
                "InsufficientPods",
            )

        await world.managed(body, NAME)

    virtually(main)


def test_the_deployment_counts_not_its_sets(virtually):
    async def main(world):
        async def body():
            made = world.api.create(
                DEPLOYMENTS, {**deployment("web", 10), "apiVersion": "apps/v1", "kind": "Deployment"}
            )
            rs = replica_set("web-1", 4)
            meta = made["metadata"]
            rs["metadata"]["ownerReferences"] = [
                {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": meta["uid"], "controller": True},
            ]
            rs = world.api.create(REPLICA_SETS, rs)
            world.api.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable="30%"))
            for n in range(4):
                ready_pod(world, f"p{n}", rs)
            await world.settle()
            assert counts(world) == (4, 7, 10, 0)

        await world.managed(body, NAME)

    virtually(main)


def test_unmanaged_pods_are_named_and_an_unknown_controller_forbids(virtually):
    async def main(world):
        async def body():
            world.api.create(POD_DISRUPTION_BUDGETS, budget(maxUnavailable=1))
            ready_pod(world, "p0")
            await world.settle()
            assert counts(world) == (1, 0, 0, 0)
            ready_pod(world, "p1", {"kind": "Job", "metadata": {"name": "j", "uid": "u"}})
            await world.settle()
            found = world.api.get(POD_DISRUPTION_BUDGETS, "default", "pdb")
            assert condition(found, "DisruptionAllowed") == ("False", "SyncFailed")
            assert {"UnmanagedPods", "CalculateExpectedPodCountFailed"} <= {e["reason"] for e in world.api.all(EVENTS)}

        await world.managed(body, NAME)

    virtually(main)


def test_an_eviction_that_never_came_is_forgotten(virtually):
    async def main(world):
        async def body():
            world.api.create(POD_DISRUPTION_BUDGETS, budget(minAvailable=1))
            for n in range(2):
                ready_pod(world, f"p{n}")
            await world.settle()
            found = world.api.get(POD_DISRUPTION_BUDGETS, "default", "pdb")
            from pybernetes.api.times import to_time

            charged = {**found["status"], "disruptionsAllowed": 0, "disruptedPods": {"p0": to_time(world.clock.now())}}
            world.api.update(POD_DISRUPTION_BUDGETS, {**found, "status": charged}, "status")
            await world.settle(60)
            assert counts(world) == (1, 1, 2, 0) and "p0" in status(world)["disruptedPods"]
            await world.settle(70)
            assert counts(world) == (2, 1, 2, 1) and "disruptedPods" not in status(world)
            assert "NotDeleted" in {e["reason"] for e in world.api.all(EVENTS)}

        await world.managed(body, NAME)

    virtually(main)


def test_a_target_that_stayed_is_no_target(virtually):
    async def main(world):
        async def body():
            pod = ready_pod(world, "p")
            from pybernetes.api.times import to_time

            target = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "X",
                "lastTransitionTime": to_time(world.clock.now()),
            }
            world.api.update(PODS, {**pod, "status": {"phase": "Running", "conditions": [target]}}, "status")
            await world.settle(100)
            assert condition(world.api.get(PODS, "default", "p"), "DisruptionTarget") == ("True", "X")
            await world.settle(30)
            assert condition(world.api.get(PODS, "default", "p"), "DisruptionTarget") == ("False", None)

        await world.managed(body, NAME)

    virtually(main)


def test_quotas_are_counted_and_freed(virtually):
    async def main(world):
        async def body():
            hard = {"pods": "5", "requests.cpu": "2", "count/configmaps": "10", "count/widgets.example.com": "3"}
            world.api.create(
                RESOURCE_QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
            )
            for n in range(2):
                pod = template({"app": "web"})
                pod["metadata"].update(name=f"p{n}", namespace="default")
                pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "250m"}}
                world.api.create(PODS, pod)
            for n in range(3):
                world.api.create(CONFIG_MAPS, {"metadata": {"name": f"c{n}", "namespace": "default"}})
            await world.settle(1)

            def used():
                return world.api.get(RESOURCE_QUOTAS, "default", "q")["status"]["used"]

            assert used() == {
                "pods": "2",
                "requests.cpu": "500m",
                "count/configmaps": "3",
                "count/widgets.example.com": "0",
            }
            assert world.api.get(RESOURCE_QUOTAS, "default", "q")["status"]["hard"] == hard
            world.api.remove(CONFIG_MAPS, "default", "c0")
            pod = world.api.get(PODS, "default", "p0")
            world.api.update(PODS, {**pod, "status": {"phase": "Succeeded"}}, "status")
            await world.settle(1)
            assert used() == {
                "pods": "1",
                "requests.cpu": "250m",
                "count/configmaps": "2",
                "count/widgets.example.com": "0",
            }

        await world.managed(body, "resourcequota-controller")

    virtually(main)


def test_roles_are_aggregated_in_order():
    def role(name, labels, *verbs):
        return {"metadata": {"name": name, "labels": labels}, "rules": [{"verbs": [v]} for v in verbs]}

    whole = {
        "metadata": {"name": "all"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "2"}}, {"matchLabels": {"x": "1"}}]},
    }
    roles = [whole, role("b", {"x": "1"}, "get", "list"), role("a", {"x": "2"}, "list"), role("c", {}, "delete")]
    assert aggregated_rules(whole, roles) == [{"verbs": ["list"]}, {"verbs": ["get"]}]
    assert CLUSTER_ROLES.resource == "clusterroles"


def test_a_charge_of_admission_is_not_taken_back_before_its_object_is_there(virtually):
    async def main(world):
        async def body():
            quota = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "2"}}}
            world.api.create(RESOURCE_QUOTAS, quota)
            await world.settle(1)
            counted = world.api.get(RESOURCE_QUOTAS, "default", "q")
            assert counted["status"] == {"hard": {"pods": "2"}, "used": {"pods": "0"}}
            # What admission does: it charges first, and the pod comes after.
            charged = {**counted, "status": {**counted["status"], "used": {"pods": "1"}}}
            world.api.update(RESOURCE_QUOTAS, charged, "status")
            await world.settle(1)
            assert world.api.get(RESOURCE_QUOTAS, "default", "q")["status"]["used"] == {"pods": "1"}
            # A new limit does ask for a count.
            now = world.api.get(RESOURCE_QUOTAS, "default", "q")
            world.api.update(RESOURCE_QUOTAS, {**now, "spec": {"hard": {"pods": "3"}}})
            await world.settle(1)
            status = world.api.get(RESOURCE_QUOTAS, "default", "q")["status"]
            assert status == {"hard": {"pods": "3"}, "used": {"pods": "0"}}

        await world.managed(body, "resourcequota-controller")

    virtually(main)
