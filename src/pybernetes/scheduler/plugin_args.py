"""Arguments of the built-in plugins (``pluginConfig[].args``), checked with upstream's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..api.errors import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required

Args = Mapping[str, Any]
_LABEL = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


def validate_plugin_args(name: str, args: Any, path: str) -> list[FieldError]:
    """Nothing is known of the arguments of other packages' plugins: they check their own."""
    if name not in _CHECKS:
        return []
    if not isinstance(args, dict):
        return [invalid_value(path, args, "has to match plugin args")]
    fields, check = _CHECKS[name]
    kind = args.get("kind")
    if kind is not None and kind != f"{name}Args":
        return [invalid_value(path, kind, "has to match plugin args")]
    unknown = sorted(set(args) - {"apiVersion", "kind", *fields})
    if unknown:
        return [invalid_value(f"{path}.{u}", args[u], "unknown field") for u in unknown]
    return check(args, path)


def _number(args: Args, field: str, default: int) -> int | None:
    value = args.get(field)
    if value is None:
        return default
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ranged(
    args: Args, field: str, default: int, path: str, low: int, high: int | None, words: str
) -> list[FieldError]:
    value = _number(args, field, default)
    if value is None or value < low or (high is not None and value > high):
        return [invalid_value(f"{path}.{field}", args.get(field), words)]
    return []


def _preemption(args: Args, path: str) -> list[FieldError]:
    percentage, absolute = "minCandidateNodesPercentage", "minCandidateNodesAbsolute"
    found = _ranged(args, percentage, 10, path, 0, 100, "not in valid range [0, 100]")
    found += _ranged(args, absolute, 100, path, 0, None, "not in valid range [0, inf)")
    if args.get(percentage) == 0 and args.get(absolute) == 0:
        for field, other in ((percentage, absolute), (absolute, percentage)):
            found.append(invalid_value(f"{path}.{field}", 0, f"cannot be zero at the same time as {other}"))
    return found


def _inter_pod(args: Args, path: str) -> list[FieldError]:
    return _ranged(args, "hardPodAffinityWeight", 1, path, 0, 100, "not in valid range [0, 100]")


