"""Jobs: completions, indexes, limits, policies, suspension, counting each pod once whatever happens."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.api import errors
from pybernetes.api.meta import finalizers_of
from pybernetes.api.resources import EVENTS, JOBS, PODS
from pybernetes.client.transport import TransportError
from pybernetes.cluster.simulated import SimulatedNodes, Stage
from pybernetes.controllers.job.intervals import Indexes
from pybernetes.controllers.job.pods import FINALIZER, backoff_remaining
from pybernetes.controllers.job.policies import judge, success_message

from .helpers import assign_everything, change_spec, condition

NAME = "job-controller"
QUICK = (Stage(run=(1.0, 2.0)),)


def job(name="work", restart="Never", **spec):
    labels = {"job-name": name}
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": restart, "containers": [{"name": "c"}]}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "selector": {"matchLabels": labels},
            "template": template,
            "suspend": False,
            "completionMode": "NonIndexed",
            **spec,
        },
    }


@pytest.fixture
def working(virtually):
    def run(body, *stages, seed=0, before=None):
        async def main(world):
            assign_everything(world, "sim-0")
            nodes = SimulatedNodes(world.client, world.clock, 1, stages=stages or QUICK, rng=world.rng)
            task = asyncio.get_running_loop().create_task(nodes.run())
            try:
                return await world.managed(lambda: body(world), NAME)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        return virtually(main, seed)

    return run


def status(world, name="work"):
    return world.api.get(JOBS, "default", name).get("status", {})


def reasons(world):
    return {e["reason"] for e in world.api.all(EVENTS)}


def test_runs_to_completion(working):
    async def body(world):
        world.api.create(JOBS, job(completions=7, parallelism=3))
        most = 0

        def check(kind, gvr, obj):
            nonlocal most
            most = max(most, sum(p["status"]["phase"] in ("Pending", "Running") for p in world.api.all(PODS)))

        world.api.on_change.append(check)
        await world.settle(30)
        found = status(world)
        assert found["succeeded"] == 7 and "failed" not in found and "active" not in found
        made = world.api.get(JOBS, "default", "work")
        assert condition(made, "Complete") == ("True", "CompletionsReached")
        assert condition(made, "SuccessCriteriaMet") == ("True", "CompletionsReached")
        assert found["completionTime"] and found["startTime"]
        assert len(world.api.all(PODS)) == 7 and most == 3
        assert not any(FINALIZER in finalizers_of(p) for p in world.api.all(PODS))
        assert {"SuccessfulCreate", "Completed"} <= reasons(world)

    working(body)


def test_indexed(working):
    async def body(world):
        world.api.create(JOBS, job(completions=5, parallelism=2, completionMode="Indexed"))
        await world.settle(30)
        assert status(world)["completedIndexes"] == "0-4" and status(world)["succeeded"] == 5
        pods = sorted(world.api.all(PODS), key=lambda p: p["spec"]["hostname"])
        assert [p["spec"]["hostname"] for p in pods] == [f"work-{i}" for i in range(5)]
        assert pods[0]["metadata"]["name"].startswith("work-0-")
        assert pods[3]["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "3"
        assert pods[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"

    working(body)


def test_failures_back_off_and_end_it(working):
    async def body(world):
        world.api.create(JOBS, job(backoffLimit=2))
        await world.settle(15)
        assert len(world.api.all(PODS)) == 2
        await world.settle(200)
        made = world.api.get(JOBS, "default", "work")
        assert condition(made, "Failed") == ("True", "BackoffLimitExceeded")
        assert condition(made, "FailureTarget") == ("True", "BackoffLimitExceeded")
        assert made["status"]["failed"] == 3 == len(world.api.all(PODS))
        assert "BackoffLimitExceeded" in reasons(world)

    working(body, Stage(run=(1.0, 1.0), failure_rate=1.0))


def test_restarts_in_place_count(working):
    async def body(world):
        world.api.create(JOBS, job(restart="OnFailure", backoffLimit=3))
        await world.settle(100)
        assert condition(world.api.get(JOBS, "default", "work"), "Failed") == ("True", "BackoffLimitExceeded")

    working(body, Stage(run=(1.0, 1.0), failure_rate=1.0))


def test_deadline(working):
    async def body(world):
        world.api.create(JOBS, job(completions=2, parallelism=2, activeDeadlineSeconds=10))
        await world.settle(30)
        made = world.api.get(JOBS, "default", "work")
        assert condition(made, "Failed") == ("True", "DeadlineExceeded")
        assert world.api.all(PODS) == [] and made["status"]["failed"] == 2

    working(body, Stage())


def test_suspend_and_resume(working):
    async def body(world):
        world.api.create(JOBS, job(suspend=True, completions=2, parallelism=2))
        await world.settle(5)
        assert world.api.all(PODS) == [] and "startTime" not in status(world)
        assert condition(world.api.get(JOBS, "default", "work"), "Suspended") == ("True", "JobSuspended")
        change_spec(world.api, JOBS, "work", suspend=False)
        await world.settle(2)
        assert len(world.api.all(PODS)) == 2 and status(world)["startTime"]
        change_spec(world.api, JOBS, "work", suspend=True)
        await world.settle(5)
        assert world.api.all(PODS) == [] and "failed" not in status(world)
        change_spec(world.api, JOBS, "work", suspend=False)
        await world.settle(30)
        assert status(world)["succeeded"] == 2
        assert {"Suspended", "Resumed"} <= reasons(world)

    working(body, Stage(run=(8.0, 8.0)))


def test_a_limit_per_index(working):
    async def body(world):
        # Index 1 always fails; the others succeed.
        def doom(kind, gvr, pod):
            if (
                gvr == PODS
                and kind == "ADDED"
                and pod["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index") == "1"
            ):
                pod["metadata"]["annotations"]["simulated.pybernetes.io/failure-rate"] = "1"

        world.api.on_change.append(doom)
        world.api.create(JOBS, job(completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=1))
        await world.settle(100)
        made = world.api.get(JOBS, "default", "work")
        assert (made["status"]["completedIndexes"], made["status"]["failedIndexes"]) == ("0,2", "1")
        assert condition(made, "Failed") == ("True", "FailedIndexes")
        counts = [
            p["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"]
            for p in world.api.all(PODS)
            if p["spec"]["hostname"] == "work-1"
        ]
        assert sorted(counts) == ["0", "1"] and made["status"]["failed"] == 2

    working(body)


def test_a_failure_policy_ignores_and_ends(working):
    rules = [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [7]}},
    ]

    async def body(world):
        code = ["42"]

        def doom(kind, gvr, pod):
            if gvr == PODS and kind == "ADDED":
                pod["metadata"]["annotations"] = {
                    "simulated.pybernetes.io/failure-rate": "1",
                    "simulated.pybernetes.io/exit-code": code[0],
                }

        world.api.on_change.append(doom)
        world.api.create(JOBS, job(backoffLimit=0, podFailurePolicy={"rules": rules}))
        await world.settle(40)
        assert "failed" not in status(world) and len(world.api.all(PODS)) >= 2
        code[0] = "7"
        await world.settle(700)
        made = world.api.get(JOBS, "default", "work")
        assert condition(made, "Failed") == ("True", "PodFailurePolicy")
        assert made["status"]["conditions"][-1]["message"].endswith(
            "failed with exit code 7 matching FailJob rule at index 1"
        )

    working(body)


def test_a_success_policy_ends_it_early(working):
    async def body(world):
        def slow(kind, gvr, pod):
            if gvr == PODS and kind == "ADDED" and pod["spec"]["hostname"] != "work-0":
                pod["metadata"]["annotations"]["simulated.pybernetes.io/run"] = "1000"

        world.api.on_change.append(slow)
        policy = {"rules": [{"succeededIndexes": "0"}]}
        world.api.create(JOBS, job(completions=4, parallelism=4, completionMode="Indexed", successPolicy=policy))
        await world.settle(40)
        made = world.api.get(JOBS, "default", "work")
        assert condition(made, "Complete") == ("True", "SuccessPolicy")
        assert made["status"]["succeeded"] == 1 and "failed" not in made["status"]
        assert len(world.api.all(PODS)) == 1

    working(body)


def test_terminating_pods_keep_their_place_where_only_failed_ones_are_replaced(working):
    async def body(world):
        world.api.create(JOBS, job(podReplacementPolicy="Failed"))
        await world.settle(2)
        (pod,) = world.api.all(PODS)
        world.api.remove(PODS, "default", pod["metadata"]["name"])
        await world.settle(5)
        assert len(world.api.all(PODS)) == 1 and status(world)["terminating"] == 1
        await world.settle(60)
        assert status(world)["failed"] == 1 and len(world.api.all(PODS)) == 1

    working(body, Stage(stop=(20.0, 20.0)))


def test_a_work_queue_ends_when_all_pods_do(working):
    async def body(world):
        queue = job(parallelism=3)
        del queue["spec"]["completions"]
        world.api.create(JOBS, queue)
        await world.settle(30)
        assert status(world)["succeeded"] == 3
        assert condition(world.api.get(JOBS, "default", "work"), "Complete") == ("True", "CompletionsReached")

    working(body)


def test_pods_of_a_deleted_job_are_let_go(working):
    async def body(world):
        world.api.create(JOBS, job())
        await world.settle(2)
        world.api.remove(JOBS, "default", "work")
        await world.settle(5)
        assert not any(FINALIZER in finalizers_of(p) for p in world.api.all(PODS))

    working(body, Stage())


def test_a_job_of_somebody_else_is_left_alone(working):
    async def body(world):
        world.api.create(JOBS, job(managedBy="example.com/mine"))
        await world.settle(5)
        assert world.api.all(PODS) == [] and status(world) == {}

    working(body)


@pytest.mark.parametrize("seed", range(6))
def test_each_pod_counts_once_whatever_happens(virtually, seed):
    """The manager dies again and again, calls fail before and after their work, watches break: the counts are right."""

    async def main(world):
        assign_everything(world, "sim-0")
        stages = (Stage(start=(0.0, 0.5), run=(0.2, 3.0), failure_rate=0.2),)
        nodes = SimulatedNodes(world.client, world.clock, 1, stages=stages, rng=world.rng)
        loop = asyncio.get_running_loop()
        simulation = loop.create_task(nodes.run())
        rng = random.Random(seed)
        indexed = seed % 2 == 1
        spec = {"completions": 20, "parallelism": 5, "backoffLimit": 1000}
        if indexed:
            spec["completionMode"] = "Indexed"
        world.api.create(JOBS, job(**spec))
        finished = set()

        def watch(kind, gvr, obj):
            if gvr == PODS and obj["status"]["phase"] == "Succeeded":
                finished.add(obj["metadata"]["uid"])

        world.api.on_change.append(watch)

        def fault(method, path):
            roll = rng.random()
            if method == "GET" or "/nodes" in path or "/leases" in path:
                return None
            if roll < 0.05:
                return errors.too_many_requests(retry_after=1) if roll < 0.02 else errors.internal_error("no")
            return TransportError("cut", sent=True) if roll < 0.1 else None

        world.api.fault = fault
        while condition(world.api.get(JOBS, "default", "work"), "Complete") is None:
            manager = loop.create_task(world.start(NAME))
            await world.clock.sleep(rng.uniform(0.05, 8))
            manager.cancel()
            await asyncio.gather(manager, return_exceptions=True)
            if rng.random() < 0.3:
                world.api.break_watches(forget=rng.random() < 0.5)
            assert world.clock.now() < 1_700_000_000 + 20_000
        world.api.fault = None
        found = status(world)
        assert found["succeeded"] >= 20
        if indexed:
            assert found["completedIndexes"] == "0-19" and found["succeeded"] == 20
        else:
            assert found["succeeded"] == len(finished)
        simulation.cancel()
        await asyncio.gather(simulation, return_exceptions=True)

    virtually(main, seed)


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
@settings(max_examples=200)
def test_intervals(one, two):
    a, b = Indexes.of(one), Indexes.of(two)
    assert set(a) == one and len(a) == len(one) and str(Indexes.parse(str(a), 41)) == str(a)
    assert set(a | b) == one | two and a.overlap(b) == len(one & two)
    assert set(a.gaps(41)) == set(range(41)) - one
    assert all((i in a) == (i in one) for i in range(41))


@pytest.mark.parametrize(
    ("text", "shown"), [("0", "0"), ("0,1", "0,1"), ("0,1,2", "0-2"), ("3,1,7-9,x,12", "1,3,7-9"), ("", "")]
)
def test_how_indexes_are_written(text, shown):
    assert str(Indexes.parse(text, 10)) == shown


def test_backoff_doubles_to_a_limit():
    assert [backoff_remaining(n, 100.0, 100.0) for n in (0, 1, 2, 3, 20)] == [0.0, 10.0, 20.0, 40.0, 600.0]
    assert backoff_remaining(1, 100.0, 105.0) == 5.0


def test_policies():
    broken = {
        "metadata": {"name": "p", "namespace": "n"},
        "status": {
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}],
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    }
    rule = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}
    assert judge({"rules": [rule]}, broken).message == (
        "Pod n/p has condition DisruptionTarget matching FailJob rule at index 0"
    )
    assert judge({"rules": [{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [3]}}]}, broken).counts
    assert success_message({"rules": [{"succeededCount": 2}]}, 9, Indexes.of([1])) is None
    assert success_message(
        {"rules": [{"succeededCount": 9}, {"succeededIndexes": "1-3", "succeededCount": 2}]}, 9, Indexes.of([1, 3])
    ) == ("Matched rules at index 1")
