"""Defaults of the apps group: deployments, replica sets, stateful sets, daemon sets."""

from __future__ import annotations

from typing import Any

from ..resources import GVK
from .common import Obj, default, default_text, struct
from .pods import default_pod_template
from .storage import default_claim

_ROLLING = "RollingUpdate"


def _default_deployment(obj: Obj) -> None:
    spec = struct(obj, "spec")
    struct(obj, "status")
    default(spec, "replicas", 1)
    strategy = struct(spec, "strategy")
    default_text(strategy, "type", _ROLLING)
    if strategy["type"] == _ROLLING:
        rolling = struct(strategy, "rollingUpdate")
        default(rolling, "maxUnavailable", "25%")
        default(rolling, "maxSurge", "25%")
    default(spec, "revisionHistoryLimit", 10)
    default(spec, "progressDeadlineSeconds", 600)
    default_pod_template(struct(spec, "template"))
    spec.setdefault("selector", None)


def _default_replica_set(obj: Obj) -> None:
    spec = struct(obj, "spec")
    default_text(struct(obj, "status"), "replicas", 0)
    default(spec, "replicas", 1)
    default_pod_template(struct(spec, "template"))
    spec.setdefault("selector", None)


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""Once a field of the spec; every reading through v1 makes it an annotation, and an owned field."""


def _default_daemon_set(obj: Obj) -> None:
    annotations = struct(struct(obj, "metadata"), "annotations")
    default_text(annotations, TEMPLATE_GENERATION, "0")
    spec = struct(obj, "spec")
    status = struct(obj, "status")
    for field in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"):
        default_text(status, field, 0)
    strategy = struct(spec, "updateStrategy")
    default_text(strategy, "type", _ROLLING)
    if strategy["type"] == _ROLLING:
        rolling = struct(strategy, "rollingUpdate")
        default(rolling, "maxUnavailable", 1)
        default(rolling, "maxSurge", 0)
    default(spec, "revisionHistoryLimit", 10)
    default_pod_template(struct(spec, "template"))
    spec.setdefault("selector", None)


def _default_stateful_set(obj: Obj) -> None:
    spec = struct(obj, "spec")
    status = struct(obj, "status")
    for field in ("replicas", "availableReplicas"):
        default_text(status, field, 0)
    default_text(spec, "podManagementPolicy", "OrderedReady")
    strategy = struct(spec, "updateStrategy")
    if not strategy.get("type"):
        strategy["type"] = _ROLLING
        default(strategy, "rollingUpdate", {})
    if strategy["type"] == _ROLLING and strategy.get("rollingUpdate") is not None:
        default(strategy["rollingUpdate"], "partition", 0)
    retention = struct(spec, "persistentVolumeClaimRetentionPolicy")
    default_text(retention, "whenDeleted", "Retain")
    default_text(retention, "whenScaled", "Retain")
    default(spec, "replicas", 1)
    default(spec, "revisionHistoryLimit", 10)
    default_text(spec, "serviceName", "")
    default_pod_template(struct(spec, "template"))
    spec.setdefault("selector", None)
    for claim in spec.get("volumeClaimTemplates") or ():
        # Stored claim templates name their type, since they once were whole objects.
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
        default_claim(claim)


DEFAULTERS: dict[GVK, Any] = {
    GVK("apps", "v1", "Deployment"): _default_deployment,
    GVK("apps", "v1", "ReplicaSet"): _default_replica_set,
    GVK("apps", "v1", "DaemonSet"): _default_daemon_set,
    GVK("apps", "v1", "StatefulSet"): _default_stateful_set,
}