def _node_affinity(args: Args, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    added = args.get("addedAffinity") or {}
    required_terms = added.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required_terms is not None and not (required_terms.get("nodeSelectorTerms") or ()):
        at = f"{path}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        found.append(required(at, "must have at least one node selector term"))
    for i, term in enumerate(added.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        weight = term.get("weight")
        if not isinstance(weight, int) or not 1 <= weight <= 100:
            here = f"{path}.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[{i}].weight"
            found.append(invalid_value(here, weight, "must be in the range 1-100"))
    return found


def _balanced(args: Args, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for at, resource in enumerate(args.get("resources") or ()):
        name = resource.get("name") or ""
        if name in seen:
            found.append(duplicate(f"{path}.resources[{at}].name", name))
        seen.add(name)
        if (resource.get("weight") or 1) != 1:
            found.append(invalid_value(f"{path}.resources[{at}].weight", resource["weight"], "must be 1"))
    return found


STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


def _fit(args: Args, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("ignoredResources", "ignoredResourceGroups"):
        for at, name in enumerate(args.get(field) or ()):
            here = f"{path}.{field}[{at}]"
            if field == "ignoredResourceGroups" and "/" in name:
                found.append(invalid_value(here, name, "resource group name can't contain '/'"))
            if not _LABEL.fullmatch(name):
                found.append(invalid_value(here, name, _QUALIFIED))
    strategy = args.get("scoringStrategy")
    if strategy is None:
        return found
    here, kind = f"{path}.scoringStrategy", strategy.get("type", "LeastAllocated")
    if kind not in STRATEGIES:
        found.append(not_supported(f"{here}.type", kind, STRATEGIES))
    for at, resource in enumerate(strategy.get("resources") or ()):
        weight = resource.get("weight") or 1
        if not isinstance(weight, int) or not 0 < weight <= 100:
            words = f"resource weight of {resource.get('name')} not in valid range (0, 100]"
            found.append(invalid_value(f"{here}.resources[{at}].weight", weight, words))
    ratio = strategy.get("requestedToCapacityRatio")
    if kind == "RequestedToCapacityRatio":
        if ratio is None:
            words = "must be specified when type is RequestedToCapacityRatio"
            found.append(required(f"{here}.requestedToCapacityRatio", words))
        else:
            found += _shape(ratio.get("shape") or (), f"{here}.requestedToCapacityRatio.shape")
    elif ratio is not None:
        words = "must be nil when type is not RequestedToCapacityRatio"
        found.append(forbidden_field(f"{here}.requestedToCapacityRatio", words))
    return found


def _shape(points: Sequence[Mapping[str, Any]], path: str) -> list[FieldError]:
    if not points:
        return [required(path, "at least one point must be specified")]
    found: list[FieldError] = []
    for at in range(1, len(points)):
        if points[at - 1].get("utilization", 0) >= points[at].get("utilization", 0):
            words = "values must be sorted in increasing order"
            found.append(invalid_value(f"{path}[{at}].utilization", points[at].get("utilization", 0), words))
            break
    for at, point in enumerate(points):
        for field, high in (("utilization", 100), ("score", 10)):
            value = point.get(field, 0)
            if not isinstance(value, int) or not 0 <= value <= high:
                found.append(invalid_value(f"{path}[{at}].{field}", value, f"not in valid range [0, {high}]"))
    return found


def _spread(args: Args, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    constraints = args.get("defaultConstraints") or ()
    kind = args.get("defaultingType") or "System"
    if kind not in ("System", "List"):
        found.append(not_supported(f"{path}.defaultingType", kind, ("System", "List")))
    elif kind == "System" and constraints:
        found.append(invalid_value(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
    seen: set[tuple[str, str]] = set()
    for at, constraint in enumerate(constraints):
        here = f"{path}.defaultConstraints[{at}]"
        found += _constraint(constraint, here)
        pair = (constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or "")
        if pair in seen:
            found.append(duplicate(here, f"{{{pair[0]}, {pair[1]}}}"))
        seen.add(pair)
    return found


def _constraint(constraint: Mapping[str, Any], path: str) -> list[FieldError]:
    found: list[FieldError] = []
    skew, key, action = (constraint.get(f) for f in ("maxSkew", "topologyKey", "whenUnsatisfiable"))
    if not isinstance(skew, int) or skew <= 0:
        found.append(invalid_value(f"{path}.maxSkew", skew or 0, "not in valid range (0, inf)"))
    if not key:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    elif not _LABEL.fullmatch(key):
        found.append(invalid_value(f"{path}.topologyKey", key, _QUALIFIED))
    if not action:
        found.append(required(f"{path}.whenUnsatisfiable", "can not be empty"))
    elif action not in ("DoNotSchedule", "ScheduleAnyway"):
        found.append(not_supported(f"{path}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway")))
    if constraint.get("labelSelector") is not None:
        words = "constraint must not define a selector, as they deduced for each pod"
        found.append(forbidden_field(f"{path}.labelSelector", words))
    return found


def _volume_binding(args: Args, path: str) -> list[FieldError]:
    words = "invalid BindTimeoutSeconds, should not be a negative value"
    found = _ranged(args, "bindTimeoutSeconds", 600, path, 0, None, words)
    if args.get("shape") is not None:
        words = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        found.append(invalid_value(f"{path}.shape", args["shape"], words))
    return found


_CHECKS: dict[str, tuple[tuple[str, ...], Callable[[Args, str], list[FieldError]]]] = {
    "DefaultPreemption": (("minCandidateNodesPercentage", "minCandidateNodesAbsolute"), _preemption),
    "InterPodAffinity": (("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"), _inter_pod),
    "NodeAffinity": (("addedAffinity",), _node_affinity),
    "NodeResourcesBalancedAllocation": (("resources",), _balanced),
    "NodeResourcesFit": (("ignoredResources", "ignoredResourceGroups", "scoringStrategy"), _fit),
    "PodTopologySpread": (("defaultConstraints", "defaultingType"), _spread),
    "VolumeBinding": (("bindTimeoutSeconds", "shape"), _volume_binding),
}
