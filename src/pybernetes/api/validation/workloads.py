"""The apps group: deployments, replica sets, stateful sets, daemon sets, controller revisions."""

from __future__ import annotations

from typing import Any

from ..errors import forbidden_field, invalid_value, not_supported, required
from ..selectors import NOTHING, LabelSelector, selector_from_object
from .claims import validate_claim_spec
from .core import replica_status
from .errors import Errors, Obj, invalid_each, shown_selector, sorted_map
from .formats import dns_label_problems
from .go_values import same
from .int_or_percent import at_most_all, number_of, validate_int_or_percent
from .kube_meta import validate_meta, validate_meta_update
from .meta import (
    has_invalid_label_value,
    immutable,
    label_name,
    nonnegative,
    subdomain_name,
    validate_annotations,
    validate_label_selector,
    validate_labels,
)
from .pod_annotations import pod_annotations
from .pod_spec import template_options, validate_pod_template

_MISMATCH = "`selector` does not match template `labels`"
_EXCEEDS = "cannot be greater than status.replicas"


# Parts that several kinds have


def readable_selector(selector: Obj | None) -> LabelSelector | None:
    """None for a selector with faults; an absent one selects nothing."""
    if selector is None:
        return NOTHING
    return None if validate_label_selector(selector, "") else selector_from_object(selector)


def _template_labels(template: Obj) -> dict[str, str]:
    return (template.get("metadata") or {}).get("labels") or {}


def selector_matches(selector: LabelSelector, template: Obj, path: str) -> Errors:
    labels = _template_labels(template)
    if selector.matches(labels):
        return []
    return [invalid_value(f"{path}.metadata.labels", sorted_map(labels) or None, _MISMATCH)]


def only_restarting(template: Obj, path: str, kind: str) -> Errors:
    """Pods of these kinds run for ever."""
    pod, found = template.get("spec") or {}, Errors()
    if pod.get("restartPolicy") != "Always":
        found.append(not_supported(f"{path}.spec.restartPolicy", pod.get("restartPolicy") or "", ["Always"]))
    if pod.get("activeDeadlineSeconds") is not None:
        words = f"activeDeadlineSeconds in {kind} is not Supported"
        found.append(forbidden_field(f"{path}.spec.activeDeadlineSeconds", words))
    return found


def _given_selector(spec: Obj, kind: str) -> Errors:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    found = validate_label_selector(selector, "spec.selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        words = f"empty selector is invalid for {kind}"
        found.append(invalid_value("spec.selector", shown_selector(selector), words))
    return found


def _same_selector(spec: Obj, before: Obj) -> Errors:
    new, old = shown_selector(spec.get("selector")), shown_selector(before.get("selector"))
    return immutable(new, old, "spec.selector")


def _counts(status: Obj, *fields: str) -> Errors:
    return [e for field in fields for e in nonnegative(status.get(field) or 0, f"status.{field}")]


def _optional(spec: Obj, field: str, path: str = "spec") -> Errors:
    return nonnegative(spec[field], f"{path}.{field}") if spec.get(field) is not None else []


def _collisions(status: Obj, before: Obj) -> Errors:
    """The collision count only grows, and stays."""
    count, stored = status.get("collisionCount"), before.get("collisionCount")
    if stored is not None and (count is None or count < stored):
        return [invalid_value("status.collisionCount", count or 0, "cannot be decremented")]
    return []


def _more_than(status: Obj, fields: tuple[str, ...], limit: str, words: str) -> Errors:
    most = status.get(limit) or 0
    return [invalid_value(f"status.{f}", status.get(f) or 0, words) for f in fields if (status.get(f) or 0) > most]


# Replica sets and deployments


def _replicated(spec: Obj, old: Obj | None) -> Errors:
    """What deployments and replica sets share: selector and template."""
    found = _given_selector(spec, "deployment")
    selector, template, path = readable_selector(spec.get("selector")), spec.get("template") or {}, "spec.template"
    if selector is None:
        shown = shown_selector(spec.get("selector"))
        return [*found, invalid_value("spec.selector", shown, "invalid label selector")]
    found += selector_matches(selector, template, path)
    found += validate_pod_template(template, path, template_options(template, (old or {}).get("template")))
    return found + only_restarting(template, path, "ReplicaSet")


def _replica_set_spec(spec: Obj, old: Obj | None) -> Errors:
    found = nonnegative(spec.get("replicas") or 0, "spec.replicas")
    return found + nonnegative(spec.get("minReadySeconds") or 0, "spec.minReadySeconds") + _replicated(spec, old)


def _replica_set(replica_set: Obj) -> Errors:
    found = validate_meta(replica_set.get("metadata") or {}, True, subdomain_name)
    return found + _replica_set_spec(replica_set.get("spec") or {}, None)


def _replica_set_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return validate_meta_update(new, old) + _replica_set_spec(spec, before) + _same_selector(spec, before)


def _replica_set_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    return validate_meta_update(new, old) + replica_status(status) + _optional(status, "terminatingReplicas", "status")


def _rolling_deployment(rolling: Obj, path: str) -> Errors:
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = validate_int_or_percent(unavailable, f"{path}.maxUnavailable")
    found += validate_int_or_percent(surge, f"{path}.maxSurge")
    if not number_of(unavailable) and not number_of(surge):
        words = "may not be 0 when `maxSurge` is 0"
        found.append(invalid_value(f"{path}.maxUnavailable", unavailable, words))
    return found + at_most_all(unavailable, f"{path}.maxUnavailable")


def _go_strategy(strategy: Obj) -> Obj:
    """A strategy as upstream prints it, by the names of Go fields."""
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        rolling = {"MaxUnavailable": rolling.get("maxUnavailable", 0), "MaxSurge": rolling.get("maxSurge", 0)}
    return {"Type": strategy.get("type") or "", "RollingUpdate": rolling}


def _deployment_strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "Recreate":
        words = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden_field(f"{path}.rollingUpdate", words)]
    if kind != "RollingUpdate":
        return [not_supported(path, _go_strategy(strategy), ["Recreate", "RollingUpdate"])]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    return _rolling_deployment(rolling, f"{path}.rollingUpdate")


