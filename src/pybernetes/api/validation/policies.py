"""Small kinds of several groups: disruption budgets, priority classes, leases, runtime classes."""

from __future__ import annotations

from ..errors import duplicate, forbidden_field, invalid_value, not_supported, required
from .affinity import validate_tolerations
from .amounts import container_resource_name, validate_requirements
from .errors import Errors, Obj, go_struct, invalid_each, shown_selector
from .formats import dns_label_problems, qualified_name_problems
from .int_or_percent import at_most_all, validate_int_or_percent
from .kube_meta import validate_meta, validate_meta_update
from .meta import (
    has_invalid_label_value,
    immutable,
    nonnegative,
    subdomain_name,
    validate_conditions,
    validate_label_selector,
    validate_labels,
    validate_object_meta,
    validate_object_meta_update,
)

# Disruption budgets


def _budget_spec(spec: Obj, before: Obj | None) -> Errors:
    found: Errors = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shown = go_struct(spec, "minAvailable? selector? maxUnavailable? unhealthyPodEvictionPolicy?") or {}
        shown["Selector"] = shown_selector(shown["Selector"])
        found.append(invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        if spec.get(field) is not None:
            found += validate_int_or_percent(spec[field], f"spec.{field}")
            found += at_most_all(spec[field], f"spec.{field}")
    lax = has_invalid_label_value((before or {}).get("selector"))
    found += validate_label_selector(spec.get("selector"), "spec.selector", lax_values=lax)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
        known = ("AlwaysAllow", "IfHealthyBudget")
        found.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, known))
    return found


def _budget(budget: Obj) -> Errors:
    return _budget_spec(budget.get("spec") or {}, None)


def _budget_update(new: Obj, old: Obj) -> Errors:
    return _budget_spec(new.get("spec") or {}, old.get("spec") or {})


def _budget_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    found = validate_conditions(status.get("conditions"), "status.conditions")
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        found += nonnegative(status.get(field) or 0, f"status.{field}")
    return found


# Priority classes

HIGHEST_PRIORITY = 1_000_000_000
_SYSTEM = "system-"
_SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def _system_problem(name: str, value: int, is_default: bool) -> str:
    if name not in _SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    if value != _SYSTEM_CLASSES[name]:
        return f"value of {name} PriorityClass must be {_SYSTEM_CLASSES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def _priority_class(priority_class: Obj) -> Errors:
    metadata, value = priority_class.get("metadata") or {}, priority_class.get("value") or 0
    found, name = validate_meta(metadata, False, subdomain_name), metadata.get("name") or ""
    if name.startswith(_SYSTEM):
        problem = _system_problem(name, value, bool(priority_class.get("globalDefault")))
        if problem:
            words = f"priority class names with '{_SYSTEM}' prefix are reserved for system use only. error: {problem}"
            found.append(forbidden_field("metadata.name", words))
    elif value > HIGHEST_PRIORITY:
        words = f"maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}"
        found.append(forbidden_field("value", words))
    policy = priority_class.get("preemptionPolicy")
    if policy == "":
        found.append(required("preemptionPolicy"))
    elif policy not in (None, "PreemptLowerPriority", "Never"):
        found.append(not_supported("preemptionPolicy", policy, ("PreemptLowerPriority", "Never")))
    return found


def _priority_class_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old)
    if (new.get("value") or 0) != (old.get("value") or 0):
        found.append(forbidden_field("value", "may not be changed in an update."))
    return found + immutable(new.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")


# Leases


def _strategy(strategy: str, path: str) -> Errors:
    if "/" not in strategy:
        known = ("OldestEmulationVersion",)
        return [] if strategy in known else [not_supported(f"{path}.strategy", strategy, known)]
    return invalid_each(f"{path}.strategy", strategy, qualified_name_problems(strategy))


def _lease_spec(spec: Obj) -> Errors:
    found: Errors = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        found.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        found.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
    if spec.get("strategy") is not None:
        found += _strategy(spec["strategy"], "spec.strategy")
    if spec.get("preferredHolder") and not spec.get("strategy"):
        words = "may only be specified if `strategy` is defined"
        found.append(forbidden_field("spec.preferredHolder", words))
    return found


def _lease(lease: Obj) -> Errors:
    found = validate_object_meta(lease.get("metadata") or {}, True, subdomain_name)
    return found + _lease_spec(lease.get("spec") or {})


def _lease_update(new: Obj, old: Obj) -> Errors:
    found = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    return found + _lease_spec(new.get("spec") or {})


# Runtime classes


def _runtime_class(runtime_class: Obj) -> Errors:
    found = validate_object_meta(runtime_class.get("metadata") or {}, False, subdomain_name)
    handler, overhead = runtime_class.get("handler") or "", runtime_class.get("overhead")
    found += invalid_each("handler", handler, dns_label_problems(handler)) if handler else [required("handler")]
    if overhead is not None:
        limits = {"limits": overhead.get("podFixed") or {}}
        found += validate_requirements(limits, "overhead", (), container_resource_name, lax_hugepages=False)
    scheduling = runtime_class.get("scheduling") or {}
    found += validate_labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector")
    return found + _tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations")


def _tolerations(tolerations: list[Obj], path: str) -> Errors:
    found = validate_tolerations(tolerations, path, comparing=False)
    seen: set[tuple[str, ...]] = set()
    for i, toleration in enumerate(tolerations):
        key = tuple(toleration.get(f) or "" for f in ("key", "operator", "value", "effect"))
        if key in seen:
            shown = go_struct(toleration, "key operator value effect tolerationSeconds?")
            found.append(duplicate(f"{path}[{i}]", shown))
        seen.add(key)
    return found


def _runtime_class_update(new: Obj, old: Obj) -> Errors:
    found = _runtime_class(new)
    found += validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    return found + immutable(new.get("handler") or "", old.get("handler") or "", "handler")


CREATE = {
    ("policy", "poddisruptionbudgets"): _budget,
    ("scheduling.k8s.io", "priorityclasses"): _priority_class,
    ("coordination.k8s.io", "leases"): _lease,
    ("node.k8s.io", "runtimeclasses"): _runtime_class,
}
UPDATE = {
    ("policy", "poddisruptionbudgets", ""): _budget_update,
    ("policy", "poddisruptionbudgets", "status"): _budget_status,
    ("scheduling.k8s.io", "priorityclasses", ""): _priority_class_update,
    ("coordination.k8s.io", "leases", ""): _lease_update,
    ("node.k8s.io", "runtimeclasses", ""): _runtime_class_update,
}
