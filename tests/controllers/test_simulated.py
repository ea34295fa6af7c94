"""Simulated nodes: what pods report at each moment, stage files, nodes and leases; many of them."""

import asyncio
import random
from pathlib import Path

import pytest

from pybernetes.api.resources import GVR, NODES, PODS
from pybernetes.client.rest import Client
from pybernetes.cluster.simulated import SimulatedNodes, Stage, StageError, parse_stages
from pybernetes.cluster.simulated.machine import Run, next_step
from pybernetes.cluster.simulated.stages import Course, course_of, load_stages
from pybernetes.concurrency import VirtualClock, virtual_event_loop

from .fake_api import FakeAPI

LEASES = GVR("coordination.k8s.io", "v1", "leases")


def pod(name="p", restart="Always", owner=None, **meta):
    made = {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", **meta},
        "spec": {"nodeName": "sim-0", "restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Pending"},
    }
    if owner:
        made["metadata"]["ownerReferences"] = [{"kind": owner, "name": "o", "uid": "u", "controller": True}]
    return made


def step(found, run, now):
    return next_step(found, run, now, "10.0.0.1", "10.9.0.1")


def test_a_course_in_time():
    found, run = pod(restart="Never"), Run(Course(1.0, 2.0, 10.0, 0.0, 0), 100.0)
    assert step(found, run, 100.0).again_at == 101.0
    first = step(found, run, 101.0)
    assert first.status["phase"] == "Running" and first.again_at == 103.0
    conditions = {c["type"]: c["status"] for c in first.status["conditions"]}
    assert conditions["Ready"] == "False" and conditions["Initialized"] == "True"
    second = step({**found, "status": first.status}, run, 103.0)
    assert {c["type"]: c["status"] for c in second.status["conditions"]}["Ready"] == "True" and second.again_at == 111.0
    assert step({**found, "status": second.status}, run, 104.0).status is None
    last = step({**found, "status": second.status}, run, 111.0)
    assert last.status["phase"] == "Succeeded"
    assert last.status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert step({**found, "status": last.status}, run, 999.0) == step(
        {**found, "status": {"phase": "Failed"}}, run, 999.0
    )


@pytest.mark.parametrize(
    ("policy", "code", "restart"),
    [("Always", 0, True), ("OnFailure", 1, True), ("OnFailure", 0, False), ("Never", 1, False)],
)
def test_restart_policies(policy, code, restart):
    ended = step(pod(restart=policy), Run(Course(0.0, 0.0, 1.0, 0.0, code), 100.0), 101.0)
    assert ended.restart is restart and (ended.status is None) is restart


def test_a_deleted_pod_ends_within_its_grace():
    found = pod(deletionTimestamp="x", deletionGracePeriodSeconds=5, finalizers=["f"])
    run = Run(Course(0.0, 0.0, None, 60.0, 0), 100.0, deleted_at=110.0)
    assert step(found, run, 110.0).again_at == 115.0
    ended = step(found, run, 115.0)
    assert ended.remove and ended.status["phase"] == "Failed"


def test_readiness_gates_hold():
    found = pod()
    found["spec"]["readinessGates"] = [{"conditionType": "g"}]
    run = Run(Course(0.0, 0.0, None, 0.0, 0), 100.0)

    def ready(status):
        return {c["type"]: c["status"] for c in step({**found, "status": status}, run, 101.0).status["conditions"]}[
            "Ready"
        ]

    assert ready({}) == "False" and ready({"conditions": [{"type": "g", "status": "True"}]}) == "True"


def test_stage_files():
    stages = parse_stages(
        {"stages": [{"labels": {"app": "x"}, "start": [1, 2], "failure_rate": 0.5}, {"owner": "Job", "run": 7}]}
    )
    assert stages[0].start == (1.0, 2.0) and stages[1].run == (7.0, 7.0)
    rng = random.Random(1)
    assert course_of(pod(labels={"app": "x"}), stages, rng).start >= 1
    assert course_of(pod(owner="Job"), stages, rng).run == 7.0
    annotated = pod(
        owner="Job", annotations={"simulated.pybernetes.io/run": "3", "simulated.pybernetes.io/start": "nonsense"}
    )
    assert course_of(annotated, stages, rng).run == 3.0
    assert course_of(pod(), (Stage(failure_rate=1.0, exit_code=9),), rng).exit_code == 9


