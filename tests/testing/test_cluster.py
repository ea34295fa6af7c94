"""The cluster inside a test process: real controllers and scheduler, on the wall clock or a virtual one."""

import asyncio
import subprocess
import threading

import pytest

from pybernetes.api.meta import is_condition_true
from pybernetes.api.resources import DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICA_SETS
from pybernetes.client.kubeconfig import client_from_kubeconfig
from pybernetes.testing import ClusterThread, run_virtually, start_cluster

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
"""


def ready(count):
    return lambda d: d.get("status", {}).get("readyReplicas", 0) == count


async def test_a_deployment_rolls_out_and_back_and_away(p8s_cluster):
    cluster = p8s_cluster
    await cluster.apply(DEPLOYMENT)
    await cluster.wait_for(DEPLOYMENTS, "web", ready(3), "default")
    pods = (await cluster.client.list(PODS, "default"))["items"]
    assert {p["spec"]["nodeName"] for p in pods} == {"sim-0"}
    assert all(is_condition_true(p, "Ready") for p in pods)
    await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
    await cluster.wait_gone(DEPLOYMENTS, "web", "default")
    assert (await cluster.client.list(REPLICA_SETS, "default"))["items"] == []
    assert (await cluster.client.list(PODS, "default"))["items"] == []


async def test_a_namespace_goes_with_all_that_is_in_it(p8s_cluster):
    cluster = p8s_cluster
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    await cluster.apply(DEPLOYMENT.replace("{name: web}", "{name: web, namespace: shop}", 1))
    await cluster.wait_for(DEPLOYMENTS, "web", ready(3), "shop")
    await cluster.client.delete(NAMESPACES, "shop")
    await cluster.wait_gone(NAMESPACES, "shop")


def test_an_hour_of_virtual_time_costs_little():
    async def main(clock):
        async with start_cluster(clock=clock, seed=1) as cluster:
            before = clock.now()
            await clock.sleep(3600)
            node = await cluster.client.get(NODES, "sim-0")
            assert is_condition_true(node, "Ready"), "leases were renewed all the hour"
            return clock.now() - before

    assert run_virtually(main) == pytest.approx(3600, abs=1)


async def test_nothing_is_left_behind():
    before = asyncio.all_tasks()
    async with start_cluster(http=True):
        pass
    assert asyncio.all_tasks() == before


async def test_many_at_once_do_not_meet():
    async def one():
        async with start_cluster(http=True) as cluster:
            await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}})
            names = [n["metadata"]["name"] for n in (await cluster.client.list(NAMESPACES))["items"]]
            return cluster.url, names.count("mine")

    found = await asyncio.gather(*(one() for _ in range(50)))
    assert len({url for url, _ in found}) == 50
    assert all(count == 1 for _, count in found)


async def test_a_failing_test_ends_the_cluster_and_shows_its_own_error():
    with pytest.raises(AssertionError, match="the test's own"):
        async with start_cluster():
            raise AssertionError("the test's own")


@pytest.mark.kubectl
def test_kubectl_against_a_cluster_in_a_thread(p8s_kubeconfig):
    def kubectl(*arguments):
        done = subprocess.run(
            ["kubectl", f"--kubeconfig={p8s_kubeconfig}", *arguments], capture_output=True, text=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web")
    assert kubectl("get", "pods", "-o", "name").count("pod/web-") == 2


def test_the_thread_ends_with_its_cluster():
    before = threading.active_count()
    with ClusterThread() as cluster:
        assert cluster.kubeconfig.exists()
    assert threading.active_count() == before
    assert not cluster.kubeconfig.exists()


async def test_a_watch_on_a_used_connection_owes_nothing(tmp_path):
    """A list and then a watch by the same connection: the watch is not closed as an idle connection would be."""
    async with start_cluster(http=True) as cluster:
        client = client_from_kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig"))
        for _ in range(2):
            listed = await client.list(NAMESPACES)
        stream = client.watch(NAMESPACES, resource_version=listed["metadata"]["resourceVersion"])
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}})
        assert (await anext(stream)).object["metadata"]["name"] == "new"
        assert [c.deadline for c in cluster.front.connections] == [0.0]
        await stream.aclose()
        client.transport.close()
