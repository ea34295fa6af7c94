"""Horizontal pod autoscalers and scales."""

from __future__ import annotations

from ..errors import forbidden_field, invalid_value, not_supported, required
from .amounts import amount, container_resource_name, nonnegative_amount, text
from .errors import Errors, Obj, invalid_each
from .formats import dns_label_problems, path_segment_problems
from .kube_meta import validate_meta, validate_meta_update
from .meta import nonnegative, subdomain_name, validate_object_meta

MAX_PERIOD = 1800
MAX_WINDOW = 3600
_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
_SOURCES = {kind: kind[0].lower() + kind[1:] for kind in _METRICS}
_CHECKED = ("object", "external", "pods", "resource", "containerResource")
_ONLY_ONE = "must populate the given metric source only"


def validate_scale(scale: Obj) -> Errors:
    """The body of a ``/scale`` write."""
    found = validate_object_meta(scale.get("metadata") or {}, True, subdomain_name)
    return found + nonnegative((scale.get("spec") or {}).get("replicas") or 0, "spec.replicas")


def api_version_problem(version: str, *, core_group: bool) -> str:
    """What is wrong with the apiVersion of a reference; ``core_group``: one without group will do."""
    if version.count("/") > 1:
        return f"unexpected GroupVersion string: {version}"
    if not core_group and ("/" not in version or version.startswith("/")):
        return "apiVersion must specify API group"
    return ""


def _reference(reference: Obj, path: str, *, lax: bool, core_group: bool) -> Errors:
    found: Errors = []
    for field in ("kind", "name"):
        value = reference.get(field) or ""
        here = f"{path}.{field}"
        found += invalid_each(here, value, path_segment_problems(value)) if value else [required(here)]
    version = reference.get("apiVersion") or ""
    problem = "" if lax else api_version_problem(version, core_group=core_group)
    if problem:
        found.append(invalid_value(f"{path}.apiVersion", version, problem))
    return found


def _named(obj: Obj, path: str) -> Errors:
    name = obj.get("name") or ""
    if not name:
        return [required(f"{path}.name", "must specify a metric name")]
    return invalid_each(f"{path}.name", name, path_segment_problems(name))