def _deployment_spec(spec: Obj, old: Obj | None) -> Errors:
    found = nonnegative(spec.get("replicas") or 0, "spec.replicas") + _replicated(spec, old)
    found += _deployment_strategy(spec.get("strategy") or {}, "spec.strategy")
    ready = spec.get("minReadySeconds") or 0
    found += nonnegative(ready, "spec.minReadySeconds") + _optional(spec, "revisionHistoryLimit")
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        found += nonnegative(deadline, "spec.progressDeadlineSeconds")
        if deadline <= ready:
            words = "must be greater than minReadySeconds"
            found.append(invalid_value("spec.progressDeadlineSeconds", deadline, words))
    return found


def _deployment(deployment: Obj) -> Errors:
    found = validate_meta(deployment.get("metadata") or {}, True, subdomain_name)
    return found + _deployment_spec(deployment.get("spec") or {}, None)


def _deployment_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return validate_meta_update(new, old) + _deployment_spec(spec, before) + _same_selector(spec, before)


def _deployment_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    found = validate_meta_update(new, old)
    fields = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    found += _counts(status, "observedGeneration", *fields)
    found += _optional(status, "terminatingReplicas", "status") + _optional(status, "collisionCount", "status")
    found += _more_than(status, fields[1:4], "replicas", _EXCEEDS)
    found += _more_than(status, ("availableReplicas",), "readyReplicas", "cannot be greater than readyReplicas")
    return found + _collisions(status, old.get("status") or {})


# Stateful sets


_SET_STRATEGIES = "must be 'RollingUpdate' or 'OnDelete'"
_CLAIM_POLICIES = ["Retain", "Delete"]


def _management(policy: str) -> Errors:
    path = "spec.podManagementPolicy"
    if not policy:
        return [required(path)]
    words = "must be 'OrderedReady' or 'Parallel'"
    return [] if policy in ("OrderedReady", "Parallel") else [invalid_value(path, policy, words)]


def _go_set_strategy(strategy: Obj) -> Obj:
    rolling = strategy.get("rollingUpdate")
    return {"Type": strategy.get("type") or "", "RollingUpdate": None if rolling is None else _go_rolling(rolling)}


def _go_rolling(rolling: Obj) -> Obj:
    return {"Partition": rolling.get("partition") or 0, "MaxUnavailable": rolling.get("maxUnavailable")}


