"""What is refused, per kind: one field made wrong -> the error, word for word."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pybernetes.api.defaults import apply_defaults
from pybernetes.api.resources import ResourceInfo, builtin_resources
from pybernetes.api.schema import builtin_schema
from pybernetes.api.strategy import strategy_for

Obj = dict[str, Any]
KINDS: dict[tuple[str, str], ResourceInfo] = {(i.gvr.api_version, i.kind): i for i in builtin_resources()}
LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
PORT_WORDS = "must be between 1 and 65535, inclusive"


def prepared(obj: Obj) -> Obj:
    """As a create request would be after decoding, defaulting and preparation."""
    info = KINDS[(obj["apiVersion"], obj["kind"])]
    read: Obj = builtin_schema(info.gvk).read(copy.deepcopy(obj))
    apply_defaults(info.gvk, read)
    metadata = read.setdefault("metadata", {})
    metadata.update({"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"})
    if info.namespaced:
        metadata.setdefault("namespace", "default")
    strategy_for(info.gvr).prepare_for_create(read)
    return read


def create_errors(obj: Obj) -> list[str]:
    info = KINDS[(obj["apiVersion"], obj["kind"])]
    return [str(e) for e in strategy_for(info.gvr).validate_create(prepared(obj))]


def update_errors(old: Obj, new: Obj, subresource: str = "") -> list[str]:
    info = KINDS[(old["apiVersion"], old["kind"])]
    before, after = prepared(old), prepared(new)
    for obj in (before, after):
        obj["metadata"]["resourceVersion"] = "1"
    for obj, source in ((before, old), (after, new)):
        if "status" in source:
            obj["status"] = copy.deepcopy(source["status"])
    strategy = strategy_for(info.gvr).subresource(subresource)
    strategy.prepare_for_update(after, before)
    return list(dict.fromkeys(str(e) for e in strategy.validate_update(after, before)))


def changed(obj: Obj, path: str, value: Any) -> Obj:
    """A copy with one field set (or taken away, for None)."""
    result = copy.deepcopy(obj)
    *way, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    inner: Any = result
    for step in way:
        inner = inner[step] if isinstance(inner, list) else inner.setdefault(step, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return result


def _template(**spec: Any) -> Obj:
    containers = [{"name": "a", "image": "nginx"}]
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers, **spec}}


SELECTOR = {"matchLabels": {"app": "x"}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": _template()["spec"]}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "s"},
    "spec": {"selector": {"app": "x"}, "ports": [{"port": 80}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]},
}
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "c"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"selector": SELECTOR, "template": _template()},
}
STATEFUL_SET = {**DEPLOYMENT, "kind": "StatefulSet", "spec": {**DEPLOYMENT["spec"], "serviceName": "s"}}  # type: ignore[dict-item]
DAEMON_SET = {**DEPLOYMENT, "kind": "DaemonSet"}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j"},
    "spec": {"template": _template(restartPolicy="Never")},
}
CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "c"},
    "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB["spec"]}},
}
AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "h"},
    "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
}
BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "b"},
    "spec": {"minAvailable": 1, "selector": SELECTOR},
}
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "i"},
    "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
}
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "n"},
    "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "system:r"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "b"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    "subjects": [{"kind": "User", "name": "u"}],
}
STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "s"},
    "provisioner": "example.com/p",
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "e"},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.0.0.1"]}],
}
PRIORITY = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "p"}, "value": 1}
LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "l"},
    "spec": {"leaseDurationSeconds": 5},
}
RUNTIME = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "r"}, "handler": "h"}
FLOW = {
    "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
    "kind": "PriorityLevelConfiguration",
    "metadata": {"name": "p"},
    "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
}
WEBHOOKS = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "w"},
    "webhooks": [
        {
            "name": "a.example.com",
            "clientConfig": {"url": "https://example.com/x"},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }
    ],
}
API_SERVICE = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": "v1.example.com"},
    "spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1},
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"a": {"type": "string"}}},
                            "list": {"type": "array", "items": {"type": "string"}},
                        },
                    }
                },
            }
        ],
    },
}
GOOD = [POD, SERVICE, CONFIG_MAP, CLAIM, DEPLOYMENT, STATEFUL_SET, DAEMON_SET, JOB, CRON_JOB, AUTOSCALER, BUDGET]
GOOD += [INGRESS, POLICY, ROLE, BINDING, STORAGE_CLASS, SLICE, PRIORITY, LEASE, RUNTIME, FLOW]
GOOD += [WEBHOOKS, API_SERVICE, DEFINITION]


@pytest.mark.parametrize("obj", GOOD, ids=lambda o: o["kind"])
def test_valid(obj: Obj) -> None:
    assert create_errors(obj) == []


SCHEMA = "spec.validation.openAPIV3Schema"
REFUSED: list[tuple[Obj, str, Any, list[str]]] = [
    (
        WEBHOOKS,
        "webhooks/0/name",
        "short",
        ['webhooks[0].name: Invalid value: "short": should be a domain with at least three segments separated by dots'],
    ),
    (
        WEBHOOKS,
        "webhooks/0/clientConfig",
        {"url": "http://example.com"},
        [
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired "
            "format: https://host[/path]"
        ],
    ),
    (
        API_SERVICE,
        "metadata/name",
        "v2.example.com",
        [
            'metadata.name: Invalid value: "v2.example.com": must be `spec.version+"."+spec.group`: "v1.example.com"',
        ],
    ),
    (
        DEFINITION,
        "metadata/name",
        "bars.example.com",
        ['metadata.name: Invalid value: "bars.example.com": must be spec.names.plural+"."+spec.group'],
    ),
    (
        DEFINITION,
        "spec/versions/0/schema/openAPIV3Schema/properties/list/items",
        None,
        [f"{SCHEMA}.properties[list].items: Required value: must be specified"],
    ),
    (
        DEFINITION,
        "spec/versions/0/schema/openAPIV3Schema/properties/spec/type",
        None,
        [f"{SCHEMA}.properties[spec].type: Required value: must not be empty for specified object fields"],
    ),
    (
        DEFINITION,
        "spec/versions/0/schema/openAPIV3Schema/anyOf",
        [{"properties": {"b": {"minimum": 1}}}],
        [f"{SCHEMA}.properties[b]: Required value: because it is defined in {SCHEMA}.anyOf[0].properties[b]"],
    ),
    (POD, "metadata/name", None, ["metadata.name: Required value: name or generateName is required"]),
    (POD, "spec/containers", [], ["spec.containers: Required value"]),
    (POD, "spec/containers/0/name", None, ["spec.containers[0].name: Required value"]),
    (POD, "spec/containers/0/name", "A", [f'spec.containers[0].name: Invalid value: "A": {LABEL_WORDS}']),
    (POD, "spec/containers/0/image", None, ["spec.containers[0].image: Required value"]),
    (
        POD,
        "spec/containers/0/ports",
        [{"containerPort": 70000}],
        [f"spec.containers[0].ports[0].containerPort: Invalid value: 70000: {PORT_WORDS}"],
    ),
    (
        POD,
        "spec/restartPolicy",
        "Sometimes",
        ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
    ),
    (
        POD,
        "spec/containers/0/volumeMounts",
        [{"name": "v", "mountPath": "/v"}],
        ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
    ),
    (
        POD,
        "spec/containers/0/resources",
        {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
        [
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ],
    ),
    (SERVICE, "spec/ports", [], ["spec.ports: Required value"]),
    (
        SERVICE,
        "spec/ports/0/port",
        0,
        [f"spec.ports[0].{field}: Invalid value: 0: {PORT_WORDS}" for field in ("port", "targetPort")],
    ),
    (
        SERVICE,
        "spec/type",
        "Nonsense",
        [
            'spec.type: Unsupported value: "Nonsense": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"'
        ],
    ),
    (CONFIG_MAP, "binaryData", {"a": "eA=="}, ['data[a]: Invalid value: "a": duplicate of key present in binaryData']),
    (CLAIM, "spec/accessModes", [], ["spec.accessModes: Required value: at least 1 access mode is required"]),
    (DEPLOYMENT, "spec/replicas", -1, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (
        DEPLOYMENT,
        "spec/template/metadata/labels",
        {"app": "y"},
        ['spec.template.metadata.labels: Invalid value: {"app":"y"}: `selector` does not match template `labels`'],
    ),
    (
        DEPLOYMENT,
        "spec/strategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}},
        [
            'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0',
        ],
    ),
    (STATEFUL_SET, "metadata/name", "a.b", ['metadata.name: Invalid value: "a.b": must not contain dots']),
    (
        STATEFUL_SET,
        "spec/template/spec/activeDeadlineSeconds",
        3,
        [
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
        ],
    ),
    (
        DAEMON_SET,
        "spec/updateStrategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
        [
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is "
            "non-zero",
        ],
    ),
    (
        JOB,
        "spec/template/spec/restartPolicy",
        "Always",
        ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    (
        JOB,
        "spec/backoffLimitPerIndex",
        1,
        ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
    ),
    (
        CRON_JOB,
        "spec/schedule",
        "* * * *",
        ['spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'],
    ),
    (
        CRON_JOB,
        "spec/timeZone",
        "Middle/Earth",
        ['spec.timeZone: Invalid value: "Middle/Earth": unknown time zone Middle/Earth'],
    ),
    (
        AUTOSCALER,
        "spec/maxReplicas",
        0,
        [
            "spec.maxReplicas: Required value: must be set and greater than 0",
            "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
        ],
    ),
    (BUDGET, "spec/minAvailable", "101%", ['spec.minAvailable: Invalid value: "101%": must not be greater than 100%']),
    (
        INGRESS,
        "spec/rules",
        [{"http": {"paths": [{"path": "x", "pathType": "Exact", "backend": INGRESS["spec"]["defaultBackend"]}]}}],  # type: ignore[index]
        ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path'],
    ),
    (
        POLICY,
        "spec/ingress/0/from/0/ipBlock/except",
        ["11.0.0.0/8"],
        [
            'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must be a strict subset of `cidr`',
        ],
    ),
    (ROLE, "rules/0/verbs", [], ["rules[0].verbs: Required value: verbs must contain at least one value"]),
    (
        BINDING,
        "subjects/0/kind",
        "Robot",
        ['subjects[0].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", "Group"'],
    ),
    (STORAGE_CLASS, "provisioner", "", ["provisioner: Required value"]),
    (SLICE, "endpoints/0/addresses", [], ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
    (
        PRIORITY,
        "value",
        2_000_000_000,
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    ),
    (LEASE, "spec/leaseDurationSeconds", 0, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
    (RUNTIME, "handler", "H", [f'handler: Invalid value: "H": {LABEL_WORDS}']),
    (
        FLOW,
        "spec/type",
        "Exempt",
        [
            "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
            "spec.limited: Forbidden: must be nil if the type is not Limited",
        ],
    ),
]


@pytest.mark.parametrize(
    ("obj", "path", "value", "expected"), REFUSED, ids=[f"{o['kind']}-{p}" for o, p, *_ in REFUSED]
)
def test_refused(obj: Obj, path: str, value: Any, expected: list[str]) -> None:
    assert create_errors(changed(obj, path, value)) == expected


CHANGES: list[tuple[Obj, str, Any, list[str]]] = [
    (DEPLOYMENT, "spec/replicas", 5, []),
    (
        {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "template": _template()}},  # type: ignore[dict-item]
        "spec/selector",
        {"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]},
        [
            'spec.selector: Invalid value: {"matchLabels":{"app":"x"},"matchExpressions":[{"key":"app","operator":'
            '"Exists"}]}: field is immutable'
        ],
    ),
    (
        STATEFUL_SET,
        "spec/serviceName",
        "t",
        [
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
            "are forbidden"
        ],
    ),
    ({**CONFIG_MAP, "immutable": True}, "data/a", "c", ["data: Forbidden: field is immutable when `immutable` is set"]),
    (PRIORITY, "value", 2, ["value: Forbidden: may not be changed in an update."]),
    (RUNTIME, "handler", "other", ['handler: Invalid value: "other": field is immutable']),
    (STORAGE_CLASS, "provisioner", "q", ['provisioner: Invalid value: "q": field is immutable']),
    (
        BINDING,
        "roleRef/name",
        "other",
        [
            'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"other"}: cannot '
            "change roleRef"
        ],
    ),
    (JOB, "spec/completions", 3, ["spec.completions: Invalid value: 3: field is immutable"]),
]


@pytest.mark.parametrize(
    ("obj", "path", "value", "expected"), CHANGES, ids=[f"{o['kind']}-{p}" for o, p, *_ in CHANGES]
)
def test_changes(obj: Obj, path: str, value: Any, expected: list[str]) -> None:
    assert update_errors(obj, changed(obj, path, value)) == expected


STATUSES: list[tuple[Obj, Obj, list[str]]] = [
    (
        DEPLOYMENT,
        {"replicas": 1, "readyReplicas": 2},
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    ),
    (
        JOB,
        {"conditions": [{"type": "Complete", "status": "True"}]},
        [
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true "
            "condition",
            "status.startTime: Required value: startTime is required for finished job",
        ],
    ),
    (BUDGET, {"currentHealthy": -1}, ["status.currentHealthy: Invalid value: -1: must be greater than or equal to 0"]),
]


@pytest.mark.parametrize(("obj", "status", "expected"), STATUSES, ids=[o["kind"] for o, *_ in STATUSES])
def test_status(obj: Obj, status: Obj, expected: list[str]) -> None:
    assert update_errors(obj, {**obj, "status": status}, "status") == expected