def _target(target: Obj, path: str) -> Errors:
    kind, found = target.get("type") or "", Errors()
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        found.append(invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    for field in ("value", "averageValue"):
        if target.get(field) is not None and amount(target[field]) <= 0:
            found.append(invalid_value(f"{path}.{field}", text(target[field]), "must be positive"))
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        found.append(invalid_value(f"{path}.averageUtilization", utilization, "must be greater than 0"))
    return found


def _object_source(source: Obj, path: str, lax: bool) -> Errors:
    target = source.get("target") or {}
    found = _reference(source.get("describedObject") or {}, f"{path}.describedObject", lax=lax, core_group=True)
    found += _named(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    if target.get("value") is None and target.get("averageValue") is None:
        found.append(required(f"{path}.target.averageValue", "must set either a target value or averageValue"))
    return found


def _external_source(source: Obj, path: str, lax: bool) -> Errors:
    target = source.get("target") or {}
    found = _named(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        words = "must set either a target value for metric or a per-pod target"
        found.append(required(f"{path}.target.averageValue", words))
    if value is not None and average is not None:
        words = "may not set both a target value for metric and a per-pod target"
        found.append(forbidden_field(f"{path}.target.value", words))
    return found


def _pods_source(source: Obj, path: str, lax: bool) -> Errors:
    target = source.get("target") or {}
    found = _named(source.get("metric") or {}, f"{path}.metric") + _target(target, f"{path}.target")
    if target.get("averageValue") is None:
        found.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return found


def _resource_source(source: Obj, path: str, lax: bool) -> Errors:
    if not source.get("name"):
        return [required(f"{path}.name", "must specify a resource name"), *_usage(source, path)]
    return _usage(source, path)


def _usage(source: Obj, path: str) -> Errors:
    target = source.get("target") or {}
    found = _target(target, f"{path}.target")
    utilization, average = target.get("averageUtilization"), target.get("averageValue")
    if utilization is None and average is None:
        words = "must set either a target raw value or a target utilization"
        found.append(required(f"{path}.target.averageUtilization", words))
    if utilization is not None and average is not None:
        words = "may not set both a target raw value and a target utilization"
        found.append(forbidden_field(f"{path}.target.averageValue", words))
    return found


def _container_source(source: Obj, path: str, lax: bool) -> Errors:
    name, container = source.get("name") or "", source.get("container") or ""
    if name:
        found = container_resource_name(name, f"{path}.name")
    else:
        found = [required(f"{path}.name", "must specify a resource name")]
    here = f"{path}.container"
    if container:
        found += invalid_each(here, container, dns_label_problems(container))
    else:
        found.append(required(here, "must specify a container"))
    return found + _usage(source, path)


_SOURCE_CHECKS = {
    "object": _object_source,
    "external": _external_source,
    "pods": _pods_source,
    "resource": _resource_source,
    "containerResource": _container_source,
}


def _metric(metric: Obj, path: str, lax: bool) -> Errors:
    kind, found = metric.get("type") or "", Errors()
    if not kind:
        found.append(required(f"{path}.type", "must specify a metric source type"))
    present = [field for field in _CHECKED if metric.get(field) is not None]
    unknown = [] if kind in _METRICS else [not_supported(f"{path}.type", kind, _METRICS)]
    found += unknown
    if present:
        first = present[0]
        found += _SOURCE_CHECKS[first](metric[first], f"{path}.{first}", lax)
    expected = _SOURCES.get(kind, "")
    if unknown:
        found += unknown
    elif metric.get(expected) is None:
        found.append(required(f"{path}.{expected}", "must populate information for the given metric source"))
    if len(present) != 1:
        found += [forbidden_field(f"{path}.{field}", _ONLY_ONE) for field in present if field != expected]
    return found


def _metrics(metrics: list[Obj], least: int | None, lax: bool) -> Errors:
    found = [e for i, metric in enumerate(metrics) for e in _metric(metric, f"spec.metrics[{i}]", lax)]
    if least == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        words = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(forbidden_field("spec.metrics", words))
    return found


def _rules(rules: Obj | None, path: str) -> Errors:
    if rules is None:
        return []
    found: Errors = []
    window, here = rules.get("stabilizationWindowSeconds"), f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        found.append(invalid_value(here, window, "must be greater than or equal to zero"))
    if window is not None and window > MAX_WINDOW:
        found.append(invalid_value(here, window, f"must be less than or equal to {MAX_WINDOW}"))
    choice = rules.get("selectPolicy")
    if choice is not None and choice not in ("Disabled", "Max", "Min"):
        found.append(not_supported(f"{path}.selectPolicy", choice, ("Disabled", "Max", "Min")))
    policies = rules.get("policies") or []
    if not policies:
        found.append(required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        found += _policy(policy, f"{path}.policies[{i}]")
    if rules.get("tolerance") is not None:
        found += nonnegative_amount(rules["tolerance"], f"{path}.tolerance")
    return found


def _policy(policy: Obj, path: str) -> Errors:
    kind, value, period = policy.get("type") or "", policy.get("value") or 0, policy.get("periodSeconds") or 0
    found = [] if kind in ("Percent", "Pods") else [not_supported(f"{path}.type", kind, ("Percent", "Pods"))]
    if value <= 0:
        found.append(invalid_value(f"{path}.value", value, "must be greater than zero"))
    if period <= 0:
        found.append(invalid_value(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > MAX_PERIOD:
        found.append(invalid_value(f"{path}.periodSeconds", period, f"must be less than or equal to {MAX_PERIOD}"))
    return found


def _spec(spec: Obj, before: Obj | None) -> Errors:
    found: Errors = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    bound = 0 if (before or {}).get("minReplicas") == 0 else 1
    if least is not None and least < bound:
        found.append(invalid_value("spec.minReplicas", least, f"must be greater than or equal to {bound}"))
    if most == 0:
        found.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif most < 0:
        found.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to 1"))
    if least is not None and most < least:
        found.append(invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target, stored = spec.get("scaleTargetRef") or {}, (before or {}).get("scaleTargetRef") or {}
    same = before is not None and all((target.get(f) or "") == (stored.get(f) or "") for f in ("apiVersion", "kind"))
    core_group = target.get("kind") == "ReplicationController"
    found += _reference(target, "spec.scaleTargetRef", lax=same, core_group=core_group)
    found += _metrics(spec.get("metrics") or [], least, _had_bad_object(before))
    behavior = spec.get("behavior") or {}
    return (
        found
        + _rules(behavior.get("scaleUp"), "spec.behavior.scaleUp")
        + _rules(behavior.get("scaleDown"), "spec.behavior.scaleDown")
    )


def _had_bad_object(before: Obj | None) -> bool:
    for metric in (before or {}).get("metrics") or ():
        if metric.get("type") == "Object" and metric.get("object") is not None:
            version = (metric["object"].get("describedObject") or {}).get("apiVersion") or ""
            if api_version_problem(version, core_group=True):
                return True
    return False


def _autoscaler(autoscaler: Obj) -> Errors:
    found = validate_meta(autoscaler.get("metadata") or {}, True, subdomain_name)
    return found + _spec(autoscaler.get("spec") or {}, None)


def _autoscaler_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _spec(new.get("spec") or {}, old.get("spec") or {})


def _autoscaler_status(new: Obj, old: Obj) -> Errors:
    found, status = validate_meta_update(new, old), new.get("status") or {}
    for field in ("currentReplicas", "desiredReplicas"):
        found += nonnegative(status.get(field) or 0, f"status.{field}")
    return found


CREATE = {("autoscaling", "horizontalpodautoscalers"): _autoscaler}
UPDATE = {
    ("autoscaling", "horizontalpodautoscalers", ""): _autoscaler_update,
    ("autoscaling", "horizontalpodautoscalers", "status"): _autoscaler_status,
}
