"""Quotas: what counts, who pays, and that nobody gets more than there is, however many ask at once."""

import asyncio
import copy
from decimal import Decimal

import pytest
from auth_support import NOW, FakeReader, FixedClock, obj, user

from pybernetes.api.errors import StatusError, conflict
from pybernetes.api.meta import resource_version_of
from pybernetes.api.quota import evaluator_for, resources_counted_by, total_usage
from pybernetes.api.resources import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES
from pybernetes.apiserver.admission.resourcequota import ResourceQuota
from pybernetes.hooks.admission import AdmissionAttributes, AdmissionContext


class World:
    """The plugin over quotas that a Requester updates with optimistic concurrency."""

    def __init__(self, *quotas, settings=None):
        self.reader = FakeReader()
        self.version = 0
        self.writes = 0
        self.conflicts = 0
        for quota in quotas:
            self.store(quota)
        self.plugin = ResourceQuota(AdmissionContext(self.reader, self.request, None, FixedClock(), settings or {}))

    def store(self, quota):
        self.version += 1
        quota = copy.deepcopy(quota)
        quota["metadata"]["resourceVersion"] = str(self.version)
        return self.reader.put(RESOURCE_QUOTAS, quota)

    async def request(self, method, path, body=None, *, content_type="application/json"):
        if method == "GET":
            return {"items": self.reader.list(RESOURCE_QUOTAS, "ns")}
        await asyncio.sleep(0)
        name = path.split("/")[-2]
        current = self.reader.get(RESOURCE_QUOTAS, "ns", name)
        if self.conflicts:
            self.conflicts -= 1
            self.store(current)
        current = self.reader.get(RESOURCE_QUOTAS, "ns", name)
        if resource_version_of(body) != resource_version_of(current):
            raise conflict("", "resourcequotas", name)
        self.writes += 1
        return self.store(body)

    def used(self, name="q"):
        return self.reader.get(RESOURCE_QUOTAS, "ns", name)["status"]["used"]

    async def write(self, gvr, new, old=None, subresource="", dry_run=False):
        operation = "UPDATE" if old else "CREATE"
        a = AdmissionAttributes(
            operation, gvr, None, subresource, "ns", new["metadata"]["name"], new, old, user(), dry_run=dry_run
        )
        if self.plugin.handles(operation, gvr, subresource):
            await self.plugin.validate(a)
        return a

    async def refused(self, *args, **options):
        with pytest.raises(StatusError) as caught:
            await self.write(*args, **options)
        return caught.value.message


def quota(hard, used=None, name="q", **spec):
    return obj(
        name,
        "ns",
        spec={"hard": hard, **spec},
        status={"hard": hard, "used": used if used is not None else dict.fromkeys(hard, "0")},
    )


def pod(name="p", cpu=None, memory=None, limits=None, phase=None, **spec):
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    container = {"name": "c", "resources": {k: v for k, v in (("requests", requests), ("limits", limits)) if v}}
    return obj(name, "ns", spec={"containers": [container], **spec}, status={"phase": phase} if phase else {})


async def test_charging_and_exceeding():
    world = World(quota({"pods": "2", "requests.cpu": "1", "memory": "1Gi"}))
    await world.write(PODS, pod(cpu="600m", memory="100Mi"))
    assert world.used() == {"pods": "1", "requests.cpu": "600m", "memory": "100Mi"}
    assert await world.refused(PODS, pod(cpu="500m", memory="1Gi")) == (
        'pods "p" is forbidden: exceeded quota: q, requested: memory=1Gi,requests.cpu=500m, used: memory=100Mi,requests.cpu=600m, '
        "limited: memory=1Gi,requests.cpu=1"
    )
    await world.write(PODS, pod(cpu="400m", memory="1Mi"))
    assert "requested: pods=1, used: pods=2, limited: pods=2" in await world.refused(PODS, pod(cpu="0", memory="0"))


