"""Whatever stands in typed fields, checks answer with errors and never raise."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from pybernetes.api.errors import FieldError
from pybernetes.api.schema import builtin_schema
from pybernetes.api.strategy import strategy_for

from .test_validation import GOOD, JOB, KINDS, POD, prepared

Obj = dict[str, Any]
TEXTS = ["", "a", "A", "-", "a/b", "..", "10.0.0.1", "::1", "10.0.0.0/8", "x" * 300, "é", "\x01", "%", "50%", "*", "In"]
NUMBERS = [-(2**31), -1, 0, 1, 65536, 2**31 - 1]
RICH: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["x.io/y"]},
    "spec": {
        "hostname": "h",
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
        "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "n"}]},
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
                }
            }
        },
        "securityContext": {"runAsUser": 1, "sysctls": [{"name": "a.b", "value": "1"}]},
        "initContainers": [{"name": "i", "image": "x", "restartPolicy": "Always"}],
        "containers": [
            {
                "name": "a",
                "image": "b",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}],
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}},
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                "securityContext": {"capabilities": {"add": ["X"]}, "privileged": True},
            }
        ],
        "volumes": [
            {"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
            {"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
        ],
    },
}
VOLUME: Obj = {
    "apiVersion": "v1",
    "kind": "PersistentVolume",
    "metadata": {"name": "v"},
    "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
}
CSI: Obj = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "CSINode",
    "metadata": {"name": "n"},
    "spec": {"drivers": [{"name": "d.io", "nodeID": "i", "topologyKeys": ["a/b"], "allocatable": {"count": 1}}]},
}
REQUEST: Obj = {
    "apiVersion": "certificates.k8s.io/v1",
    "kind": "CertificateSigningRequest",
    "metadata": {"name": "c"},
    "spec": {"request": "", "signerName": "a.io/b", "usages": ["any"]},
}
SEEDS = [*GOOD, RICH, VOLUME, CSI, REQUEST]
STATUS: Obj = {
    "replicas": 1,
    "readyReplicas": 1,
    "active": 1,
    "failed": 1,
    "startTime": "2026-01-01T00:00:00Z",
    "completedIndexes": "0-1,3",
    "uncountedTerminatedPods": {"failed": ["a"]},
    "conditions": [{"type": "Complete", "status": "True", "reason": "R", "message": "m"}],
}


def _spots(value: Any, found: list[tuple[Any, Any]]) -> None:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        found.append((value, key))
        _spots(item, found)


def mangled(obj: Obj, rng: random.Random) -> Obj:
    """A copy with one value replaced by another of its type, doubled or taken away."""
    result = copy.deepcopy(obj)
    spots: list[tuple[Any, Any]] = []
    for section in result.keys() - {"apiVersion", "kind"}:
        if isinstance(result[section], dict | list):
            _spots(result[section], spots)
    if not spots:
        return result
    parent, key = rng.choice(spots)
    value = parent[key]
    if rng.random() < 0.2 and isinstance(parent, dict):
        del parent[key]
    elif isinstance(value, bool):
        parent[key] = not value
    elif isinstance(value, int):
        parent[key] = rng.choice(NUMBERS)
    elif isinstance(value, str) and not value.endswith("Z"):
        parent[key] = rng.choice(TEXTS)
    elif isinstance(value, list):
        parent[key] = value + copy.deepcopy(value) if rng.random() < 0.5 else []
    elif isinstance(value, dict):
        parent[key] = {} if rng.random() < 0.5 else {rng.choice(TEXTS): v for v in value.values()}
    return result


def _readable(obj: Obj) -> bool:
    return not builtin_schema(KINDS[(obj["apiVersion"], obj["kind"])].gvk).decode_errors(obj)


@pytest.mark.parametrize("seed", range(4))
def test_never_raises(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        good = rng.choice(SEEDS)
        obj = good
        for _ in range(rng.randrange(1, 4)):
            obj = mangled(obj, rng)
        if not _readable(obj):
            continue
        strategy = strategy_for(KINDS[(obj["apiVersion"], obj["kind"])].gvr)
        new, old = prepared(obj), prepared(good)
        found = strategy.validate_create(new)
        strategy.warnings_on_create(copy.deepcopy(new))
        found += strategy.validate_update(copy.deepcopy(new), old) + strategy.validate_update(old, copy.deepcopy(new))
        assert all(isinstance(error, FieldError) and error.reason for error in found)


@pytest.mark.parametrize("good", [o for o in SEEDS if "status" in KINDS[(o["apiVersion"], o["kind"])].subresources])
def test_statuses_never_raise(good: Obj) -> None:
    rng = random.Random(7)
    strategy = strategy_for(KINDS[(good["apiVersion"], good["kind"])].gvr)
    old = prepared(good)
    for _ in range(30):
        new = {**copy.deepcopy(good), "status": copy.deepcopy(STATUS)}
        for _ in range(3):
            new = mangled(new, rng)
        if _readable(new):
            after = prepared({**new, "spec": good.get("spec", {})})
            after["status"] = (
                builtin_schema(KINDS[(good["apiVersion"], good["kind"])].gvk).read(new).get("status") or {}
            )
            assert all(isinstance(e, FieldError) for e in strategy.subresource("status").validate_update(after, old))


def test_plain_pods_and_jobs_stay_valid() -> None:
    assert not any(
        strategy_for(KINDS[(o["apiVersion"], o["kind"])].gvr).validate_create(prepared(o)) for o in (POD, JOB)
    )
