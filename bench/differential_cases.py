"""The requests of ``differential``: what a client may send, mostly wrong, in a namespace of its own.

A case is sent to both servers in order; ``remember`` keeps parts of an answer (by path) for later cases, which name them in
braces.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

NS = f"differential-{os.getpid()}"
"""New each time: a peer without controllers never ends a namespace."""
CORE = f"/api/v1/namespaces/{NS}"
APPS = f"/apis/apps/v1/namespaces/{NS}"
BATCH = f"/apis/batch/v1/namespaces/{NS}"
NET = f"/apis/networking.k8s.io/v1/namespaces/{NS}"
POLICY = f"/apis/policy/v1/namespaces/{NS}"
SCALING = f"/apis/autoscaling/v2/namespaces/{NS}"
JSON = "application/json"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass
class Case:
    name: str
    method: str
    path: str
    body: Any = None
    headers: dict[str, Any] = field(default_factory=dict)
    remember: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    stream: bool = False
    head_only: bool = False
    status_only: bool = False


def get(name: str, path: str, accept: str = "", **more: Any) -> Case:
    return Case(name, "GET", path, None, {"Accept": accept} if accept else {}, **more)


def post(name: str, path: str, body: Any, content: str = JSON, **more: Any) -> Case:
    return Case(name, "POST", path, text(body), {"Content-Type": content}, **more)


def put(name: str, path: str, body: Any, **more: Any) -> Case:
    return Case(name, "PUT", path, text(body), {"Content-Type": JSON}, **more)


def patch(name: str, path: str, body: Any, content: str = MERGE, **more: Any) -> Case:
    return Case(name, "PATCH", path, text(body), {"Content-Type": content}, **more)


def delete(name: str, path: str, body: Any = None, **more: Any) -> Case:
    return Case(name, "DELETE", path, text(body), {"Content-Type": JSON} if body is not None else {}, **more)


def text(body: Any) -> Any:
    return body if isinstance(body, str | bytes) or body is None else json.dumps(body)


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


CONTAINER = {"name": "c", "image": "i"}
LABELS = {"app": "x"}


def pod(name: str = "p", /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta(name), "spec": {"containers": [CONTAINER], **spec}}


def template(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER], **spec}}


def all_cases() -> Iterator[Case]:
    yield post("setup/namespace", "/api/v1/namespaces", {"metadata": meta(NS)}, status_only=True)
    yield post("setup/serviceaccount", f"{CORE}/serviceaccounts", {"metadata": meta("default")}, status_only=True)
    yield from every_resource()
    yield from bodies()
    yield from reading()
    yield from watching()
    yield from patching()
    yield from applying()
    yield from deleting()
    yield from validation()
    yield from devices()
    yield from subresources()
    yield from documents()
    yield delete("teardown", f"/api/v1/namespaces/{NS}", status_only=True)


# -- the same for every resource ---------------------------------------------------------------------------------------

RESOURCES = [
    ("/api/v1", "v1", "", [
        ("namespaces", "Namespace", False), ("nodes", "Node", False), ("persistentvolumes", "PersistentVolume", False),
        ("configmaps", "ConfigMap", True), ("endpoints", "Endpoints", True), ("events", "Event", True),
        ("limitranges", "LimitRange", True), ("persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("pods", "Pod", True), ("podtemplates", "PodTemplate", True),
        ("replicationcontrollers", "ReplicationController", True), ("resourcequotas", "ResourceQuota", True),
        ("secrets", "Secret", True), ("serviceaccounts", "ServiceAccount", True), ("services", "Service", True),
    ]),
    ("/apis/apps/v1", "apps/v1", "apps", [
        ("controllerrevisions", "ControllerRevision", True), ("daemonsets", "DaemonSet", True),
        ("deployments", "Deployment", True), ("replicasets", "ReplicaSet", True), ("statefulsets", "StatefulSet", True),
    ]),
    ("/apis/batch/v1", "batch/v1", "batch", [("jobs", "Job", True), ("cronjobs", "CronJob", True)]),
    ("/apis/autoscaling/v2", "autoscaling/v2", "autoscaling", [("horizontalpodautoscalers", "HorizontalPodAutoscaler", True)]),
    ("/apis/autoscaling/v1", "autoscaling/v1", "autoscaling", [("horizontalpodautoscalers", "HorizontalPodAutoscaler", True)]),
    ("/apis/policy/v1", "policy/v1", "policy", [("poddisruptionbudgets", "PodDisruptionBudget", True)]),
    ("/apis/networking.k8s.io/v1", "networking.k8s.io/v1", "networking.k8s.io", [
        ("ingresses", "Ingress", True), ("networkpolicies", "NetworkPolicy", True), ("ingressclasses", "IngressClass", False),
        ("ipaddresses", "IPAddress", False), ("servicecidrs", "ServiceCIDR", False),
    ]),
    ("/apis/rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io", [
        ("roles", "Role", True), ("rolebindings", "RoleBinding", True), ("clusterroles", "ClusterRole", False),
        ("clusterrolebindings", "ClusterRoleBinding", False),
    ]),
    ("/apis/storage.k8s.io/v1", "storage.k8s.io/v1", "storage.k8s.io", [
        ("storageclasses", "StorageClass", False), ("csidrivers", "CSIDriver", False), ("csinodes", "CSINode", False),
        ("volumeattachments", "VolumeAttachment", False), ("csistoragecapacities", "CSIStorageCapacity", True),
        ("volumeattributesclasses", "VolumeAttributesClass", False),
    ]),
    ("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1", "coordination.k8s.io", [("leases", "Lease", True)]),
    ("/apis/discovery.k8s.io/v1", "discovery.k8s.io/v1", "discovery.k8s.io", [("endpointslices", "EndpointSlice", True)]),
    ("/apis/events.k8s.io/v1", "events.k8s.io/v1", "events.k8s.io", [("events", "Event", True)]),
    ("/apis/node.k8s.io/v1", "node.k8s.io/v1", "node.k8s.io", [("runtimeclasses", "RuntimeClass", False)]),
    ("/apis/scheduling.k8s.io/v1", "scheduling.k8s.io/v1", "scheduling.k8s.io", [("priorityclasses", "PriorityClass", False)]),
    ("/apis/certificates.k8s.io/v1", "certificates.k8s.io/v1", "certificates.k8s.io",
     [("certificatesigningrequests", "CertificateSigningRequest", False)]),
    ("/apis/admissionregistration.k8s.io/v1", "admissionregistration.k8s.io/v1", "admissionregistration.k8s.io", [
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False),
        ("validatingadmissionpolicies", "ValidatingAdmissionPolicy", False),
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
    ]),
    ("/apis/flowcontrol.apiserver.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1", "flowcontrol.apiserver.k8s.io", [
        ("flowschemas", "FlowSchema", False), ("prioritylevelconfigurations", "PriorityLevelConfiguration", False),
    ]),
    ("/apis/resource.k8s.io/v1", "resource.k8s.io/v1", "resource.k8s.io", [
        ("deviceclasses", "DeviceClass", False), ("resourceclaims", "ResourceClaim", True),
        ("resourceclaimtemplates", "ResourceClaimTemplate", True), ("resourceslices", "ResourceSlice", False),
    ]),
    ("/apis/apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1", "apiextensions.k8s.io",
     [("customresourcedefinitions", "CustomResourceDefinition", False)]),
    ("/apis/apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1", "apiregistration.k8s.io",
     [("apiservices", "APIService", False)]),
]  # fmt: skip
BOOTSTRAPPED = {
    "namespaces", "serviceaccounts", "clusterroles", "clusterrolebindings", "priorityclasses", "flowschemas",
    "prioritylevelconfigurations", "apiservices", "ipaddresses", "servicecidrs",
}  # fmt: skip


def every_resource() -> Iterator[Case]:
    for root, version, group, resources in RESOURCES:
        for plural, kind, namespaced in resources:
            base = f"{root}/namespaces/{NS}/{plural}" if namespaced else f"{root}/{plural}"
            yield from one_resource(f"{group or 'core'}/{version.rpartition('/')[2]}/{plural}", base, version, kind)


def one_resource(label: str, base: str, version: str, kind: str) -> Iterator[Case]:
    yield get(f"{label}/get missing", f"{base}/missing")
    if base.rpartition("/")[2] not in BOOTSTRAPPED:
        yield get(f"{label}/list empty", base)
    yield get(f"{label}/table empty", f"{base}?labelSelector=no%3Dmatch", TABLE)
    yield get(f"{label}/partial list", f"{base}?labelSelector=no%3Dmatch", PARTIALS)
    yield post(f"{label}/create empty", base, {})
    yield post(f"{label}/create nameless", base, {"apiVersion": version, "kind": kind})
    yield post(f"{label}/create bad name", base, {"apiVersion": version, "kind": kind, "metadata": meta("Bad_Name!")})
    yield post(
        f"{label}/create bare", f"{base}?dryRun=All", {"apiVersion": version, "kind": kind, "metadata": meta("bare")}
    )
    yield post(f"{label}/create empty spec", f"{base}?dryRun=All", {"metadata": meta("bare"), "spec": {}})
    yield post(f"{label}/create wrong type", base, {"metadata": "text"})
    yield post(
        f"{label}/create unknown field", f"{base}?dryRun=All&fieldValidation=Strict",
        {"metadata": {**meta("bare"), "odd": 1}, "strange": {"a": 1}},
    )  # fmt: skip
    yield post(f"{label}/create wrong kind", base, {"apiVersion": version, "kind": "Thing", "metadata": meta("a")})
    yield post(f"{label}/create wrong version", base, {"apiVersion": "v9", "kind": kind, "metadata": meta("a")})
    yield put(
        f"{label}/put missing", f"{base}/missing", {"apiVersion": version, "kind": kind, "metadata": meta("missing")}
    )
    yield put(f"{label}/put other name", f"{base}/missing", {"metadata": meta("other")})
    for content in (MERGE, STRATEGIC, JSON_PATCH):
        body: Any = [] if content == JSON_PATCH else {"metadata": {"labels": {"a": "b"}}}
        yield patch(f"{label}/patch missing {content}", f"{base}/missing", body, content)
    yield patch(
        f"{label}/apply bare", f"{base}/bare?dryRun=All&fieldManager=m",
        {"apiVersion": version, "kind": kind, "metadata": meta("bare")}, APPLY,
    )  # fmt: skip
    yield delete(f"{label}/delete missing", f"{base}/missing")
    yield get(f"{label}/bad field", f"{base}?fieldSelector=spec.odd%3D1")
    yield get(f"{label}/no such subresource", f"{base}/missing/odd")


# -- bodies and content types ------------------------------------------------------------------------------------------


def bodies() -> Iterator[Case]:
    maps = f"{CORE}/configmaps"
    for name, raw in {
        "empty": "", "not json": "{", "list": "[]", "null": "null", "number": "1", "string": '"a"', "true": "true",
        "trailing": '{"metadata":{"name":"t"}} x', "two": "{}{}", "duplicate key": '{"metadata":{"name":"d"},"data":{"a":"1","a":"2"}}',
        "nan": '{"metadata":{"name":"d"},"data":{"a":NaN}}', "deep": "[" * 200 + "]" * 200,
        "bad utf8": b'{"metadata":{"name":"u"},"data":{"a":"\xff"}}', "data number": '{"metadata":{"name":"n"},"data":{"a":1}}',
        "data null": '{"metadata":{"name":"n"},"data":{"a":null}}', "labels list": '{"metadata":{"name":"n","labels":[]}}',
        "label number": '{"metadata":{"name":"n","labels":{"a":1}}}', "kind number": '{"kind":1,"metadata":{"name":"n"}}',
        "name number": '{"metadata":{"name":5}}', "case": '{"Metadata":{"Name":"n"}}', "immutable text": '{"metadata":{"name":"n"},"immutable":"yes"}',
        "binary bad": '{"metadata":{"name":"n"},"binaryData":{"a":"%%%"}}', "yaml as json": "metadata:\n  name: n\n",
    }.items():  # fmt: skip
        for strictness in ("", "Strict", "Warn", "Ignore"):
            query = f"?dryRun=All&fieldValidation={strictness}" if strictness else "?dryRun=All"
            yield post(f"bodies/{name} {strictness}", maps + query, raw)
    for content in (
        "text/plain", "", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json; charset=utf-8",
        "application/json;stream=watch", "garbage", "application/cbor", MERGE,
    ):  # fmt: skip
        yield post(f"bodies/content type {content!r}", f"{maps}?dryRun=All", {"metadata": meta("n")}, content)
    good = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("n")}
    for accept in (
        "text/html", "application/yaml", "*/*", "application/*", "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
        "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=Odd;v=v1;g=meta.k8s.io", "application/xml",
        "application/json;q=0.1, application/yaml;q=0.9", "a/b, application/json", f"{TABLE}, application/json", TABLE, PARTIAL,
        "application/json;as=PartialObjectMetadata;v=v1;g=odd.k8s.io", "application/json;pretty=1",
    ):  # fmt: skip
        yield Case(
            f"bodies/accept {accept}",
            "POST",
            f"{maps}?dryRun=All",
            text(good),
            {"Content-Type": JSON, "Accept": accept},
        )
        yield get(f"bodies/accept get {accept}", f"{maps}/missing", accept)
        yield get(f"bodies/accept list {accept}", f"{maps}?labelSelector=no%3Dmatch", accept)
    for query in (
        "dryRun=Some", "dryRun=", "dryRun=All&dryRun=All", "fieldManager=" + "x" * 129, "fieldManager=a%07b", "fieldValidation=Odd",
        "fieldManager=m", "pretty=true", "odd=1", "force=true", "resourceVersion=5",
    ):  # fmt: skip
        yield post(f"bodies/query {query[:40]}", f"{maps}?{query}", {"metadata": meta("q")})
        yield delete(f"bodies/query clean {query[:40]}", f"{maps}/q", status_only=True)
    for name, metadata in {
        "generateName": {"generateName": "gen-"}, "both": {"name": "both", "generateName": "gen-"}, "uid": {"name": "a", "uid": "u"},
        "resourceVersion": {"name": "a", "resourceVersion": "5"}, "other namespace": {"name": "a", "namespace": "other"},
        "deletionTimestamp": {"name": "a", "deletionTimestamp": "2020-01-01T00:00:00Z"}, "generation": {"name": "a", "generation": 7},
        "selfLink": {"name": "a", "selfLink": "/x"}, "bad time": {"name": "a", "creationTimestamp": "yesterday"},
        "long name": {"name": "a" * 254}, "dot": {"name": "."}, "dots": {"name": ".."}, "slash": {"name": "a/b"}, "percent": {"name": "a%b"},
        "bad label": {"name": "a", "labels": {"a b": "c"}}, "bad label value": {"name": "a", "labels": {"a": "-"}},
        "long label": {"name": "a", "labels": {"a": "x" * 64}}, "bad prefix": {"name": "a", "labels": {"A_/b": "c"}},
        "bad annotation": {"name": "a", "annotations": {"a b": "c"}}, "big annotation": {"name": "a", "annotations": {"a": "x" * 262145}},
        "bad finalizer": {"name": "a", "finalizers": ["odd"]}, "bad finalizer name": {"name": "a", "finalizers": ["a b/c"]},
        "bad owner": {"name": "a", "ownerReferences": [{}]},
        "two controllers": {"name": "a", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "1", "controller": True},
            {"apiVersion": "v1", "kind": "Pod", "name": "b", "uid": "2", "controller": True}]},
        "event owner": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "1"}]},
        "managed fields bad": {"name": "a", "managedFields": [{"manager": "x", "operation": "Odd"}]},
        "managed fields v": {"name": "a", "managedFields": [{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV9"}]},
        "bad generateName": {"generateName": "Gen_"}, "long generateName": {"generateName": "g" * 260},
    }.items():  # fmt: skip
        hidden = (
            frozenset({"name"}) if name in ("generateName", "long generateName", "bad generateName") else frozenset()
        )
        yield post(f"bodies/metadata {name}", f"{maps}?dryRun=All", {"metadata": metadata}, hidden=hidden)


# -- reading -----------------------------------------------------------------------------------------------------------


def reading() -> Iterator[Case]:
    maps = f"{CORE}/configmaps"
    for number in range(5):
        yield post(
            f"reading/fill {number}", maps,
            {"metadata": meta(f"r{number}", labels={"n": str(number), "even": str(number % 2 == 0)}), "data": {"k": "v"}},
            remember={f"rv{number}": "metadata.resourceVersion", f"uid{number}": "metadata.uid"},
        )  # fmt: skip
    yield get("reading/list", maps)
    yield get("reading/table", maps, TABLE, status_only=True)
    yield get("reading/table of one", f"{maps}/r1", TABLE, hidden=frozenset({"cells"}))
    yield get("reading/table without objects", f"{maps}?includeObject=None", TABLE, hidden=frozenset({"cells"}))
    yield get("reading/table with objects", f"{maps}?includeObject=Object", TABLE, hidden=frozenset({"cells"}))
    yield get("reading/table odd objects", f"{maps}?includeObject=Odd", TABLE)
    yield get("reading/partial", f"{maps}/r1", PARTIAL)
    yield get("reading/partials", maps, PARTIALS)
    yield get("reading/yaml", f"{maps}/r1", "application/yaml", status_only=True)
    for selector in (
        "n%3D1", "n%3D%3D1", "n!%3D1", "n", "!n", "n%20in%20(1,2)", "n%20notin%20(1,2)", "n%3E2", "n%3C2", "n%3Dx%3D", "%3D1", "n%20in%20()",
        "n%20in%201", "n%20odd%20(1)", "n%3E x".replace(" ", "%20"), "a%20b", ",", "n%3D1,", "n%3D" + "x" * 64, "-%3D1", "n%20in%20(1", "n%3D",
        "even%3DTrue,n!%3D2", "(", "n%20in%20(a%20b)",
    ):  # fmt: skip
        yield get(f"reading/label selector {selector[:30]}", f"{maps}?labelSelector={selector}")
    for selector in (
        "metadata.name%3Dr1", "metadata.name!%3Dr1", "metadata.namespace%3Ddifferential", "metadata.namespace%3Dother", "odd%3D1", "metadata.name",
        "metadata.name%3Dr1,metadata.name%3Dr2", "%3D", "metadata.name%3E1", "metadata.name%3D%5C", "metadata.name%3D",
    ):  # fmt: skip
        yield get(f"reading/field selector {selector}", f"{maps}?fieldSelector={selector}")
    hidden = frozenset({"continue"})
    yield get("reading/limit", f"{maps}?limit=2", remember={"token": "metadata.continue"}, hidden=hidden)
    yield get(
        "reading/continue",
        f"{maps}?limit=2&continue={{token}}",
        remember={"token2": "metadata.continue"},
        hidden=hidden,
    )
    yield get("reading/continue end", f"{maps}?limit=2&continue={{token2}}", hidden=hidden)
    yield get("reading/continue with rv", f"{maps}?limit=2&continue={{token}}&resourceVersion=5")
    yield get("reading/continue with rv 0", f"{maps}?limit=2&continue={{token}}&resourceVersion=0", hidden=hidden)
    yield get(
        "reading/continue and match", f"{maps}?limit=2&continue={{token}}&resourceVersionMatch=Exact", hidden=hidden
    )
    yield get("reading/continue bad", f"{maps}?limit=2&continue=odd", hidden=hidden)
    yield get("reading/continue empty", f"{maps}?limit=2&continue=", hidden=hidden)
    yield get("reading/limit and selector", f"{maps}?limit=1&labelSelector=even%3DTrue", hidden=hidden)
    for query in ("limit=0", "limit=-1", "limit=x", "limit=99999999999999999999", "limit=1.5", "limit=", "timeoutSeconds=x", "timeoutSeconds=-1", "watch=odd", "watch=0",
                  "watch=false", "pretty=1", "allowWatchBookmarks=x", "sendInitialEvents=true", "sendInitialEvents=x", "export=true", "odd=x", "includeUninitialized=1"):  # fmt: skip
        yield get(f"reading/query {query}", f"{maps}?{query}", hidden=hidden)
    for revision in ("", "0", "{rv2}", "99999999", "x", "-1", "1"):
        for match in ("", "Exact", "NotOlderThan", "Odd"):
            for limit in ("", "2"):
                query = "&".join(
                    f"{k}={v}"
                    for k, v in (("resourceVersion", revision), ("resourceVersionMatch", match), ("limit", limit))
                    if v
                )
                yield get(
                    f"reading/rv {revision} {match} {limit}", f"{maps}?{query}", hidden=hidden | {"remainingItemCount"}
                )
    for revision in ("0", "{rv2}", "99999999", "x", "-1"):
        yield get(f"reading/get rv {revision}", f"{maps}/r1?resourceVersion={revision}")
    for name, path in {
        "unknown group": "/apis/odd.k8s.io/v1/things", "unknown version": "/apis/apps/v9/deployments", "unknown resource": "/api/v1/things",
        "group only": "/apis/odd", "root odd": "/odd", "api odd": "/api/odd", "namespaced at cluster": "/api/v1/configmaps/x",
        "cluster in namespace": f"{CORE}/nodes", "double slash": f"/api/v1//namespaces/{NS}/configmaps", "trailing slash": f"{maps}/",
        "empty name": f"{maps}//", "upper": f"/API/v1/namespaces/{NS}/configmaps", "percent": f"{maps}/%zz", "encoded slash": f"{maps}/a%2Fb",
        "encoded nul": f"{maps}/a%00b", "dot segments": f"/api/v1/namespaces/{NS}/../pods", "namespace status get": f"/api/v1/namespaces/{NS}/status",
        "name with space": f"{maps}/a%20b", "watch prefix": f"/api/v1/watch/namespaces/{NS}/odd", "missing namespace list": "/api/v1/namespaces/none/configmaps",
    }.items():  # fmt: skip
        yield get(f"reading/path {name}", path)
    for method in ("OPTIONS", "HEAD", "TRACE", "POST", "PUT", "PATCH", "DELETE"):
        yield Case(f"reading/method {method} version", method, "/version", None, {"Content-Type": JSON})
        yield Case(f"reading/method {method} item", method, f"{maps}/nothing", None, {"Content-Type": JSON})
        if method not in ("DELETE", "HEAD"):
            yield Case(f"reading/method {method} list", method, maps, None, {"Content-Type": JSON})


def watching() -> Iterator[Case]:
    maps = f"{CORE}/configmaps"
    short = "watch=true&timeoutSeconds=1"
    for name, query in {
        "from rv": "resourceVersion={rv2}", "from 0": "resourceVersion=0", "from nothing": "", "old": "resourceVersion=1", "future": "resourceVersion=99999999",
        "bad rv": "resourceVersion=x", "selector": "resourceVersion={rv0}&labelSelector=even%3DTrue", "field": "resourceVersion={rv0}&fieldSelector=metadata.name%3Dr3",
        "match": "resourceVersion={rv2}&resourceVersionMatch=NotOlderThan", "initial": "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        "initial without match": "sendInitialEvents=true", "initial false": "sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
        "initial exact": "sendInitialEvents=true&resourceVersionMatch=Exact", "initial no bookmarks": "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        "initial at rv": "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion={rv4}",
        "limit": "resourceVersion={rv2}&limit=1", "continue": "resourceVersion={rv2}&continue=x",
    }.items():  # fmt: skip
        yield get(f"watching/{name}", f"{maps}?{short}&{query}", stream=True, status_only=name == "from nothing")
    yield get(
        "watching/table", f"{maps}?{short}&resourceVersion={{rv3}}", TABLE, stream=True, hidden=frozenset({"cells"})
    )
    yield get("watching/partial", f"{maps}?{short}&resourceVersion={{rv3}}", PARTIAL, stream=True)
    yield get("watching/one", f"{maps}/r3?{short}&resourceVersion={{rv0}}", stream=True)
    yield get(
        "watching/old path",
        f"/api/v1/watch/namespaces/{NS}/configmaps?timeoutSeconds=1&resourceVersion={{rv3}}",
        stream=True,
    )
    yield get(
        "watching/yaml", f"{maps}?{short}&resourceVersion={{rv3}}", "application/yaml", stream=True, status_only=True
    )
    yield get("watching/html", f"{maps}?{short}&resourceVersion={{rv3}}", "text/html", stream=True)


# -- patches -----------------------------------------------------------------------------------------------------------


def patching() -> Iterator[Case]:
    path = f"{APPS}/deployments/d"
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": template()}
    yield post(
        "patching/deployment",
        f"{APPS}/deployments",
        {"metadata": meta("d"), "spec": spec},
        remember={"drv": "metadata.resourceVersion", "duid": "metadata.uid"},
    )
    for name, body in {
        "merge env": {
            "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}}}
        },
        "merge env two": {
            "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]}}}
        },
        "delete env": {
            "spec": {"template": {"spec": {"containers": [{"name": "c", "env": [{"name": "A", "$patch": "delete"}]}]}}}
        },
        "order": {
            "spec": {
                "template": {
                    "spec": {
                        "$setElementOrder/containers": [{"name": "e"}, {"name": "c"}],
                        "containers": [{"name": "e", "image": "x"}],
                    }
                }
            }
        },
        "replace": {
            "spec": {"template": {"spec": {"containers": [{"$patch": "replace"}, {"name": "c", "image": "j"}]}}}
        },
        "delete field": {"spec": {"replicas": None}},
        "no key": {"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}},
        "odd directive": {"spec": {"template": {"spec": {"containers": [{"name": "c", "$patch": "odd"}]}}}},
        "retain": {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
        "primitive": {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"]}},
        "not a list": {"spec": {"template": {"spec": {"containers": {"name": "c"}}}}},
        "not an object": {"spec": 1},
        "unknown": {"spec": {"odd": 1}},
        "selector": {"spec": {"selector": {"matchLabels": {"app": "y"}}}},
        "negative": {"spec": {"replicas": -1}},
        "name": {"metadata": {"name": "other"}},
        "uid": {"metadata": {"uid": "other"}},
        "rv": {"metadata": {"resourceVersion": "1"}},
        "rv bad": {"metadata": {"resourceVersion": "x"}},
        "kind": {"kind": "Odd"},
        "version": {"apiVersion": "apps/v9"},
        "type": {"spec": {"replicas": "two"}},
    }.items():
        for content in (STRATEGIC, MERGE):
            yield patch(f"patching/{name} {content}", f"{path}?fieldManager=m", body, content)
        yield patch(
            f"patching/{name} strict", f"{path}?fieldManager=m&fieldValidation=Strict&dryRun=All", body, STRATEGIC
        )
    for name, raw in {
        "empty": "",
        "not json": "{",
        "list": "[]",
        "null": "null",
        "text": '"a"',
        "yaml": "spec: {replicas: 3}",
        "duplicate": '{"spec":{"replicas":3,"replicas":4}}',
    }.items():
        for content in (STRATEGIC, MERGE, JSON_PATCH, APPLY, JSON, "text/plain"):
            yield patch(f"patching/raw {name} {content}", f"{path}?fieldManager=m&dryRun=All", raw, content)
    for name, ops in {
        "replace": [{"op": "replace", "path": "/spec/replicas", "value": 3}], "test ok": [{"op": "test", "path": "/spec/replicas", "value": 3}],
        "test bad": [{"op": "test", "path": "/spec/replicas", "value": 9}], "test missing": [{"op": "test", "path": "/spec/odd", "value": 9}],
        "remove missing": [{"op": "remove", "path": "/spec/odd"}], "remove element": [{"op": "remove", "path": "/spec/template/spec/containers/9"}],
        "add array end": [{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "z", "image": "z"}}],
        "add array index": [{"op": "add", "path": "/spec/template/spec/containers/7", "value": {"name": "z", "image": "z"}}],
        "add deep": [{"op": "add", "path": "/spec/odd/deep", "value": 1}], "replace missing": [{"op": "replace", "path": "/spec/odd", "value": 1}],
        "move": [{"op": "move", "from": "/spec/replicas", "path": "/spec/minReadySeconds"}], "copy": [{"op": "copy", "from": "/spec/replicas", "path": "/spec/revisionHistoryLimit"}],
        "copy missing": [{"op": "copy", "from": "/spec/odd", "path": "/spec/revisionHistoryLimit"}], "move missing": [{"op": "move", "from": "/spec/odd", "path": "/spec/x"}],
        "odd op": [{"op": "odd", "path": "/spec"}], "no op": [{"path": "/spec"}], "no path": [{"op": "add", "value": 1}], "bad pointer": [{"op": "add", "path": "spec", "value": 1}],
        "escapes": [{"op": "add", "path": "/metadata/annotations", "value": {}}, {"op": "add", "path": "/metadata/annotations/a~1b", "value": "c"}],
        "root": [{"op": "replace", "path": "", "value": {}}], "no value": [{"op": "add", "path": "/spec/paused"}], "null value": [{"op": "add", "path": "/spec/paused", "value": None}],
        "too many": [{"op": "test", "path": "/spec/replicas", "value": 3}] * 10001,
    }.items():  # fmt: skip
        yield patch(f"patching/ops {name}", f"{path}?fieldManager=m&dryRun=All", ops, JSON_PATCH)
    yield patch("patching/status by main", path, {"status": {"replicas": 5}})
    yield patch("patching/status", f"{path}/status", {"status": {"replicas": 5}, "spec": {"replicas": 9}})
    yield patch("patching/status negative", f"{path}/status", {"status": {"replicas": -5}})
    yield put("patching/put without rv", path, {"metadata": meta("d"), "spec": spec})
    yield put("patching/put old rv", path, {"metadata": meta("d", resourceVersion="{drv}"), "spec": spec})
    yield put("patching/put wrong uid", path, {"metadata": meta("d", uid="other"), "spec": spec})
    yield put("patching/put bad rv", path, {"metadata": meta("d", resourceVersion="odd"), "spec": spec})
    yield put("patching/put nameless", path, {"metadata": {}, "spec": spec})
    yield put("patching/put other namespace", path, {"metadata": meta("d", namespace="other"), "spec": spec})
    yield get("patching/scale", f"{path}/scale")
    yield put("patching/scale put", f"{path}/scale", {"metadata": meta("d"), "spec": {"replicas": 4}})
    yield put("patching/scale negative", f"{path}/scale", {"metadata": meta("d"), "spec": {"replicas": -4}})
    yield put("patching/scale other", f"{path}/scale", {"metadata": meta("e"), "spec": {"replicas": 4}})
    yield patch("patching/scale patch", f"{path}/scale", {"spec": {"replicas": 1}})
    yield patch("patching/scale type", f"{path}/scale", {"spec": {"replicas": "x"}})
    yield get("patching/after", path)


def applying() -> Iterator[Case]:
    path = f"{CORE}/configmaps/ap"

    def apply(name: str, data: Any, query: str = "", **more: Any) -> Case:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "ap"},
            **({"data": data} if data is not None else {}),
        }
        return patch(f"applying/{name}", f"{path}?{query}", body, APPLY, **more)

    yield apply("no manager", {"a": "1"})
    yield apply("first", {"a": "1", "b": "1"}, "fieldManager=one")
    yield apply("again", {"a": "1", "b": "1"}, "fieldManager=one")
    yield apply("conflict", {"a": "2"}, "fieldManager=two")
    yield apply("conflict of two", {"a": "2", "b": "2"}, "fieldManager=two")
    yield apply("forced", {"a": "2"}, "fieldManager=two&force=true")
    yield apply("shared", {"b": "1"}, "fieldManager=three")
    yield apply("given up", {"a": "1"}, "fieldManager=one&force=true")
    yield apply("gone", None, "fieldManager=three")
    yield apply("odd force", {"a": "2"}, "fieldManager=two&force=maybe")
    yield patch("applying/update conflict", f"{path}?fieldManager=up", {"data": {"a": "9"}}, MERGE)
    yield apply("against update", {"a": "3"}, "fieldManager=one")
    yield patch(
        "applying/managed fields",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ap", "managedFields": [{"manager": "z"}]}},
        APPLY,
    )
    yield patch("applying/no kind", f"{path}?fieldManager=x", {"metadata": {"name": "ap"}}, APPLY)
    yield patch(
        "applying/other kind",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ap"}},
        APPLY,
    )
    yield patch(
        "applying/other name",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}},
        APPLY,
    )
    yield patch(
        "applying/unknown",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ap"}, "odd": 1},
        APPLY,
    )
    yield patch(
        "applying/type",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ap"}, "data": []},
        APPLY,
    )
    yield patch(
        "applying/uid",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ap", "uid": "x"}},
        APPLY,
    )
    yield patch(
        "applying/rv",
        f"{path}?fieldManager=x",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ap", "resourceVersion": "1"}},
        APPLY,
    )
    yield patch("applying/force by merge", f"{path}?force=true", {"data": {"q": "1"}}, MERGE)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta("ap"),
        "spec": {"selector": {"matchLabels": LABELS}, "template": template()},
    }
    yield patch("applying/deployment", f"{APPS}/deployments/ap?fieldManager=one", deployment, APPLY)
    second = copy.deepcopy(deployment)
    second["spec"]["template"]["spec"]["containers"].append(
        {"name": "side", "image": "s", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}
    )
    yield patch("applying/container", f"{APPS}/deployments/ap?fieldManager=two", second, APPLY)
    second["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    second["spec"]["replicas"] = 3
    yield patch("applying/image conflict", f"{APPS}/deployments/ap?fieldManager=three", second, APPLY)
    second["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "s"})
    yield patch("applying/duplicate key", f"{APPS}/deployments/ap?fieldManager=three", second, APPLY)
    nameless = copy.deepcopy(deployment)
    del nameless["spec"]["template"]["spec"]["containers"][0]["name"]
    yield patch("applying/no key", f"{APPS}/deployments/ap?fieldManager=three", nameless, APPLY)


# -- deleting ----------------------------------------------------------------------------------------------------------


def deleting() -> Iterator[Case]:
    maps = f"{CORE}/configmaps"
    yield post(
        "deleting/fill",
        maps,
        {"metadata": meta("x", finalizers=["example.com/hold"])},
        remember={"xuid": "metadata.uid", "xrv": "metadata.resourceVersion"},
    )
    for name, body in {
        "wrong uid": {"preconditions": {"uid": "other"}}, "wrong rv": {"preconditions": {"resourceVersion": "1"}}, "odd propagation": {"propagationPolicy": "Odd"},
        "both": {"propagationPolicy": "Orphan", "orphanDependents": True}, "negative grace": {"gracePeriodSeconds": -1}, "odd dry run": {"dryRun": ["Some"]},
        "type": {"gracePeriodSeconds": "x"}, "kind": {"kind": "Odd", "apiVersion": "v1"}, "list": [], "dry run": {"dryRun": ["All"]}, "unknown": {"odd": 1},
        "ignore": {"ignoreStoreReadErrorWithClusterBreakingPotential": True},
    }.items():  # fmt: skip
        yield delete(f"deleting/{name}", f"{maps}/x", body)
    for query in (
        "propagationPolicy=Odd",
        "gracePeriodSeconds=x",
        "dryRun=Odd",
        "orphanDependents=maybe",
        "propagationPolicy=Foreground&dryRun=All",
        "orphanDependents=true&propagationPolicy=Orphan",
    ):
        yield delete(f"deleting/query {query}", f"{maps}/x?{query}")
    yield delete("deleting/held", f"{maps}/x", {"preconditions": {"uid": "{xuid}"}})
    yield delete("deleting/held again", f"{maps}/x")
    yield patch(
        "deleting/add finalizer late",
        f"{maps}/x",
        {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}},
    )
    yield patch("deleting/change while held", f"{maps}/x", {"data": {"a": "b"}})
    yield post("deleting/create while held", maps, {"metadata": meta("x")})
    yield patch("deleting/let go", f"{maps}/x", {"metadata": {"finalizers": None}})
    yield get("deleting/gone", f"{maps}/x")
    for policy in ("Foreground", "Orphan", "Background"):
        yield post(f"deleting/{policy} fill", maps, {"metadata": meta("y")})
        yield delete(f"deleting/{policy}", f"{maps}/y?propagationPolicy={policy}")
        yield patch(f"deleting/{policy} let go", f"{maps}/y", {"metadata": {"finalizers": None}})
    yield delete("deleting/collection dry", f"{maps}?dryRun=All&labelSelector=n%3D1")
    yield delete("deleting/collection selector", f"{maps}?labelSelector=n%3D1")
    yield delete("deleting/collection field", f"{maps}?fieldSelector=metadata.name%3Dr2")
    yield delete("deleting/collection bad selector", f"{maps}?labelSelector=,,%3D")
    yield delete("deleting/collection limit", f"{maps}?limit=1", hidden=frozenset({"continue", "remainingItemCount"}))
    yield delete("deleting/collection rv", f"{maps}?resourceVersion=1")
    yield delete("deleting/collection of services", f"{CORE}/services?labelSelector=a%3Db")
    yield delete("deleting/collection of namespaces", "/api/v1/namespaces?labelSelector=a%3Db")
    yield delete("deleting/collection", maps, status_only=True)
    for index, value in enumerate((None, 0, 5)):
        yield post(
            f"deleting/pod {index}", f"{CORE}/pods", pod(f"dp{index}", nodeName="n", automountServiceAccountToken=False)
        )
        suffix = "" if value is None else f"?gracePeriodSeconds={value}"
        yield delete(f"deleting/pod graceful {value}", f"{CORE}/pods/dp{index}{suffix}")
        yield delete(f"deleting/pod again {value}", f"{CORE}/pods/dp{index}?gracePeriodSeconds=3")
        yield delete(f"deleting/pod at once {value}", f"{CORE}/pods/dp{index}?gracePeriodSeconds=0")
    yield post("deleting/pod unscheduled", f"{CORE}/pods", pod("dp9", automountServiceAccountToken=False))
    yield delete("deleting/pod unscheduled delete", f"{CORE}/pods/dp9")
    yield delete("deleting/default namespace", "/api/v1/namespaces/default")
    yield delete("deleting/system namespace", "/api/v1/namespaces/kube-system")


# -- validation --------------------------------------------------------------------------------------------------------


def validation() -> Iterator[Case]:
    from differential_objects import wrong_objects

    for name, path, body in wrong_objects(NS):
        yield post(f"validation/{name}", f"{path}?dryRun=All", body)


def devices() -> Iterator[Case]:
    """resource.k8s.io: creates that are wrong in one thing, updates of what is good, allocations."""
    from differential_devices import BASE, CLAIM, CLASS, DEVICE, OPAQUE, SLICE, claim_updates, wrong_devices

    for number, (name, path, body) in enumerate(wrong_devices(NS)):
        named = body if body["metadata"].get("name") else {**body, "metadata": meta("wrong")}
        yield post(f"devices/{number} {name}", f"{path}?dryRun=All", named)
    claims = f"{BASE}/namespaces/{NS}/resourceclaims"
    yield post("devices/claim", claims, {**CLAIM, "metadata": meta("claim")})
    yield get("devices/claim table", f"{claims}/claim", accept=TABLE)
    yield post("devices/template", f"{claims}templates", {
        "metadata": meta("template"), "spec": {"metadata": {"labels": LABELS}, "spec": CLAIM["spec"]}})  # fmt: skip
    yield post("devices/class", f"{BASE}/deviceclasses", {**CLASS, "metadata": meta("class")})
    yield post("devices/slice", f"{BASE}/resourceslices", {**SLICE, "metadata": meta("slice")})
    for kind, value in (("resourceclaims/claim", {"devices": {}}), ("resourceclaimtemplates/template", {"spec": {}})):
        yield patch(
            f"devices/change {kind}", f"{BASE}/namespaces/{NS}/{kind}", {"spec": None} if not value else {"spec": value}
        )
        yield patch(f"devices/clear {kind}", f"{BASE}/namespaces/{NS}/{kind}", {"spec": None})
    yield patch("devices/class changed", f"{BASE}/deviceclasses/class", {"spec": {"config": [OPAQUE, OPAQUE]}})
    yield patch("devices/class wrong", f"{BASE}/deviceclasses/class", {"spec": {"selectors": [{}]}})
    for change in (
        {"driver": "other"},
        {"nodeName": "m"},
        {"nodeName": None},
        {"pool": {"name": "q"}},
        {"devices": [DEVICE, DEVICE]},
    ):
        yield patch(f"devices/slice changed {change}"[:60], f"{BASE}/resourceslices/slice", {"spec": change})
    yield get("devices/slices by driver", f"{BASE}/resourceslices?fieldSelector=spec.driver%3Dd.example.com")
    for name, status in claim_updates():
        yield patch(f"devices/status {name}", f"{claims}/claim/status", {"status": status})
    yield delete("devices/delete claim", f"{claims}/claim")
    yield delete("devices/delete slice", f"{BASE}/resourceslices/slice")


def subresources() -> Iterator[Case]:
    pods = f"{CORE}/pods"
    yield post("subresources/pod", pods, pod("s", automountServiceAccountToken=False))
    for sub in (
        "log",
        "exec",
        "attach",
        "portforward",
        "proxy",
        "binding",
        "eviction",
        "ephemeralcontainers",
        "resize",
        "status",
        "odd",
    ):
        yield get(f"subresources/get {sub}", f"{pods}/s/{sub}")
        yield post(f"subresources/post {sub}", f"{pods}/s/{sub}", {})
        yield get(f"subresources/get missing {sub}", f"{pods}/missing/{sub}")
        yield post(f"subresources/post missing {sub}", f"{pods}/missing/{sub}", {})
    yield post("subresources/bind nothing", f"{pods}/s/binding", {"target": {}})
    yield post("subresources/bind kind", f"{pods}/s/binding", {"target": {"kind": "Odd", "name": "n"}})
    yield post(
        "subresources/bind", f"{pods}/s/binding", {"metadata": meta("s"), "target": {"kind": "Node", "name": "n"}}
    )
    yield post(
        "subresources/bind again", f"{pods}/s/binding", {"metadata": meta("s"), "target": {"kind": "Node", "name": "m"}}
    )
    yield post("subresources/evict", f"{pods}/s/eviction", {"metadata": meta("s")})
    yield post("subresources/evict other name", f"{pods}/s/eviction", {"metadata": meta("t")})
    yield patch(
        "subresources/ephemeral",
        f"{pods}/s/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "e", "image": "x"}]}},
        STRATEGIC,
    )
    yield patch(
        "subresources/ephemeral bad",
        f"{pods}/s/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "c", "image": "", "ports": [{"containerPort": 1}]}]}},
        STRATEGIC,
    )
    yield patch(
        "subresources/ephemeral change",
        f"{pods}/s/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [{"name": "e", "image": "y"}]}},
        STRATEGIC,
    )
    yield patch(
        "subresources/resize",
        f"{pods}/s/resize",
        {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}},
        STRATEGIC,
    )
    yield patch(
        "subresources/pod immutable",
        f"{pods}/s",
        {"spec": {"containers": [{"name": "c", "env": [{"name": "A"}]}]}},
        STRATEGIC,
    )
    yield patch(
        "subresources/pod image", f"{pods}/s", {"spec": {"containers": [{"name": "c", "image": "new"}]}}, STRATEGIC
    )
    yield patch("subresources/pod deadline", f"{pods}/s", {"spec": {"activeDeadlineSeconds": 5}}, MERGE)
    yield patch("subresources/pod deadline more", f"{pods}/s", {"spec": {"activeDeadlineSeconds": 50}}, MERGE)
    yield patch("subresources/pod tolerations", f"{pods}/s", {"spec": {"tolerations": []}}, MERGE)
    yield patch("subresources/pod gates", f"{pods}/s", {"spec": {"schedulingGates": [{"name": "a"}]}}, MERGE)
    yield patch("subresources/status", f"{pods}/s/status", {"status": {"phase": "Running", "podIP": "1.2.3"}}, MERGE)
    yield patch(
        "subresources/status conditions",
        f"{pods}/s/status",
        {"status": {"conditions": [{"type": "a b", "status": "True"}]}},
        MERGE,
    )
    yield patch("subresources/status unknown phase", f"{pods}/s/status", {"status": {"phase": "Odd"}}, MERGE)
    accounts = f"{CORE}/serviceaccounts"
    hidden = frozenset({"token", "expirationTimestamp"})
    yield post("subresources/token", f"{accounts}/default/token", {"spec": {}}, hidden=hidden)
    yield post(
        "subresources/token short", f"{accounts}/default/token", {"spec": {"expirationSeconds": 5}}, hidden=hidden
    )
    yield post(
        "subresources/token long", f"{accounts}/default/token", {"spec": {"expirationSeconds": 1 << 33}}, hidden=hidden
    )
    yield post(
        "subresources/token bound",
        f"{accounts}/default/token",
        {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}},
        hidden=hidden,
    )
    yield post(
        "subresources/token odd",
        f"{accounts}/default/token",
        {"spec": {"boundObjectRef": {"kind": "Odd", "apiVersion": "v1", "name": "none"}}},
        hidden=hidden,
    )
    yield post("subresources/token missing", f"{accounts}/missing/token", {"spec": {}}, hidden=hidden)
    yield put("subresources/namespace finalize", f"/api/v1/namespaces/{NS}/finalize", {"metadata": meta("other")})
    reviews = "/apis/authorization.k8s.io/v1"
    for kind, spec in {
        "subjectaccessreviews": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods"}}, "selfsubjectaccessreviews": {"nonResourceAttributes": {"path": "/", "verb": "get"}},
        "selfsubjectrulesreviews": {"namespace": ""},
    }.items():  # fmt: skip
        yield post(f"subresources/{kind}", f"{reviews}/{kind}", {"spec": spec})
        yield post(f"subresources/{kind} empty", f"{reviews}/{kind}", {"spec": {}})
        yield post(
            f"subresources/{kind} both",
            f"{reviews}/{kind}",
            {"spec": {**spec, "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}}},
        )
    yield post("subresources/tokenreview", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "odd"}})
    yield post("subresources/tokenreview empty", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {}})
    yield post("subresources/selfsubjectreview", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    yield delete("subresources/pod away", f"{pods}/s?gracePeriodSeconds=0", status_only=True)


def documents() -> Iterator[Case]:
    for path in ("/api", "/apis", "/api/v1", *(r for r, *_ in RESOURCES if r.startswith("/apis"))):
        hidden = frozenset({"storageVersionHash", "serverAddress"})
        yield get(f"documents/{path}", path, hidden=hidden)
    for path in (
        "/apis/apps",
        "/apis/batch",
        "/apis/odd",
        "/apis/apps/v9",
        "/livez",
        "/healthz",
        "/readyz/ping",
        "/readyz/odd",
        "/livez?exclude=odd",
        "/openapi",
        "/openapi/v3/odd",
        "/logs",
        "/metrics/odd",
    ):
        yield get(f"documents/{path}", path)
    yield get("documents/aggregated", "/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
    yield get(
        "documents/aggregated core", "/api", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    yield get(
        "documents/aggregated odd", "/api", "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList"
    )
    yield get("documents/openapi v3", "/openapi/v3", hidden=frozenset({"serverRelativeURL"}))
