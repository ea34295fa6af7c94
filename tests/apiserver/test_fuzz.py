"""Whatever a client sends, the answer is its own fault: never a 500, never an exception that escapes, never a task left.

``P8S_FUZZ`` is the number of requests of each of the eight seeds: 400 in CI, 125,000 for the million before a release.
"""

import asyncio
import os
import random
import string

import orjson
import pytest

from pybernetes.apiserver.request import Request
from pybernetes.hooks.identity import LOOPBACK, Credentials

from .conftest import running

SEEDS = range(8)
STEPS = int(os.environ.get("P8S_FUZZ", "400"))
OPEN_STREAMS = 50
RESOURCES = [
    ("api/v1", "pods"), ("api/v1", "configmaps"), ("api/v1", "services"), ("api/v1", "secrets"), ("api/v1", "events"),
    ("api/v1", "serviceaccounts"), ("api/v1", "persistentvolumeclaims"), ("api/v1", "replicationcontrollers"),
    ("apis/apps/v1", "deployments"), ("apis/apps/v1", "statefulsets"), ("apis/batch/v1", "jobs"),
    ("apis/batch/v1", "cronjobs"), ("apis/autoscaling/v1", "horizontalpodautoscalers"),
    ("apis/autoscaling/v2", "horizontalpodautoscalers"), ("apis/events.k8s.io/v1", "events"),
    ("apis/networking.k8s.io/v1", "ingresses"), ("apis/networking.k8s.io/v1", "networkpolicies"),
    ("apis/policy/v1", "poddisruptionbudgets"), ("apis/rbac.authorization.k8s.io/v1", "roles"),
    ("apis/coordination.k8s.io/v1", "leases"), ("apis/discovery.k8s.io/v1", "endpointslices"),
]  # fmt: skip
CLUSTER = [
    ("api/v1", "nodes"), ("api/v1", "namespaces"), ("api/v1", "persistentvolumes"),
    ("apis/storage.k8s.io/v1", "storageclasses"), ("apis/scheduling.k8s.io/v1", "priorityclasses"),
    ("apis/apiregistration.k8s.io/v1", "apiservices"), ("apis/certificates.k8s.io/v1", "certificatesigningrequests"),
]  # fmt: skip
SUBRESOURCES = [
    "",
    "",
    "",
    "status",
    "scale",
    "binding",
    "eviction",
    "finalize",
    "ephemeralcontainers",
    "resize",
    "nope",
]
NAMES = ["a", "b", "c", "Bad_Name", "x" * 300, "%00", "..", "a%2Fb", "ünïcode", ""]
TYPES = [
    "application/json", "application/yaml", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/vnd.kubernetes.protobuf",
    "text/plain", "", "application/json; charset=utf-8", ";;;",
]  # fmt: skip
ACCEPTS = [
    "application/json", "*/*", "", "application/yaml", "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;g=meta.k8s.io;v=v1", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json", "text/html",
    "application/json;q=x", ",,,", "application/json;as=Table",
]  # fmt: skip
KEYS = [
    "metadata", "spec", "status", "name", "labels", "annotations", "containers", "image", "ports", "template", "selector",
    "matchLabels", "replicas", "data", "rules", "env", "value", "valueFrom", "resources", "limits", "cpu", "volumes",
    "type", "clusterIP", "clusterIPs", "ipFamilies", "finalizers", "ownerReferences", "uid", "resourceVersion",
    "deletionTimestamp", "managedFields", "generateName", "schedule", "metrics", "subsets", "addresses", "kind",
    "apiVersion", "target", "roleRef", "subjects", "$patch", "$setElementOrder/containers", "op", "path", "from",
]  # fmt: skip
PARAMETERS = [
    "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "watch",
    "timeoutSeconds", "allowWatchBookmarks", "sendInitialEvents", "dryRun", "fieldManager", "fieldValidation", "force",
    "gracePeriodSeconds", "propagationPolicy", "orphanDependents", "pretty", "includeObject", "export",
]  # fmt: skip
TEXTS = [
    "", "a", "1", "-1", "0", "true", "All", "Exact", "NotOlderThan", "Strict", "a=b", "a in (b", "!a", "a>1", "x" * 200,
    "metadata.name=a", "spec.nodeName!=b", "\\", "%", "\x00", "999999999999999999999", "1e3", "None", "Foreground", "🦀",
]  # fmt: skip


