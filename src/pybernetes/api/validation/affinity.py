"""Where a pod may run: node selectors, affinity, tolerations, taints, topology spread.

Specified by "Assigning Pods to Nodes", "Taints and Tolerations" and "Pod Topology Spread Constraints".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from .amounts import NOT_POSITIVE_WORDS
from .errors import Errors, Obj, at, invalid_each
from .formats import (
    decimal_integer_problems,
    dns_label_problems,
    dns_subdomain_problems,
    label_value_problems,
    qualified_name_problems,
)
from .meta import validate_label_name, validate_label_selector
from .options import PodOptions

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _requirement(requirement: Obj, path: str, lax_values: bool) -> Errors:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    found: Errors = []
    if operator in ("In", "NotIn"):
        if not values:
            found.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(forbidden_field(f"{path}.values", words))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            words = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            found.append(required(f"{path}.values", words))
    else:
        found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    found += validate_label_name(requirement.get("key") or "", f"{path}.key")
    if not lax_values:
        for i, value in enumerate(values):
            found += invalid_each(f"{path}.values[{i}]", value, label_value_problems(value))
    return found


def _field_requirement(requirement: Obj, path: str) -> Errors:
    operator, key = requirement.get("operator") or "", requirement.get("key") or ""
    values = requirement.get("values") or []
    found: Errors = []
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            found.append(required(f"{path}.values", words))
    else:
        found.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    if key != "metadata.name":
        found.append(invalid_value(f"{path}.key", key, "not a valid field selector key"))
    else:
        for i, value in enumerate(values):
            found += invalid_each(f"{path}.values[{i}]", value, dns_subdomain_problems(value))
    return found


def node_selector_term(term: Obj, path: str, lax_values: bool) -> Errors:
    found: Errors = []
    for i, requirement in enumerate(term.get("matchExpressions") or ()):
        found += _requirement(requirement, f"{path}.matchExpressions[{i}]", lax_values)
    for i, requirement in enumerate(term.get("matchFields") or ()):
        found += _field_requirement(requirement, f"{path}.matchFields[{i}]")
    return found


def node_selector(selector: Obj, path: str, lax_values: bool = False) -> Errors:
    """A required node selector: at least one term, any of which admits a node."""
    terms, where = selector.get("nodeSelectorTerms") or [], at(path, "nodeSelectorTerms")
    if not terms:
        return [required(where, "must have at least one node selector term")]
    return [e for i, term in enumerate(terms) for e in node_selector_term(term, f"{where}[{i}]", lax_values)]


def has_invalid_values(selector: Mapping[str, Any] | None) -> bool:
    """Whether a stored node selector holds label values that are refused today."""
    terms = (selector or {}).get("nodeSelectorTerms") or ()
    return any(
        label_value_problems(value)
        for term in terms
        for expression in term.get("matchExpressions") or ()
        for value in expression.get("values") or ()
    )


def _weight(term: Obj, path: str) -> Errors:
    weight = term.get("weight") or 0
    return [] if 1 <= weight <= 100 else [invalid_value(f"{path}.weight", weight, "must be in the range 1-100")]


def validate_affinity(affinity: Obj | None, path: str, options: PodOptions) -> Errors:
    if affinity is None:
        return []
    found: Errors = []
    nodes = affinity.get("nodeAffinity")
    if nodes is not None:
        here = at(path, "nodeAffinity")
        if nodes.get(REQUIRED) is not None:
            found += node_selector(nodes[REQUIRED], at(here, REQUIRED), options.lax_node_affinity)
        for i, term in enumerate(nodes.get(PREFERRED) or ()):
            where = f"{at(here, PREFERRED)}[{i}]"
            found += _weight(term, where)
            found += node_selector_term(term.get("preference") or {}, f"{where}.preference", True)
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind)
        if rules is None:
            continue
        here = at(path, kind)
        for i, term in enumerate(rules.get(REQUIRED) or ()):
            found += _pod_term(term, f"{at(here, REQUIRED)}[{i}]", options.lax_selectors)
        for i, term in enumerate(rules.get(PREFERRED) or ()):
            where = f"{at(here, PREFERRED)}[{i}]"
            found += _weight(term, where)
            found += _pod_term(term.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm", options.lax_selectors)
    return found


def pod_term_selectors(term: Obj, path: str, lax_values: bool) -> Errors:
    found = validate_label_selector(term.get("labelSelector"), at(path, "labelSelector"), lax_values=lax_values)
    selector = term.get("namespaceSelector")
    return found + validate_label_selector(selector, at(path, "namespaceSelector"), lax_values=lax_values)


def _pod_term(term: Obj, path: str, lax_values: bool) -> Errors:
    found = pod_term_selectors(term, path, lax_values)
    for name in term.get("namespaces") or ():
        found += invalid_each(f"{path}.namespace", name, dns_label_problems(name))
    found += match_label_keys(
        path, term.get("matchLabelKeys") or [], term.get("mismatchLabelKeys") or [], term.get("labelSelector")
    )
    key = term.get("topologyKey") or ""
    if not key:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    return found + validate_label_name(key, f"{path}.topologyKey")


def match_label_keys(path: str, match: Sequence[str], mismatch: Sequence[str], selector: Obj | None) -> Errors:
    """Keys whose values the server takes from the pod's own labels."""
    found: Errors = []
    for field, keys in (("matchLabelKeys", match), ("mismatchLabelKeys", mismatch)):
        if not keys:
            continue
        if selector is None:
            found.append(forbidden_field(at(path, field), "must not be specified when labelSelector is not set"))
        else:
            for i, key in enumerate(keys):
                found += validate_label_name(key, f"{at(path, field)}[{i}]")
    if selector is not None:
        places = {key: i for i, key in enumerate(match)}
        known = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in places and key in known:
                words = "exists in both matchLabelKeys and labelSelector"
                found.append(invalid_value(f"{path}[{places[key]}]", key, words))
            known.add(key)
    for i, key in enumerate(match):
        if key in mismatch:
            words = "exists in both matchLabelKeys and mismatchLabelKeys"
            found.append(invalid_value(f"{at(path, 'matchLabelKeys')}[{i}]", key, words))
    return found


