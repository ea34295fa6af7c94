"""Tables: what kubectl get prints."""

from __future__ import annotations

from typing import Any

import pytest

from pybernetes.api.resources import GVK, builtin_by_gvk
from pybernetes.api.tables import columns, columns_for_crd, human_duration, row_cells, row_cells_for_crd, row_conditions
from pybernetes.api.times import to_time

NOW = 1_800_000_000.0
POD = GVK("", "v1", "Pod")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (185, "3m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 300, "3h5m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (730 * 86400, "2y"),
        (740 * 86400, "2y10d"),
        (3000 * 86400, "8y"),
    ],
)
def test_human_duration(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def pod(status: dict[str, Any], spec: dict[str, Any] | None = None, **metadata: Any) -> list[Any]:
    made = {
        "metadata": {"name": "p", "creationTimestamp": to_time(NOW - 90), **metadata},
        "spec": spec or {"containers": [{"name": "a"}]},
        "status": status,
    }
    return row_cells(POD, made, NOW)[:5]


def state(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "ready": False, "restartCount": 0, **fields}


@pytest.mark.parametrize(
    ("status", "cells"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", "0"]),
        (
            {"phase": "Running", "containerStatuses": [state(ready=True, state={"running": {}})]},
            ["1/1", "Running", "0"],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    state(
                        restartCount=3,
                        state={"waiting": {"reason": "CrashLoopBackOff"}},
                        lastState={"terminated": {"finishedAt": to_time(NOW - 300)}},
                    )
                ],
            },
            ["0/1", "CrashLoopBackOff", "3 (5m ago)"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [state(state={"terminated": {"exitCode": 3}})]},
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            {
                "phase": "Succeeded",
                "containerStatuses": [state(state={"terminated": {"exitCode": 0, "reason": "Completed"}})],
            },
            ["0/1", "Completed", "0"],
        ),
        ({"phase": "Failed", "reason": "Evicted"}, ["0/1", "Evicted", "0"]),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            ["0/1", "SchedulingGated", "0"],
        ),
    ],
)
def test_pod_row(status: dict[str, Any], cells: list[Any]) -> None:
    assert pod(status) == ["p", *cells, "90s"]


def test_init_containers() -> None:
    spec = {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]}
    assert pod({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"waiting": {}}}]}, spec)[1:3] == [
        "0/2",
        "Init:0/2",
    ]
    failed = {"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    assert pod({"phase": "Pending", "initContainerStatuses": [failed]}, spec)[2] == "Init:Error"


def test_deleted_pods() -> None:
    when = to_time(NOW)
    assert pod({"phase": "Running"}, deletionTimestamp=when)[2] == "Terminating"
    assert pod({"phase": "Running", "reason": "NodeLost"}, deletionTimestamp=when)[2] == "Unknown"
    assert pod({"phase": "Succeeded"}, deletionTimestamp=when)[2] == "Succeeded"


def test_completed_pods_have_a_row_condition() -> None:
    assert row_conditions(POD, {"status": {"phase": "Succeeded"}})[0]["reason"] == "Succeeded"
    assert row_conditions(POD, {"status": {"phase": "Running"}}) == []


def test_every_kind_has_as_many_cells_as_columns() -> None:
    for gvk in builtin_by_gvk():
        definitions = columns(gvk)
        cells = row_cells(gvk, {"metadata": {"name": "x"}}, NOW)
        # Upstream writes an age that no column announces for IPAddress.
        assert len(cells) == len(definitions) + (gvk.kind == "IPAddress"), gvk
        assert all(d["description"] or d["name"] in ("Handler", "Message") for d in definitions), gvk


def test_service_row() -> None:
    service = {
        "metadata": {"name": "s"},
        "spec": {
            "type": "NodePort",
            "clusterIPs": ["10.0.0.1"],
            "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
            "selector": {"b": "2", "a": "1"},
        },
    }
    assert row_cells(GVK("", "v1", "Service"), service, NOW) == [
        "s",
        "NodePort",
        "10.0.0.1",
        "<none>",
        "80:30000/TCP,53/UDP",
        "<unknown>",
        "a=1,b=2",
    ]


def test_custom_columns() -> None:
    version = {
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            {"name": "None", "type": "string", "jsonPath": ".spec.none", "priority": 1},
        ]
    }
    obj = {
        "metadata": {"name": "x", "creationTimestamp": to_time(NOW - 60)},
        "spec": {"size": 3},
        "status": {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]},
    }
    assert row_cells_for_crd(version, obj, NOW) == ["x", 3, "True", "60s", None]
    assert [c["name"] for c in columns_for_crd(version)] == ["Name", "Size", "Ready", "Age", "None"]
    assert row_cells_for_crd({}, obj, NOW) == ["x", "60s"]
