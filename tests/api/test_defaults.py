"""Defaults: what a silent author gets."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pybernetes.api.defaults import apply_defaults
from pybernetes.api.resources import GVK, builtin_by_gvk

POD = GVK("", "v1", "Pod")


def defaulted(gvk: GVK, obj: dict[str, Any]) -> dict[str, Any]:
    obj = copy.deepcopy(obj)
    apply_defaults(gvk, obj)
    return obj


def container(**fields: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "a", "image": "nginx:1", **fields}]}
    return defaulted(POD, {"spec": spec})["spec"]["containers"][0]


def test_pod() -> None:
    spec = defaulted(POD, {"spec": {"containers": [{"name": "a", "image": "nginx"}]}})["spec"]
    assert spec == {
        "containers": [
            {
                "name": "a",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "resources": {},
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/a/b", "Always"),
        ("host:5000/a/b:v1", "IfNotPresent"),
        ("nginx@sha256:" + "a" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "a" * 64, "Always"),
        ("Not An Image", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    assert container(image=image)["imagePullPolicy"] == policy


def test_requests_from_limits_and_canonical_quantities() -> None:
    resources = container(resources={"limits": {"cpu": "0.5", "memory": "1024Mi"}, "requests": {"cpu": "0.0001"}})
    assert resources["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Gi"},
        "requests": {"cpu": "1m", "memory": "1Gi"},
    }


def test_probe_numbers_and_handlers() -> None:
    made = container(livenessProbe={"httpGet": {"port": 80}}, readinessProbe={"grpc": {"port": 1}, "periodSeconds": 3})
    assert made["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert made["readinessProbe"]["periodSeconds"] == 3
    assert made["readinessProbe"]["grpc"] == {"port": 1, "service": ""}


def test_host_network_ports() -> None:
    spec = {"hostNetwork": True, "containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}
    ports = defaulted(POD, {"spec": spec})["spec"]["containers"][0]["ports"]
    assert ports == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"emptyDir": {}}),
        ({"emptyDir": {}}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c", "defaultMode": 0}}, {"configMap": {"name": "c", "defaultMode": 0}}),
        ({"hostPath": {"path": "/"}}, {"hostPath": {"path": "/", "type": ""}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            {
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
                }
            },
        ),
        (
            {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {
                "downwardAPI": {
                    "defaultMode": 420,
                    "items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels", "apiVersion": "v1"}}],
                }
            },
        ),
    ],
)
def test_volumes(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    spec = {"containers": [], "volumes": [{"name": "v", **given}]}
    assert defaulted(POD, {"spec": spec})["spec"]["volumes"] == [{"name": "v", **wanted}]


def test_zero_pointers_stay() -> None:
    spec = defaulted(GVK("apps", "v1", "Deployment"), {"spec": {"replicas": 0, "revisionHistoryLimit": 0}})["spec"]
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (0, 0, 600)
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert spec["template"]["spec"]["dnsPolicy"] == "ClusterFirst"


def test_service() -> None:
    spec = defaulted(GVK("", "v1", "Service"), {"spec": {"ports": [{"port": 80}], "type": "LoadBalancer"}})["spec"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert (spec["sessionAffinity"], spec["externalTrafficPolicy"], spec["internalTrafficPolicy"]) == (
        "None",
        "Cluster",
        "Cluster",
    )
    assert spec["allocateLoadBalancerNodePorts"] is True


def test_job_with_index_limits() -> None:
    spec = defaulted(GVK("batch", "v1", "Job"), {"spec": {"backoffLimitPerIndex": 1, "parallelism": 0}})["spec"]
    assert spec["backoffLimit"] == 2**31 - 1
    assert "completions" not in spec
    assert spec["parallelism"] == 0


def test_every_kind_takes_an_empty_object_and_is_stable() -> None:
    for gvk in builtin_by_gvk():
        once = defaulted(gvk, {"metadata": {"name": "x"}})
        assert defaulted(gvk, once) == once, gvk


@pytest.mark.parametrize(
    ("given", "address", "addresses"),
    [
        ({"podIP": "10.0.0.1"}, "10.0.0.1", ["10.0.0.1"]),
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, "10.0.0.1", ["10.0.0.1", "fd00::1"]),
        ({"podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, "10.0.0.2", ["10.0.0.2"]),
    ],
)
def test_a_pods_address_is_its_first_one(given: dict[str, Any], address: str, addresses: list[str]) -> None:
    status = defaulted(POD, {"spec": {"containers": []}, "status": given})["status"]
    assert (status["podIP"], [a["ip"] for a in status["podIPs"]]) == (address, addresses)


def test_every_source_of_a_volume_is_defaulted() -> None:
    volume = {"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}, "iscsi": {"iqn": "x"}}
    found = defaulted(POD, {"spec": {"containers": [], "volumes": [volume]}})["spec"]["volumes"][0]
    assert found["secret"]["defaultMode"] == 420 and found["iscsi"]["iscsiInterface"] == "default"


def test_a_daemon_set_names_the_generation_of_its_template() -> None:
    found = defaulted(GVK("apps", "v1", "DaemonSet"), {"metadata": {"name": "d"}, "spec": {}})
    assert found["metadata"]["annotations"] == {"deprecated.daemonset.template.generation": "0"}