def _set_strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if not kind:
        return [required(path)]
    if kind == "OnDelete":
        if rolling is None:
            return []
        words = "only allowed for updateStrategy 'RollingUpdate'"
        return [invalid_value(f"{path}.rollingUpdate", _go_rolling(rolling), words)]
    if kind != "RollingUpdate":
        return [invalid_value(path, _go_set_strategy(strategy), _SET_STRATEGIES)]
    if rolling is None:
        return []
    here, most = f"{path}.rollingUpdate", rolling.get("maxUnavailable")
    found = nonnegative(rolling.get("partition") or 0, f"{here}.partition")
    if most is not None:
        found += validate_int_or_percent(most, f"{here}.maxUnavailable")
        if not number_of(most):
            found.append(invalid_value(f"{here}.maxUnavailable", most, "cannot be 0"))
        found += at_most_all(most, f"{here}.maxUnavailable")
    return found


def _retention(policy: Obj | None) -> Errors:
    found: Errors = []
    for field in ("whenDeleted", "whenScaled"):
        if policy is not None and policy.get(field) not in _CLAIM_POLICIES:
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            found.append(not_supported(path, policy.get(field) or "", _CLAIM_POLICIES))
    return found


def _as_its_pods(spec: Obj) -> Obj:
    """The template as pods get it: with volumes of the claims, and names that the controller chooses."""
    template = spec.get("template") or {}
    pod: dict[str, Any] = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("subdomain", "hostname")}
    names = [(claim.get("metadata") or {}).get("name") or "" for claim in spec.get("volumeClaimTemplates") or ()]
    if names:
        claimed = {name: {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names}
        others = [v for v in pod.get("volumes") or () if (v.get("name") or "") not in claimed]
        pod["volumes"] = [*claimed.values(), *others]
    return {**template, "spec": pod}


def _set_template(spec: Obj, old: Obj | None, check_pod: bool) -> Errors:
    selector, path = readable_selector(spec.get("selector")), "spec.template"
    if selector is None:
        return [invalid_value("spec.selector", shown_selector(spec.get("selector")), "")]
    template = _as_its_pods(spec)
    options = template_options(template, (old or {}).get("template"))
    found = selector_matches(selector, template, path)
    if check_pod:
        found += validate_pod_template(template, path, options)
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    found += validate_labels(_template_labels(template), f"{path}.labels")
    found += validate_annotations(annotations, f"{path}.annotations")
    return found + pod_annotations(annotations, template["spec"], f"{path}.annotations", options)


def _set_spec(spec: Obj, old: Obj | None, *, check_pod: bool = True) -> Errors:
    found = _management(spec.get("podManagementPolicy") or "")
    found += _set_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    found += _retention(spec.get("persistentVolumeClaimRetentionPolicy"))
    if old is None:
        for i, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            found += validate_claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{i}].spec")
    found += nonnegative(spec.get("replicas") or 0, "spec.replicas")
    found += nonnegative(spec.get("minReadySeconds") or 0, "spec.minReadySeconds")
    found += nonnegative((spec.get("ordinals") or {}).get("start") or 0, "spec.ordinals.start")
    service = spec.get("serviceName") or ""
    if old is None and service:
        found += invalid_each("spec.serviceName", service, dns_label_problems(service))
    found += _given_selector(spec, "statefulset") + _set_template(spec, old, check_pod)
    return found + only_restarting(spec.get("template") or {}, "spec.template", "StatefulSet")


def _stateful_set(stateful_set: Obj) -> Errors:
    found = validate_meta(stateful_set.get("metadata") or {}, True, label_name)
    return found + _set_spec(stateful_set.get("spec") or {}, None)


_SET_CHANGES = (
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
)


def _stateful_set_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    check_pod = not _set_spec(before, before)
    found = validate_meta_update(new, old) + _set_spec(spec, before, check_pod=check_pod)
    kept = {field: before[field] for field in _SET_CHANGES if field in before}
    wanted = {k: v for k, v in spec.items() if k not in _SET_CHANGES} | kept
    if not same(wanted, before, "apps.StatefulSetSpec"):
        words = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        found.append(forbidden_field("spec", words))
    return found