def _legacy_match_label_keys(path: str, keys: Sequence[str], selector: Obj | None) -> Errors:
    if not keys:
        return []
    found: Errors = []
    known: set[str] = set()
    if selector is None:
        found.append(forbidden_field(path, "must not be specified when labelSelector is not set"))
    else:
        known = {*(selector.get("matchLabels") or ())}
        known |= {e.get("key") or "" for e in selector.get("matchExpressions") or ()}
    for i, key in enumerate(keys):
        found += validate_label_name(key, f"{path}[{i}]")
        if key in known:
            words = "exists in both matchLabelKeys and labelSelector"
            found.append(invalid_value(f"{path}[{i}]", key, words))
    return found


_UNSATISFIABLE, _INCLUSION = ("DoNotSchedule", "ScheduleAnyway"), ("Honor", "Ignore")


def validate_spread(constraints: list[Obj], path: str, options: PodOptions) -> Errors:
    """Topology spread constraints."""
    found: Errors = []
    for i, constraint in enumerate(constraints):
        found += _spread(constraint, constraints[i + 1 :], f"{path}[{i}]", options)
    return found


def _spread(constraint: Obj, later: list[Obj], path: str, options: PodOptions) -> Errors:
    found: Errors = []
    skew, key = constraint.get("maxSkew") or 0, constraint.get("topologyKey") or ""
    action, domains = constraint.get("whenUnsatisfiable") or "", constraint.get("minDomains")
    if skew <= 0:
        found.append(invalid_value(f"{path}.maxSkew", skew, NOT_POSITIVE_WORDS))
    if not key:
        found.append(required(f"{path}.topologyKey", "can not be empty"))
    if action not in _UNSATISFIABLE:
        found.append(not_supported(f"{path}.whenUnsatisfiable", action, _UNSATISFIABLE))
    if any((o.get("topologyKey") or "", o.get("whenUnsatisfiable") or "") == (key, action) for o in later):
        found.append(duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
    if domains is not None:
        if domains <= 0:
            found.append(invalid_value(f"{path}.minDomains", domains, NOT_POSITIVE_WORDS))
        if action != "DoNotSchedule":
            words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            found.append(invalid_value(f"{path}.minDomains", domains, words))
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = constraint.get(field)
        if policy is not None and policy not in _INCLUSION:
            found.append(not_supported(f"{path}.{field}", policy, _INCLUSION))
    keys, selector = constraint.get("matchLabelKeys") or [], constraint.get("labelSelector")
    if options.lax_match_label_keys:
        found += _legacy_match_label_keys(f"{path}.matchLabelKeys", keys, selector)
    else:
        found += match_label_keys(path, keys, [], selector)
    if not options.lax_spread_selectors:
        found += validate_label_selector(selector, f"{path}.labelSelector")
    return found


def validate_tolerations(tolerations: list[Obj], path: str, comparing: bool) -> Errors:
    """``comparing``: operators Lt and Gt are allowed (a gate that is off by default in v1.36)."""
    found: Errors = []
    for i, toleration in enumerate(tolerations):
        here, key, value = f"{path}[{i}]", toleration.get("key") or "", toleration.get("value") or ""
        operator, effect = toleration.get("operator") or "", toleration.get("effect") or ""
        if key:
            found += validate_label_name(key, f"{here}.key")
        elif operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(invalid_value(f"{here}.operator", operator, words))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(invalid_value(f"{here}.effect", effect, words))
        found += _toleration_value(operator, value, here, comparing)
        if effect and effect not in TAINT_EFFECTS:
            found.append(not_supported(f"{here}.effect", effect, TAINT_EFFECTS))
    return found


def _toleration_value(operator: str, value: str, path: str, comparing: bool) -> Errors:
    if operator in ("Equal", ""):
        problems = label_value_problems(value)
        return [invalid_value(f"{path}.operator", value, ";".join(problems))] if problems else []
    if operator == "Exists":
        words = "value must be empty when `operator` is 'Exists'"
        return [invalid_value(f"{path}.operator", value, words)] if value else []
    if operator not in ("Lt", "Gt"):
        return [not_supported(f"{path}.operator", operator, ("Equal", "Exists"))]
    if not comparing:
        return [not_supported(f"{path}.operator", operator, ("Equal", "Exists", "Lt", "Gt"))]
    return invalid_each(f"{path}.value", value, decimal_integer_problems(value))


def validate_taints(taints: list[Obj], path: str) -> Errors:
    """Taints of a node: unique by key and effect."""
    found: Errors = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        here, key, effect = f"{path}[{i}]", taint.get("key") or "", taint.get("effect") or ""
        value = taint.get("value") or ""
        found += validate_label_name(key, f"{here}.key")
        problems = label_value_problems(value)
        if problems:
            found.append(invalid_value(f"{here}.value", value, ";".join(problems)))
        if not effect:
            found.append(required(f"{here}.effect"))
        elif effect not in TAINT_EFFECTS:
            found.append(not_supported(f"{here}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            shown = {"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint.get("timeAdded")}
            error = duplicate(here, shown)
            words = "taints must be unique by key and effect pair"
            found.append(FieldError(here, error.reason, f"{error.body}: {words}"))
        seen.add((key, effect))
    return found


def qualified(name: str, path: str) -> Errors:
    return invalid_each(path, name, qualified_name_problems(name))
