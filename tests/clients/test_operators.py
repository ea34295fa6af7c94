"""Operators of public frameworks doing real work on custom resources: finalizers, status, events, child objects."""

import asyncio
import threading
import time

import httpx
import pytest

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "ops.example.com"


@pytest.fixture(scope="module")
def api(apiserver):
    """Plain HTTP to the server."""
    headers = {"Authorization": f"Bearer {apiserver.token}"}
    with httpx.Client(base_url=apiserver.url, headers=headers, verify=False, timeout=20) as client:
        yield client


def definition(kind, plural):
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 9},
                    "engine": {"type": "string", "enum": ["small", "large"], "default": "small"},
                },
                "x-kubernetes-validations": [
                    {"rule": "self.size >= oldSelf.size", "message": "a database never shrinks"}
                ],
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": [plural[:3]], "categories": ["ops"]},
            "versions": [version],
        },
    }


def define(api, kind, plural):
    assert api.post(CRDS, json=definition(kind, plural)).status_code == 201
    assert eventually(lambda: api.get(f"/apis/{GROUP}/v1/{plural}").status_code == 200)


def eventually(look, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    return look()


def body(kind, name, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_a_kopf_operator_keeps_databases(apiserver, api):
    kopf = pytest.importorskip("kopf")
    from kopf._cogs.structs.credentials import ConnectionInfo

    define(api, "Database", "databases")
    registry, ready, stop = kopf.OperatorRegistry(), threading.Event(), threading.Event()
    config_maps = "/api/v1/namespaces/default/configmaps"

    @kopf.on.login(registry=registry)
    def login(**_):
        return ConnectionInfo(server=apiserver.url, token=apiserver.token, insecure=True)

    @kopf.on.startup(registry=registry)
    def started(**_):
        ready.set()

    @kopf.on.create(GROUP, "v1", "databases", registry=registry)
    def created(body, name, spec, patch, **_):
        child = {"metadata": {"name": f"{name}-config"}, "data": {"engine": spec["engine"], "size": str(spec["size"])}}
        kopf.adopt(child, owner=body)
        assert api.post(config_maps, json=child).status_code == 201
        patch.status["phase"] = "Ready"
        kopf.event(body, type="Normal", reason="Provisioned", message=f"{name} has its configuration")

    @kopf.on.field(GROUP, "v1", "databases", field="spec.size", registry=registry)
    def resized(old, new, name, patch, **_):
        if old is not None:
            change = {"data": {"size": str(new)}}
            headers = {"Content-Type": "application/merge-patch+json"}
            assert api.patch(f"{config_maps}/{name}-config", json=change, headers=headers).status_code == 200
            patch.status["resized"] = f"{old}->{new}"

    @kopf.on.delete(GROUP, "v1", "databases", registry=registry)
    def deleted(name, **_):
        api.delete(f"{config_maps}/{name}-config")

    settings = kopf.OperatorSettings()
    settings.posting.enabled = True

    def operate():
        running = kopf.operator(
            registry=registry, settings=settings, standalone=True, namespaces=["default"], stop_flag=stop, clusterwide=False
        )  # fmt: skip
        asyncio.run(running)

    thread = threading.Thread(target=operate)
    thread.start()
    path = f"/apis/{GROUP}/v1/namespaces/default/databases"
    try:
        assert ready.wait(15)
        assert api.post(path, json=body("Database", "main", size=2)).status_code == 201
        assert eventually(lambda: api.get(f"{path}/main").json().get("status", {}).get("phase")) == "Ready"
        found = api.get(f"{path}/main").json()
        assert found["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        child = api.get(f"{config_maps}/main-config").json()
        assert child["data"] == {"engine": "small", "size": "2"}
        assert child["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
        merge = {"Content-Type": "application/merge-patch+json"}
        refused = api.patch(f"{path}/main", json={"spec": {"size": 1}}, headers=merge)
        assert refused.status_code == 422 and "a database never shrinks" in refused.json()["message"]
        assert api.patch(f"{path}/main", json={"spec": {"size": 5}}, headers=merge).status_code == 200
        assert eventually(lambda: api.get(f"{path}/main").json()["status"].get("resized")) == "2->5"
        assert api.get(f"{config_maps}/main-config").json()["data"]["size"] == "5"
        reasons = lambda: {e["reason"] for e in api.get("/api/v1/namespaces/default/events").json()["items"]}  # noqa: E731
        assert eventually(lambda: "Provisioned" in reasons())
        assert api.delete(f"{path}/main").status_code == 200
        assert eventually(lambda: api.get(f"{path}/main").status_code == 404)
        assert api.get(f"{config_maps}/main-config").status_code == 404
    finally:
        stop.set()
        thread.join(20)


def test_an_operator_on_lightkube_keeps_queues(apiserver, api):
    lightkube = pytest.importorskip("lightkube")
    from lightkube.generic_resource import create_namespaced_resource
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap
    from lightkube.types import PatchType

    define(api, "Queue", "queues")
    queues = create_namespaced_resource(GROUP, "v1", "Queue", "queues")
    finalizer, stop = f"{GROUP}/queues", threading.Event()
    config = lightkube.KubeConfig.from_file(str(apiserver.kubeconfig))

    def reconcile(client, queue):
        name = queue.metadata.name
        if queue.metadata.deletionTimestamp is not None:
            client.delete(ConfigMap, f"queue-{name}", namespace="default")
            client.patch(queues, name, {"metadata": {"finalizers": None}}, patch_type=PatchType.MERGE)
            return
        if finalizer not in (queue.metadata.finalizers or []):
            client.patch(queues, name, {"metadata": {"finalizers": [finalizer]}}, patch_type=PatchType.MERGE)
        owner = {"apiVersion": f"{GROUP}/v1", "kind": "Queue", "name": name, "uid": queue.metadata.uid}
        child = ConfigMap(
            apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=f"queue-{name}", namespace="default"),
            data={"size": str(queue.spec["size"])},
        )  # fmt: skip
        child.metadata.ownerReferences = [owner]
        client.apply(child, field_manager="queues")
        status = {"status": {"phase": "Ready", "observedGeneration": queue.metadata.generation}}
        client.patch(queues.Status, name, status, patch_type=PatchType.MERGE)

    def operate():
        client = lightkube.Client(config=config, namespace="default", field_manager="queues")
        done = {}
        for event, queue in client.watch(queues):
            # What this operator writes itself comes back to it: a state is worked on once.
            key = (queue.metadata.generation, queue.metadata.deletionTimestamp)
            if event != "DELETED" and done.get(queue.metadata.name) != key:
                done[queue.metadata.name] = key
                reconcile(client, queue)
            if stop.is_set():
                return

    thread = threading.Thread(target=operate)
    thread.start()
    client = lightkube.Client(config=config, namespace="default", field_manager="user")
    try:
        client.create(queues(metadata=ObjectMeta(name="jobs"), spec={"size": 3}))

        def observed():
            status = client.get(queues, "jobs").status or {}
            return status.get("observedGeneration")

        assert eventually(lambda: observed() == 1)
        assert client.get(ConfigMap, "queue-jobs").data == {"size": "3"}
        client.patch(queues, "jobs", {"spec": {"size": 4}}, patch_type=PatchType.MERGE)
        assert eventually(lambda: observed() == 2)
        assert client.get(ConfigMap, "queue-jobs").data == {"size": "4"}
        assert client.get(queues, "jobs").metadata.finalizers == [finalizer]
        with pytest.raises(lightkube.ApiError) as failure:
            client.create(queues(metadata=ObjectMeta(name="bad"), spec={"size": 90}))
        assert "should be less than or equal to 9" in failure.value.status.message
        client.delete(queues, "jobs")
        assert eventually(lambda: api.get(f"/apis/{GROUP}/v1/namespaces/default/queues/jobs").status_code == 404)
        assert api.get("/api/v1/namespaces/default/configmaps/queue-jobs").status_code == 404
    finally:
        stop.set()
        # The watch ends with what it watches.
        client.create(queues(metadata=ObjectMeta(name="last"), spec={"size": 1}))
        thread.join(20)
    assert not thread.is_alive()