def _stateful_set_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    fields = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    found = _counts(status, "replicas", *fields)
    found += _optional(status, "observedGeneration", "status") + _optional(status, "collisionCount", "status")
    found += _more_than(status, fields, "replicas", _EXCEEDS)
    found += _more_than(status, ("availableReplicas",), "readyReplicas", "cannot be greater than status.readyReplicas")
    return found + validate_meta_update(new, old) + _collisions(status, old.get("status") or {})


# Daemon sets


_DAEMON_STRATEGIES = ["RollingUpdate", "OnDelete"]


def _daemon_strategy(strategy: Obj, path: str) -> Errors:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [not_supported(path, _go_strategy(strategy), _DAEMON_STRATEGIES)]
    here = f"{path}.rollingUpdate"
    if rolling is None:
        return [required(here)]
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    found = validate_int_or_percent(unavailable, f"{here}.maxUnavailable")
    found += validate_int_or_percent(surge, f"{here}.maxSurge")
    found += at_most_all(unavailable, f"{here}.maxUnavailable") + at_most_all(surge, f"{here}.maxSurge")
    if number_of(unavailable) and number_of(surge):
        words = "may not be set when maxUnavailable is non-zero"
        found.append(invalid_value(f"{here}.maxSurge", surge, words))
    elif not number_of(unavailable) and not number_of(surge):
        found.append(required(f"{here}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def _daemon_spec(spec: Obj, old: Obj | None) -> Errors:
    selector, template, path = spec.get("selector"), spec.get("template") or {}, "spec.template"
    lax = has_invalid_label_value((old or {}).get("selector"))
    found = validate_label_selector(selector, "spec.selector", lax_values=lax)
    readable = readable_selector(selector)
    if readable is not None:
        found += selector_matches(readable, template, path)
    if selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        words = "empty selector is invalid for daemonset"
        found.append(invalid_value("spec.selector", shown_selector(selector), words))
    found += validate_pod_template(template, path, template_options(template, (old or {}).get("template")))
    found += only_restarting(template, path, "DaemonSet")
    found += nonnegative(spec.get("minReadySeconds") or 0, "spec.minReadySeconds")
    found += _daemon_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy")
    return found + _optional(spec, "revisionHistoryLimit")


def _daemon_set(daemon_set: Obj) -> Errors:
    found = validate_meta(daemon_set.get("metadata") or {}, True, subdomain_name)
    return found + _daemon_spec(daemon_set.get("spec") or {}, None)


def _daemon_set_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    return validate_meta_update(new, old) + _same_selector(spec, before) + _daemon_spec(spec, before)


def _daemon_set_status(new: Obj, old: Obj) -> Errors:
    status = new.get("status") or {}
    fields = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    more = ("observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable")
    found = validate_meta_update(new, old) + _counts(status, *fields, *more)
    return found + _optional(status, "collisionCount", "status") + _collisions(status, old.get("status") or {})


# Controller revisions


def _revision_itself(revision: Obj) -> Errors:
    found = validate_meta(revision.get("metadata") or {}, True, subdomain_name)
    return found + nonnegative(revision.get("revision") or 0, "revision")


def _revision(revision: Obj) -> Errors:
    found, data = _revision_itself(revision), revision.get("data")
    if data is None:
        found.append(required("data", "data is mandatory"))
    elif not isinstance(data, dict):
        found.append(required("data", "data must be a valid JSON object"))
    return found


def _revision_update(new: Obj, old: Obj) -> Errors:
    found = validate_meta_update(new, old) + _revision_itself(new)
    return found + immutable(new.get("data"), old.get("data"), "data")


CREATE = {
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("apps", "controllerrevisions"): _revision,
}
UPDATE = {
    ("apps", "deployments", ""): _deployment_update,
    ("apps", "deployments", "status"): _deployment_status,
    ("apps", "replicasets", ""): _replica_set_update,
    ("apps", "replicasets", "status"): _replica_set_status,
    ("apps", "statefulsets", ""): _stateful_set_update,
    ("apps", "statefulsets", "status"): _stateful_set_status,
    ("apps", "daemonsets", ""): _daemon_set_update,
    ("apps", "daemonsets", "status"): _daemon_set_status,
    ("apps", "controllerrevisions", ""): _revision_update,
}