class Chaos:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def value(self, depth=0):
        rng = self.rng
        kind = rng.randrange(11 if depth < 5 else 7)
        if kind < 2:
            return rng.choice(TEXTS)
        if kind == 2:
            return rng.choice([0, 1, -1, 80, 2**31, 2**63 - 1, 1.5, 1e300])
        if kind == 3:
            return rng.choice([None, True, False])
        if kind == 4:
            return rng.choice(["10.96.0.10", "100m", "1Gi", "2026-01-01T00:00:00Z", "None", "IPv4", "::1", "500000h"])
        if kind == 5:
            return "".join(rng.choices(string.printable, k=rng.randrange(12)))
        if kind == 6:
            return {}
        if kind < 9:
            return {rng.choice(KEYS): self.value(depth + 1) for _ in range(rng.randrange(5))}
        return [self.value(depth + 1) for _ in range(rng.randrange(4))]

    def obj(self):
        rng = self.rng
        metadata = self.value(3) if rng.random() < 0.2 else {"name": rng.choice(NAMES[:4]), "namespace": "default"}
        if isinstance(metadata, dict) and rng.random() < 0.3:
            metadata[rng.choice(KEYS)] = self.value(2)
        spec = self.value() if rng.random() < 0.3 else self.plausible()
        return {"metadata": metadata, "spec": spec, **({rng.choice(KEYS): self.value()} if rng.random() < 0.4 else {})}

    def plausible(self):
        rng = self.rng
        container = {"name": "c", "image": "i", **({rng.choice(KEYS): self.value(2)} if rng.random() < 0.5 else {})}
        pod = {"containers": [container], **({rng.choice(KEYS): self.value(2)} if rng.random() < 0.3 else {})}
        if rng.random() < 0.5:
            return pod
        labels = {"a": "b"}
        return {
            "replicas": rng.choice([1, 0, -1, None]),
            "selector": rng.choice([labels, {"matchLabels": labels}, self.value(3)]),
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "ports": [{"port": rng.choice([80, 0, 70000]), "nodePort": rng.choice([30080, 0, 5])}],
            "type": rng.choice(["ClusterIP", "NodePort", "ExternalName", "LoadBalancer"]),
            "clusterIP": rng.choice(["", "None", "10.96.7.7", "1.2.3.4", "x"]),
        }

    def body(self):
        rng = self.rng
        kind = rng.randrange(10)
        if kind == 0:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
        if kind == 1:
            return b"k8s\x00" + bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
        if kind == 2:
            return orjson.dumps([self.value(2) for _ in range(rng.randrange(3))])
        if kind == 3:
            return orjson.dumps([{"op": rng.choice(["add", "remove", "replace", "test", "move", "copy", "x"]),
                                  "path": rng.choice(["/spec", "/metadata/labels/a", "/", "", "/spec/containers/-", "x"]),
                                  "from": "/spec", "value": self.value(2)}])  # fmt: skip
        if kind == 4:
            return rng.choice([b"", b"{", b"null", b"a: [b", b"[" * 2000, b'{"a":' * 2000, b"&a [*a]", b"--- \n---\n"])
        return orjson.dumps(self.obj() if kind < 9 else self.value())

    def path(self, method):
        rng = self.rng
        if rng.random() < 0.04:
            words = [*TEXTS, "api", "apis", "v1", "openapi", "v3", "healthz", "watch"]
            return "/" + "/".join(rng.choice(words) for _ in range(rng.randrange(6)))
        cluster = rng.random() < 0.2
        group, resource = rng.choice(CLUSTER if cluster else RESOURCES)
        namespace = (
            [] if cluster or rng.random() < 0.03 else ["namespaces", "nope" if rng.random() < 0.03 else "default"]
        )
        parts = [group, *namespace, resource]
        if method == "POST" and rng.random() < 0.8:
            return "/" + "/".join(parts)
        if method in ("PUT", "PATCH") or rng.random() < 0.6:
            parts.append(rng.choice(NAMES if rng.random() < 0.1 else NAMES[:3]))
            sub = rng.choice(SUBRESOURCES)
            parts += [sub] if sub else []
        return "/" + "/".join(parts)

    def query(self):
        rng = self.rng
        number = rng.choice([0, 0, 0, 1, 2, 4])
        return "&".join(f"{rng.choice(PARAMETERS)}={rng.choice(TEXTS)}" for _ in range(number))

    def request(self):
        rng = self.rng
        method = rng.choice(["GET"] * 3 + ["POST"] * 4 + ["PUT"] * 3 + ["PATCH"] * 6 + ["DELETE", "HEAD"])
        accept = rng.choice(ACCEPTS) if rng.random() < 0.3 else "application/json"
        content = rng.choice(TYPES)
        if method in ("POST", "PUT", "DELETE") and rng.random() < 0.8:
            content = "application/json"
        elif method == "PATCH" and rng.random() < 0.9:
            content = rng.choice(TYPES[2:6])
        headers = {"content-type": content, "accept": accept, "user-agent": rng.choice(["x/1", "curl/8"])}
        if method == "GET" and rng.random() < 0.2:
            headers["accept-encoding"] = "gzip"
        body = self.body() if method in ("POST", "PUT", "PATCH", "DELETE") else b""
        query = self.query()
        if content == "application/apply-patch+yaml" and rng.random() < 0.7:
            query += "&fieldManager=f"
        path = self.path(method)
        if rng.random() < 0.7 and method in ("POST", "PUT"):
            body = self.fitting(path, body)
        return Request(method, path, query, headers, body, Credentials(headers), user=LOOPBACK)

    def fitting(self, path, body):
        """The body with the name that its path wants."""
        try:
            obj = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        parts = path.split("/")
        if isinstance(obj, dict) and isinstance(obj.get("metadata"), dict):
            named = next((p for p in parts[4:] if p in NAMES[:3]), self.rng.choice(NAMES[:3]))
            obj["metadata"]["name"] = named
            for kind, value in PLAUSIBLE.items():
                if kind in parts and self.rng.random() < 0.7:
                    obj.update(value)
            return orjson.dumps(obj)
        return body