def test_the_stage_file_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[2] / "docs/simulated-nodes.md").read_text()
    file = tmp_path / "stages.yaml"
    file.write_text(page.split("```yaml\n")[1].split("```")[0])
    flaky, jobs, slow = load_stages(str(file))[:3]
    assert (flaky.start, flaky.run, flaky.exit_code) == ((0.5, 2.0), (60.0, 120.0), 137)
    assert (jobs.owner, slow.namespace, slow.stop) == ("Job", "slow", (5.0, 20.0))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a stage file is a mapping with a list under 'stages'"),
        ({"stages": ["x"]}, "stages[0]: must be a mapping"),
        ({"stages": [{"strat": 1}]}, "stages[0]: unknown field 'strat'; known are exit_code"),
        ({"stages": [{"run": [3, 1]}]}, "stages[0].run: must be seconds or a range [from, to]"),
        ({"stages": [{"failure_rate": 2}]}, "stages[0].failure_rate: must be between 0 and 1"),
    ],
)
def test_what_a_stage_file_must_not_say(document, message):
    with pytest.raises(StageError) as caught:
        parse_stages(document)
    assert str(caught.value).startswith(message)


def virtually(count, body, **options):
    clock = VirtualClock()
    loop = virtual_event_loop(clock)
    api = FakeAPI(clock)

    async def main():
        nodes = SimulatedNodes(Client(api, clock=clock), clock, count, rng=random.Random(0), **options)
        task = asyncio.get_running_loop().create_task(nodes.run())
        await nodes.registered.wait()
        try:
            return await body(api, nodes, clock)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_nodes_are_registered_and_stay_alive():
    async def body(api, nodes, clock):
        assert [n["metadata"]["name"] for n in api.all(NODES)] == ["sim-0", "sim-1", "sim-2"]
        node = api.get(NODES, "", "sim-1")
        assert (
            node["status"]["allocatable"]["pods"] == "110"
            and node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "zone-1"
        )
        before = api.get(LEASES, "kube-node-lease", "sim-1")["spec"]["renewTime"]
        nodes.stopped.add("sim-2")
        await clock.sleep(60)
        assert api.get(LEASES, "kube-node-lease", "sim-1")["spec"]["renewTime"] > before
        assert (
            api.get(LEASES, "kube-node-lease", "sim-2")["spec"]["renewTime"]
            < api.get(LEASES, "kube-node-lease", "sim-1")["spec"]["renewTime"]
        )

    virtually(3, body)


def test_pods_run_get_addresses_of_their_own_and_go():
    async def body(api, nodes, clock):
        for n in range(300):
            found = pod(f"p{n}")
            found["spec"]["nodeName"] = f"sim-{n % 3}"
            api.create(PODS, found)
        api.create(PODS, {**pod("not-ours"), "spec": {"nodeName": "other", "containers": []}})
        await clock.sleep(5)
        pods = [p for p in api.all(PODS) if p["spec"]["nodeName"].startswith("sim-")]
        assert {p["status"]["phase"] for p in pods} == {"Running"}
        assert len({p["status"]["podIP"] for p in pods}) == 300
        assert api.get(PODS, "default", "not-ours")["status"]["phase"] == "Pending"
        for n in range(300):
            api.remove(PODS, "default", f"p{n}")
        await clock.sleep(5)
        assert [p["metadata"]["name"] for p in api.all(PODS)] == ["not-ours"] and not nodes._runs and not nodes._taken

    virtually(3, body)


def test_another_process_goes_on_where_one_stopped():
    async def body(api, nodes, clock):
        api.create(PODS, pod(restart="Never", annotations={"simulated.pybernetes.io/run": "100"}))
        await clock.sleep(60)
        address = api.get(PODS, "default", "p")["status"]["podIP"]
        other = SimulatedNodes(nodes.client, clock, 1, rng=random.Random(5))
        task = asyncio.get_running_loop().create_task(other.run())
        nodes.queue.close()
        await clock.sleep(30)
        assert api.get(PODS, "default", "p")["status"]["phase"] == "Running"
        await clock.sleep(15)
        found = api.get(PODS, "default", "p")["status"]
        assert found["phase"] == "Succeeded" and found["podIP"] == address
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtually(1, body)


def test_a_thousand_nodes():
    async def body(api, nodes, clock):
        for n in range(3_000):
            found = pod(f"p{n}")
            found["spec"]["nodeName"] = f"sim-{n % 1000}"
            api.create(PODS, found)
        while any(p["status"]["phase"] != "Running" for p in api.all(PODS)):
            await clock.sleep(1)
        renewals = len(api.log)
        await clock.sleep(100)
        # Four rounds of leases, and nothing else: pods that run cost nothing.
        assert len(api.log) - renewals <= 4100

    virtually(1000, body)
