"""The scheduler over the real API server: placing, waiting, and upstream's words for why not."""

import asyncio
import sys

import pytest

from pybernetes.api.meta import get_condition
from pybernetes.api.resources import EVENTS, NODES, PODS
from pybernetes.hooks.scheduling import Code, Diagnosis, Status
from pybernetes.scheduler.evaluation import failure_message
from pybernetes.scheduler.handle import SchedulerHandle
from pybernetes.scheduler.model import StaticObjects, model_of
from pybernetes.scheduler.nodeaffinity import tolerates
from pybernetes.scheduler.profiles import default_evaluator
from pybernetes.scheduler.requests import pod_requests
from pybernetes.testing import start_cluster


def pod(name, **spec):
    container = {"name": "c", "image": "i", "resources": spec.pop("resources", {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


def node(name="n", taints=(), labels=None, **allocatable):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10", **allocatable}},
    }


def test_requests_of_init_containers_and_sidecars():
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "100m"}}}, {"resources": {"requests": {"cpu": "200m"}}}],
        "initContainers": [
            {"restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
            {"resources": {"requests": {"cpu": "500m", "memory": "1Mi"}}},
        ],
        "overhead": {"cpu": "10m"},
    }
    assert pod_requests({"spec": spec}) == {"cpu": 560, "memory": 1048576}


@pytest.mark.parametrize(
    ("toleration", "taint", "expected"),
    [
        ({"operator": "Exists"}, ("a", "", "NoSchedule"), True),
        ({"key": "a", "operator": "Exists"}, ("b", "", "NoSchedule"), False),
        ({"key": "a", "value": "1"}, ("a", "1", "NoExecute"), True),
        ({"key": "a", "value": "1", "effect": "NoSchedule"}, ("a", "1", "NoExecute"), False),
    ],
)
def test_tolerations(toleration, taint, expected):
    assert tolerates(toleration, taint) is expected


def why_not(asked, *nodes):
    """(plugin, reasons) of the first node's refusal, or None."""
    model = model_of(StaticObjects(), nodes, [])
    evaluator = default_evaluator(SchedulerHandle(model, StaticObjects()))
    outcome = evaluator.filter(model.info(asked))
    status = evaluator.diagnosis(outcome).by_row.get(model.table.row("n"))
    return status and (status.plugin, status.reasons)


def test_refusals_in_upstreams_words():
    asked = pod("p", resources={"requests": {"cpu": "2", "example.com/gpu": "1"}})
    lacking = ("Insufficient cpu", "Insufficient example.com/gpu")
    assert why_not(asked, node(cpu="1")) == ("NodeResourcesFit", lacking)
    tainted = node(taints=[{"key": "a", "effect": "NoSchedule"}])
    assert why_not(pod("p"), tainted) == ("TaintToleration", ("node(s) had untolerated taint(s)",))
    selecting = pod("p", nodeSelector={"disk": "ssd"})
    assert why_not(selecting, node())[0] == "NodeAffinity"
    assert why_not(selecting, node(labels={"disk": "ssd"})) is None


def test_the_message_counts_and_sorts():
    cpu = Status(Code.UNSCHEDULABLE, ("Insufficient cpu",))
    taint = Status(Code.UNRESOLVABLE, ("node(s) had untolerated taint(s)",))
    expected = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu."
    assert failure_message(Diagnosis(3, {0: cpu, 1: cpu, 2: taint})) == expected


async def test_what_does_not_fit_waits_says_why_and_comes_when_it_fits():
    async with start_cluster(nodes=2) as cluster:
        await cluster.client.create(PODS, pod("big", resources={"requests": {"cpu": "1000"}}))
        waiting = await cluster.wait_for(PODS, "big", lambda p: get_condition(p, "PodScheduled"), "default")
        condition = get_condition(waiting, "PodScheduled")
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        preemption = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        assert condition["message"] == f"0/2 nodes are available: 2 Insufficient cpu. {preemption}"
        gated = {"status": {"allocatable": {"cpu": "2000"}, "capacity": {"cpu": "2000"}}}
        await cluster.client.patch(NODES, "sim-1", gated, subresource="status")
        placed = await cluster.wait_for(PODS, "big", lambda p: p["spec"].get("nodeName"), "default")
        assert placed["spec"]["nodeName"] == "sim-1"
        events = (await cluster.client.list(EVENTS, "default"))["items"]
        assert {"FailedScheduling"} <= {e["reason"] for e in events}


async def test_no_node_is_given_more_than_it_has():
    async with start_cluster(nodes=3) as cluster:
        for i in range(12):
            await cluster.client.create(PODS, pod(f"p{i}", resources={"requests": {"cpu": "10"}}))
        for i in range(9):
            await cluster.wait_for(PODS, f"p{i}", lambda p: p["spec"].get("nodeName"), "default")
        pods = (await cluster.client.list(PODS, "default"))["items"]
        by_node = [p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")]
        assert sorted(by_node.count(n) for n in set(by_node)) == [3, 3, 3]


async def test_gated_pods_are_left_alone():
    async with start_cluster() as cluster:
        await cluster.client.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/later"}]))
        await cluster.client.create(PODS, pod("free"))
        await cluster.wait_for(PODS, "free", lambda p: p["spec"].get("nodeName"), "default")
        assert not (await cluster.client.get(PODS, "gated", "default"))["spec"].get("nodeName")
        await cluster.client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
        await cluster.wait_for(PODS, "gated", lambda p: p["spec"].get("nodeName"), "default")


async def test_the_command_places_pods_of_a_cluster_without_a_scheduler(tmp_path):
    async with start_cluster(schedule=False, http=True) as cluster:
        await cluster.client.create(PODS, pod("waiting"))
        kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pybernetes.cli.main", "scheduler", "--kubeconfig", str(kubeconfig)
        )
        try:
            placed = await cluster.wait_for(PODS, "waiting", lambda p: p["spec"].get("nodeName"), "default")
            assert placed["spec"]["nodeName"] == "sim-0"
        finally:
            process.terminate()
            await process.wait()