async def test_what_must_be_said():
    world = World(quota({"requests.cpu": "1", "limits.memory": "1Gi"}))
    assert await world.refused(PODS, pod()) == (
        'pods "p" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c'
    )
    world = World(quota({"pods": "1"}, used={}))
    assert (await world.refused(PODS, pod())).endswith("status unknown for quota: q, resources: pods")


async def test_nobody_gets_more_than_there_is():
    world = World(quota({"pods": "10"}))
    results = await asyncio.gather(*(world.write(PODS, pod(f"p{i}")) for i in range(25)), return_exceptions=True)
    assert sum(isinstance(r, AdmissionAttributes) for r in results) == 10
    assert world.used() == {"pods": "10"}
    assert world.writes <= 3, "those who wait together are charged together"


async def test_conflicts_are_tried_again():
    world = World(quota({"pods": "2"}))
    world.conflicts = 2
    await world.write(PODS, pod())
    assert world.used() == {"pods": "1"}
    world.conflicts = 99
    assert "the object has been modified" in await world.refused(PODS, pod())


async def test_a_cancelled_waiter_takes_nobody_with_it():
    world = World(quota({"pods": "10"}))
    tasks = [asyncio.ensure_future(world.write(PODS, pod(f"p{i}"))) for i in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(r, AdmissionAttributes) for r in results[1:])
    assert not world.plugin._namespaces


async def test_giving_back():
    world = World(quota({"pods": "1"}))
    (rollback,) = (await world.write(PODS, pod())).rollbacks
    await rollback()
    assert world.used() == {"pods": "0"}
    (rollback,) = (await world.write(PODS, pod())).rollbacks
    world.store(quota({"pods": "1"}, {"pods": "0"}))
    await rollback()
    assert world.used() == {"pods": "0"}, "the controller had counted anew"


async def test_dry_run_charges_nothing():
    world = World(quota({"pods": "1"}))
    assert not (await world.write(PODS, pod(), dry_run=True)).rollbacks
    assert world.used() == {"pods": "0"}
    world.store(quota({"pods": "1"}, {"pods": "1"}))
    assert "exceeded quota" in await world.refused(PODS, pod(), dry_run=True)