PLAUSIBLE = {
    "roles": {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]},
    "horizontalpodautoscalers": {"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "a"}}},
    "leases": {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 5}},
    "storageclasses": {"provisioner": "example.com/x"},
    "endpointslices": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]},
    "poddisruptionbudgets": {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    "persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
}


class Swallow:
    """A sink that takes everything."""

    def write(self, payload):
        assert payload.raw is not None
        return True

    def end(self):
        pass


async def populate(server):
    """Something for updates and patches to hit."""
    labels = {"a": "b"}
    pod = {"containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    selector = {"matchLabels": labels}
    specs = {
        "pods": {"spec": pod},
        "configmaps": {"data": {"a": "b"}},
        "services": {"spec": {"selector": labels, "ports": [{"port": 80}]}},
        "replicationcontrollers": {"spec": {"selector": labels, "template": template}},
        "deployments": {"spec": {"selector": selector, "template": template}},
        "statefulsets": {"spec": {"selector": selector, "template": template, "serviceName": "a"}},
        "jobs": {"spec": {"template": {**template, "spec": {**pod, "restartPolicy": "Never"}}}},
        "networkpolicies": {"spec": {"podSelector": {}}},
        **PLAUSIBLE,
    }
    headers = {"content-type": "application/json"}
    for group, resource in RESOURCES:
        for name in "abc":
            body = orjson.dumps({"metadata": {"name": name, "labels": labels}, **specs.get(resource, {})})
            path = f"/{group}/namespaces/default/{resource}"
            await server.handle(Request("POST", path, "", headers, body, Credentials(headers), user=LOOPBACK))


@pytest.mark.timeout(120 + STEPS // 50)
@pytest.mark.parametrize("seed", SEEDS)
async def test_no_request_breaks_the_server(seed):
    chaos = Chaos(seed)
    async with running() as server:
        streams = []
        await populate(server)
        tasks = len(asyncio.all_tasks())
        for _ in range(STEPS):
            request = chaos.request()
            if "resourceVersion=9" in request.raw_query:
                continue  # would wait for a revision that never comes, as it should
            response = await server.handle(request)
            assert response.status < 500 or response.status in (503, 504), (request, response.whole)
            if response.stream is not None:
                response.stream.start(Swallow())
                streams.append(response.stream)
                if len(streams) > OPEN_STREAMS:
                    streams.pop(0).stop()
        for stream in streams:
            stream.stop()
        assert all(d.watching == 0 for d in server.hub.dispatchers.values())
        assert len(asyncio.all_tasks()) == tasks
