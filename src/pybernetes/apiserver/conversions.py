"""Built-in kinds that are served in two versions over one stored form: events and horizontal pod autoscalers.

Events rest as ``v1`` and are served as ``events.k8s.io/v1`` too; autoscalers rest as ``autoscaling/v2`` and are served as
``v1`` too, with what v1 cannot say in annotations. Specified by the two API references.
"""

from __future__ import annotations

from typing import Any

import orjson

from ..api.fields import supported_fields
from ..api.meta import Object
from ..api.resources import GVR
from .registry import Conversion

CORE_EVENTS, NEW_EVENTS = GVR("", "v1", "events"), GVR("events.k8s.io", "v1", "events")
AUTOSCALERS_1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")
AUTOSCALERS_2 = GVR("autoscaling", "v2", "horizontalpodautoscalers")

_EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
"""(v1, events.k8s.io/v1); the other fields have one name in both."""


def _renamed(obj: Object, names: dict[str, str], api_version: str) -> Object:
    found: Object = {"kind": "Event", "apiVersion": api_version}
    for key, value in obj.items():
        if key not in found:
            found[names.get(key, key)] = value
    return found


_TO_CORE = {new: old for old, new in _EVENT_FIELDS}
_TO_NEW = dict(_EVENT_FIELDS)


def event_to_core(obj: Object) -> Object:
    found = _renamed(obj, _TO_CORE, "v1")
    # What the older version always writes.
    for field, empty in (("firstTimestamp", None), ("lastTimestamp", None), ("source", {})):
        found.setdefault(field, empty)
    found.setdefault("involvedObject", {})
    for field in ("reportingComponent", "reportingInstance"):
        found.setdefault(field, "")
    return found


def event_from_core(obj: Object) -> Object:
    found = _renamed(obj, _TO_NEW, "events.k8s.io/v1")
    for field in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
        found.setdefault(field, None)
    if not found.get("reportingController"):
        found.pop("reportingController", None)
    if not found.get("reportingInstance"):
        found.pop("reportingInstance", None)
    return found


_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (_PREFIX + n for n in ("metrics", "current-metrics", "conditions", "behavior"))


def _cpu(metrics: list[Any], field: str) -> tuple[int | None, list[Any]]:
    """The plain CPU utilization among metrics (``target`` or ``current``), and the others."""
    found, others = None, []
    for metric in metrics:
        resource = metric.get("resource") or {}
        utilization = (resource.get(field) or {}).get("averageUtilization")
        if (
            found is None
            and metric.get("type") == "Resource"
            and resource.get("name") == "cpu"
            and utilization is not None
        ):
            found = utilization
        else:
            others.append(metric)
    return found, others


def autoscaler_to_1(obj: Object) -> Object:
    """``autoscaling/v1`` of an ``autoscaling/v2`` object."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    target, others = _cpu(spec.pop("metrics", None) or [], "target")
    if target is not None:
        spec["targetCPUUtilizationPercentage"] = target
    current, current_others = _cpu(status.pop("currentMetrics", None) or [], "current")
    if current is not None:
        status["currentCPUUtilizationPercentage"] = current
    for name, value in (
        (METRICS, others),
        (BEHAVIOR, spec.pop("behavior", None)),
        (CURRENT, current_others),
        (CONDITIONS, status.pop("conditions", None)),
    ):
        if value:
            annotations[name] = orjson.dumps(value).decode()
    if annotations:
        metadata["annotations"] = annotations
    return {"kind": obj["kind"], "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def autoscaler_to_2(obj: Object) -> Object:
    """``autoscaling/v2`` of an ``autoscaling/v1`` object."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metadata = dict(obj["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    metrics = _hidden(annotations, METRICS, list)
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        metrics = [*(metrics or []), _cpu_metric("target", {"type": "Utilization", "averageUtilization": target})]
    if metrics:
        spec["metrics"] = metrics
    behavior = _hidden(annotations, BEHAVIOR, dict)
    if behavior:
        spec["behavior"] = behavior
    current = _hidden(annotations, CURRENT, list)
    utilization = status.pop("currentCPUUtilizationPercentage", None)
    if utilization is not None:
        current = [*(current or []), _cpu_metric("current", {"averageUtilization": utilization})]
    status["currentMetrics"] = current or None
    conditions = _hidden(annotations, CONDITIONS, list)
    if conditions:
        status["conditions"] = conditions
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    return {"kind": obj["kind"], "apiVersion": "autoscaling/v2", "metadata": metadata, "spec": spec, "status": status}


def _cpu_metric(field: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", field: value}}


def _hidden(annotations: dict[str, str], name: str, shape: type) -> Any:
    """What a v1 client carried along in an annotation; garbage there is dropped, as upstream does."""
    text = annotations.pop(name, "")
    if not text:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, shape) else None


def _stored_event_fields() -> dict[str, str]:
    stored = {}
    for name in supported_fields(NEW_EVENTS):
        top, dot, rest = name.partition(".")
        stored[name] = _TO_CORE.get(top, top) + dot + rest
    return stored


CONVERSIONS: dict[GVR, tuple[GVR, Conversion]] = {
    NEW_EVENTS: (CORE_EVENTS, Conversion(event_to_core, event_from_core, _stored_event_fields())),
    AUTOSCALERS_1: (AUTOSCALERS_2, Conversion(autoscaler_to_2, autoscaler_to_1)),
}
"""Served version -> (stored version, how)."""