async def test_scopes():
    best_effort = quota({"pods": "1"}, scopes=["BestEffort"], name="be")
    high = quota(
        {"pods": "1"},
        scopeSelector={"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]},
        name="high",
    )
    running = quota({"pods": "1"}, scopes=["NotTerminating"], name="running")
    world = World(best_effort, high, running)
    await world.write(PODS, pod())
    assert (world.used("be"), world.used("high"), world.used("running")) == (
        {"pods": "1"},
        {"pods": "0"},
        {"pods": "1"},
    )
    await world.write(PODS, pod(cpu="1", priorityClassName="high", activeDeadlineSeconds=5))
    assert (world.used("be"), world.used("high"), world.used("running")) == (
        {"pods": "1"},
        {"pods": "1"},
        {"pods": "1"},
    )
    assert "exceeded quota: high" in await world.refused(
        PODS, pod(cpu="1", priorityClassName="high", activeDeadlineSeconds=5)
    )


async def test_updates_pay_the_difference():
    world = World(quota({"services.nodeports": "2", "services": "5"}))
    service = obj("s", "ns", spec={"type": "ClusterIP", "ports": [{}, {}]}, meta={"resourceVersion": "7"})
    await world.write(SERVICES, service)
    exposed = copy.deepcopy(service) | {"spec": {"type": "NodePort", "ports": [{}, {}]}}
    await world.write(SERVICES, exposed, old=service)
    assert world.used() == {"services.nodeports": "2", "services": "1"}
    await world.write(SERVICES, service, old=exposed)
    assert world.used() == {"services.nodeports": "2", "services": "1"}, "only the controller counts down"
    bigger = copy.deepcopy(exposed) | {"spec": {"type": "LoadBalancer", "ports": [{}, {}, {}]}}
    assert "requested: services.nodeports=1" in await world.refused(SERVICES, bigger, old=exposed)


async def test_claims():
    world = World(
        quota(
            {
                "requests.storage": "10Gi",
                "gold.storageclass.storage.k8s.io/requests.storage": "5Gi",
                "persistentvolumeclaims": "9",
            }
        )
    )

    def claim(size, **spec):
        return obj(
            "c", "ns", spec={"resources": {"requests": {"storage": size}}, **spec}, meta={"resourceVersion": "3"}
        )

    await world.write(PERSISTENT_VOLUME_CLAIMS, claim("4Gi", storageClassName="gold"))
    assert world.used()["gold.storageclass.storage.k8s.io/requests.storage"] == "4Gi"
    message = await world.refused(
        PERSISTENT_VOLUME_CLAIMS, claim("6Gi", storageClassName="gold"), old=claim("4Gi", storageClassName="gold")
    )
    assert "requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi" in message
    await world.write(PERSISTENT_VOLUME_CLAIMS, claim("6Gi"))


async def test_counting_anything():
    world = World(quota({"count/widgets.example.com": "1", "configmaps": "1"}))
    from pybernetes.api.resources import GVR

    widgets = GVR("example.com", "v1", "widgets")
    await world.write(widgets, obj("w", "ns"))
    assert 'widgets.example.com "w" is forbidden: exceeded quota: q' in await world.refused(widgets, obj("w", "ns"))
    await world.write(CONFIG_MAPS, obj("c", "ns"))
    assert world.used() == {"count/widgets.example.com": "1", "configmaps": "1"}


async def test_limited_by_configuration():
    limited = [
        {
            "resource": "pods",
            "matchContains": ["cpu"],
            "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}],
        }
    ]
    world = World(settings={"limited-resources": limited})
    assert "insufficient quota to consume: cpu,requests.cpu" in await world.refused(PODS, pod(cpu="1"))
    assert "insufficient quota to match these scopes: [PriorityClass]" in await world.refused(
        PODS, pod(priorityClassName="high")
    )
    await world.write(PODS, pod())


def test_usage_of_pods():
    evaluator = evaluator_for("", "pods")
    usage = evaluator.usage(pod(cpu="1", limits={"cpu": "2", "nvidia.com/gpu": "1"}), NOW)
    assert usage == {"count/pods": 1, "pods": 1, "cpu": 1, "requests.cpu": 1, "limits.cpu": 2}
    gpu = obj(
        "p", "ns", spec={"containers": [{"resources": {"requests": {"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi"}}}]}
    )
    assert evaluator.usage(gpu, NOW) == {
        "count/pods": 1, "pods": 1, "requests.nvidia.com/gpu": 2, "hugepages-2Mi": 4 << 20, "requests.hugepages-2Mi": 4 << 20,
    }  # fmt: skip
    assert evaluator.usage(pod(cpu="1", phase="Succeeded"), NOW) == {"count/pods": Decimal(1)}


def test_what_the_controller_counts():
    pods = [pod(cpu="1"), pod(cpu="500m"), pod(cpu="9", phase="Failed")]
    q = quota({"requests.cpu": "4", "pods": "5", "count/pods": "9", "configmaps": "3"})
    assert total_usage(q, {PODS: pods, CONFIG_MAPS: [obj("c", "ns")]}, NOW) == {
        "requests.cpu": "1500m", "pods": "2", "count/pods": "3", "configmaps": "1",
    }  # fmt: skip
    assert set(resources_counted_by(["count/deployments.apps", "requests.cpu", "configmaps"])) == {
        ("apps", "deployments"),
        ("", "pods"),
        ("", "configmaps"),
    }


def test_what_no_quota_counts():
    assert evaluator_for("", "events") is None and evaluator_for("events.k8s.io", "events") is None
