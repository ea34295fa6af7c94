"""Roles and their bindings."""

from __future__ import annotations

from ..errors import invalid_value, not_supported, required
from .errors import Errors, Obj, go_struct, invalid_each
from .formats import dns_subdomain_problems, path_segment_problems
from .kube_meta import validate_meta, validate_meta_update
from .meta import has_invalid_label_value, path_segment_name, validate_label_selector

GROUP = "rbac.authorization.k8s.io"


def policy_rule(rule: Obj, path: str, namespaced: bool) -> Errors:
    found: Errors = []
    if not rule.get("verbs"):
        found.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls, here = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    if urls:
        if namespaced:
            found.append(invalid_value(here, urls, "namespaced rules cannot apply to non-resource URLs"))
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            words = "rules cannot apply to both regular resources and non-resource URLs"
            found.append(invalid_value(here, urls, words))
        return found
    if not rule.get("apiGroups"):
        found.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        found.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return found


def _rules(role: Obj, namespaced: bool) -> Errors:
    rules = role.get("rules") or ()
    return [e for i, rule in enumerate(rules) for e in policy_rule(rule, f"rules[{i}]", namespaced)]


def _role(role: Obj) -> Errors:
    return validate_meta(role.get("metadata") or {}, True, path_segment_name) + _rules(role, True)


def _role_update(new: Obj, old: Obj) -> Errors:
    return _role(new) + validate_meta_update(new, old)


def _aggregated(role: Obj) -> list[Obj]:
    return (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []


def _cluster_role(role: Obj, lax: bool = False) -> Errors:
    found = validate_meta(role.get("metadata") or {}, False, path_segment_name) + _rules(role, False)
    path = "aggregationRule.clusterRoleSelectors"
    if role.get("aggregationRule") is not None and not _aggregated(role):
        words = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        found.append(required(path, words))
    for i, selector in enumerate(_aggregated(role)):
        here = f"{path}[{i}]"
        found += validate_label_selector(selector, here, lax_values=lax)
        if validate_label_selector(selector, ""):
            # Upstream prints the selector it failed to make.
            found.append(invalid_value(here, None, "invalid label selector."))
    return found


def _cluster_role_create(role: Obj) -> Errors:
    return _cluster_role(role)


def _cluster_role_update(new: Obj, old: Obj) -> Errors:
    lax = any(has_invalid_label_value(selector) for selector in _aggregated(old))
    return _cluster_role(new, lax) + validate_meta_update(new, old)


def _binding(binding: Obj, namespaced: bool) -> Errors:
    found = validate_meta(binding.get("metadata") or {}, namespaced, path_segment_name)
    role = binding.get("roleRef") or {}
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if role.get("apiGroup") != GROUP:
        found.append(not_supported("roleRef.apiGroup", role.get("apiGroup") or "", (GROUP,)))
    if role.get("kind") not in kinds:
        found.append(not_supported("roleRef.kind", role.get("kind") or "", kinds))
    name = role.get("name") or ""
    found += invalid_each("roleRef.name", name, path_segment_problems(name)) if name else [required("roleRef.name")]
    for i, subject in enumerate(binding.get("subjects") or ()):
        found += _subject(subject, f"subjects[{i}]", namespaced)
    return found


def _subject(subject: Obj, path: str, namespaced: bool) -> Errors:
    name, kind, group = subject.get("name") or "", subject.get("kind") or "", subject.get("apiGroup") or ""
    found = [] if name else [required(f"{path}.name")]
    if kind == "ServiceAccount":
        if name:
            found += invalid_each(f"{path}.name", name, dns_subdomain_problems(name))
        if group:
            found.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            found.append(required(f"{path}.namespace"))
    elif kind not in ("User", "Group"):
        found.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    elif group != GROUP:
        found.append(not_supported(f"{path}.apiGroup", group, (GROUP,)))
    return found


def _role_binding(binding: Obj) -> Errors:
    return _binding(binding, True)


def _cluster_role_binding(binding: Obj) -> Errors:
    return _binding(binding, False)


def _same_role(new: Obj, old: Obj) -> Errors:
    shown, before = (go_struct(o.get("roleRef") or {}, "apiGroup:APIGroup kind name") for o in (new, old))
    return [] if shown == before else [invalid_value("roleRef", shown, "cannot change roleRef")]


def _role_binding_update(new: Obj, old: Obj) -> Errors:
    return _binding(new, True) + validate_meta_update(new, old) + _same_role(new, old)


def _cluster_role_binding_update(new: Obj, old: Obj) -> Errors:
    return _binding(new, False) + validate_meta_update(new, old) + _same_role(new, old)


CREATE = {
    (GROUP, "roles"): _role,
    (GROUP, "clusterroles"): _cluster_role_create,
    (GROUP, "rolebindings"): _role_binding,
    (GROUP, "clusterrolebindings"): _cluster_role_binding,
}
UPDATE = {
    (GROUP, "roles", ""): _role_update,
    (GROUP, "clusterroles", ""): _cluster_role_update,
    (GROUP, "rolebindings", ""): _role_binding_update,
    (GROUP, "clusterrolebindings", ""): _cluster_role_binding_update,
}
