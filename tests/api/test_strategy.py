"""Strategies: what each endpoint may touch."""

from __future__ import annotations

import copy
from typing import Any

from pybernetes.api.defaults import apply_defaults
from pybernetes.api.resources import DEPLOYMENTS, GVK, JOBS, NAMESPACES, PODS, SERVICES, builtin_by_gvr
from pybernetes.api.strategy import ORPHAN, semantically_equal, strategy_for


def test_status_is_not_the_authors() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "d", "annotations": {"a": "1"}}, "spec": {"replicas": 1}}
    strategy = strategy_for(DEPLOYMENTS)
    new = {**copy.deepcopy(obj), "status": {"replicas": 5}}
    strategy.prepare_for_create(new)
    assert new["status"] == {} and new["metadata"]["generation"] == 1
    stored = {**copy.deepcopy(new), "status": {"replicas": 1}}
    update = {**copy.deepcopy(obj), "status": {"replicas": 9}}
    strategy.prepare_for_update(update, stored)
    assert update["status"] == {"replicas": 1} and update["metadata"]["generation"] == 1
    update = {**copy.deepcopy(obj), "spec": {"replicas": 2}}
    strategy.prepare_for_update(update, stored)
    assert update["metadata"]["generation"] == 2
    status = {**copy.deepcopy(obj), "spec": {"replicas": 7}, "status": {"replicas": 2}}
    strategy.prepare_for_status_update(status, stored)
    assert status["spec"] == {"replicas": 1} and status["status"] == {"replicas": 2}


def test_pod_creation() -> None:
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "a"}], "schedulingGates": [{"name": "g"}]},
        "status": {"phase": "Running"},
    }
    strategy_for(PODS).prepare_for_create(pod)
    assert pod["status"]["phase"] == "Pending" and pod["status"]["qosClass"] == "BestEffort"
    assert pod["status"]["conditions"][0]["reason"] == "SchedulingGated"


def test_graceful_deletion_of_pods() -> None:
    strategy = strategy_for(PODS)
    scheduled = {"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}}
    assert strategy.graceful_deletion(scheduled, {}) == (True, 30)
    assert strategy.graceful_deletion(scheduled, {"gracePeriodSeconds": 5}) == (True, 5)
    assert strategy.graceful_deletion(scheduled, {"gracePeriodSeconds": -1}) == (True, 1)
    assert strategy.graceful_deletion({**scheduled, "status": {"phase": "Failed"}}, {}) == (True, 0)
    assert strategy.graceful_deletion({"spec": {"terminationGracePeriodSeconds": 30}}, {}) == (True, 0)


def test_resize_touches_resources_only() -> None:
    old: dict[str, Any] = {
        "metadata": {"name": "p", "labels": {"a": "1"}, "generation": 1},
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x", "resources": {}}]},
        "status": {"phase": "Running"},
    }
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {}
    new["spec"]["containers"][0].update(image="y", resources={"requests": {"cpu": "1"}})
    strategy_for(PODS).subresource("resize").prepare_for_update(new, old)
    assert new["spec"]["containers"] == [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "1"}}}]
    assert new["metadata"] == {"name": "p", "labels": {"a": "1"}, "generation": 2}


def test_secret_string_data() -> None:
    secret: dict[str, Any] = {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "ZA=="}}
    apply_defaults(GVK("", "v1", "Secret"), secret)
    assert secret["data"] == {"c": "ZA==", "a": "Yg=="} and "stringData" not in secret


def test_namespace_finalizers() -> None:
    namespace: dict[str, Any] = {"metadata": {"name": "n"}}
    strategy_for(NAMESPACES).prepare_for_create(namespace)
    assert namespace["spec"] == {"finalizers": ["kubernetes"]} and namespace["status"] == {"phase": "Active"}


def test_job_selector() -> None:
    job: dict[str, Any] = {"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"metadata": {}}}}
    strategy = strategy_for(JOBS)
    strategy.prepare_for_create(job)
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
    assert strategy.default_garbage_collection_policy == ORPHAN


def test_service_loses_what_its_new_type_has_not() -> None:
    old: dict[str, Any] = {
        "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": [{"port": 1, "nodePort": 30001}]},
    }
    new = copy.deepcopy(old)
    new["spec"]["type"] = "ClusterIP"
    strategy_for(SERVICES).prepare_for_update(new, old)
    assert new["spec"] == {"type": "ClusterIP", "ports": [{"port": 1}]}


def test_scale() -> None:
    deployment: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "labels": {"x": "y"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}},
        "status": {"replicas": 1},
    }
    strategy = strategy_for(DEPLOYMENTS)
    scale = strategy.scale_of(deployment)
    assert scale["metadata"] == {"name": "d", "namespace": "n", "uid": "u"}
    assert scale["spec"] == {"replicas": 2} and scale["status"] == {"replicas": 1, "selector": "a=b"}
    strategy.apply_scale(deployment, {"spec": {}})
    assert deployment["spec"]["replicas"] == 0


def test_semantic_equality() -> None:
    assert semantically_equal({"a": []}, {}) and semantically_equal({"a": None, "b": ""}, {})
    assert not semantically_equal({"a": {}}, {}) and not semantically_equal({"a": 0}, {"a": None})


def test_every_resource_has_a_strategy_that_survives_an_empty_object() -> None:
    for gvr in builtin_by_gvr():
        strategy = strategy_for(gvr)
        obj: dict[str, Any] = {"metadata": {"name": "x"}}
        strategy.prepare_for_create(obj)
        new = copy.deepcopy(obj)
        strategy.prepare_for_update(new, obj)
        for sub in strategy.subresources.values():
            sub.prepare_for_update(copy.deepcopy(obj), obj, now="2026-01-01T00:00:00Z")
            sub.warnings_on_update(obj, obj)
        strategy.warnings_on_create(obj)
        strategy.warnings_on_update(new, obj)


def test_a_status_update_does_not_undo_a_deletion() -> None:
    stored: dict[str, Any] = {
        "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {},
        "status": {},
    }
    new: dict[str, Any] = {"metadata": {"name": "a"}, "spec": {}, "status": {"phase": "Running"}}
    strategy_for(PODS).prepare_for_status_update(new, stored)
    assert new["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"


def test_gated_fields_are_dropped_unless_stored() -> None:
    spec: dict[str, Any] = {
        "schedulingGroup": {"podGroupName": "g"},
        "containers": [{"name": "a", "lifecycle": {"stopSignal": "SIGINT"}}],
        "volumes": [{"name": "v", "projected": {"sources": [{"podCertificate": {"signerName": "a/b"}}]}}],
    }
    pod: dict[str, Any] = {"metadata": {"name": "p"}, "spec": copy.deepcopy(spec)}
    strategy_for(PODS).prepare_for_create(pod)
    assert "schedulingGroup" not in pod["spec"] and "lifecycle" not in pod["spec"]["containers"][0]
    assert pod["spec"]["volumes"][0]["projected"]["sources"] == [{}]
    update: dict[str, Any] = {"metadata": {"name": "p"}, "spec": copy.deepcopy(spec)}
    strategy_for(PODS).prepare_for_update(update, {"metadata": {"name": "p"}, "spec": copy.deepcopy(spec)})
    assert update["spec"] == spec
    deployment: dict[str, Any] = {"metadata": {}, "spec": {"template": {"spec": copy.deepcopy(spec)}}}
    strategy_for(DEPLOYMENTS).prepare_for_create(deployment)
    assert "schedulingGroup" not in deployment["spec"]["template"]["spec"]
