"""Admission webhooks and policies: rules, client configurations, expressions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..cel_words import KEYWORDS
from ..errors import FieldError, duplicate, forbidden_field, go_quote, invalid_value, not_supported, required, too_many
from .errors import Errors, Obj, invalid_each
from .formats import (
    dns_1035_label_problems,
    dns_subdomain_problems,
    path_segment_problems,
    port_number_problems,
    qualified_name_problems,
)
from .kube_meta import validate_meta
from .meta import has_invalid_label_value, subdomain_name, validate_conditions, validate_label_selector

if TYPE_CHECKING:
    from ..cel import Environment, Program

_GROUP = "admissionregistration.k8s.io"
_POLICIES, _MATCHES = ("Fail", "Ignore"), ("Equivalent", "Exact")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
_REINVOCATIONS = ("IfNeeded", "Never")
_MUTABLE_OPERATIONS = ("CREATE", "UPDATE")
_MUTATIONS = {
    "ApplyConfiguration": ("applyConfiguration", "Object"),
    "JSONPatch": ("jsonPatch", "list(JSONPatch)"),
}
"""patchType to the field that goes with it and the type of its expression."""
_REVIEWS = ("v1", "v1beta1")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_ACTIONS = ("Audit", "Deny", "Warn")
MAX_CONDITIONS = 64
MAX_ANNOTATIONS = 20
MAX_ANNOTATION_EXPRESSION = 5 * 1024
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


def _one_of(obj: Obj, path: str, field: str, allowed: tuple[str, ...]) -> Errors:
    value = obj.get(field)
    return [not_supported(f"{path}.{field}", value, allowed)] if value is not None and value not in allowed else []


# -- rules -------------------------------------------------------------------------------------------------------------


def _star_alone(rule: Obj, path: str, field: str, what: str) -> Errors:
    values = rule.get(field) or []
    if len(values) > 1 and "*" in values:
        return [invalid_value(f"{path}.{field}", values, f"if '*' is present, must not specify other {what}")]
    return []


def _rule(rule: Obj, path: str, operations: tuple[str, ...] = _OPERATIONS) -> Errors:
    found = [] if rule.get("operations") else [required(f"{path}.operations")]
    found += _star_alone(rule, path, "operations", "operations")
    for i, operation in enumerate(rule.get("operations") or ()):
        if operation not in operations:
            found.append(not_supported(f"{path}.operations[{i}]", operation, operations))
    found += [] if rule.get("apiGroups") else [required(f"{path}.apiGroups")]
    found += _star_alone(rule, path, "apiGroups", "API groups")
    found += [] if rule.get("apiVersions") else [required(f"{path}.apiVersions")]
    found += _star_alone(rule, path, "apiVersions", "API versions")
    found += [required(f"{path}.apiVersions[{i}]") for i, v in enumerate(rule.get("apiVersions") or ()) if not v]
    found += _resources(rule.get("resources") or [], f"{path}.resources")
    return found + _one_of(rule, path, "scope", _SCOPES)


def _resources(resources: list[str], path: str) -> Errors:
    if not resources:
        return [required(path)]
    found: Errors = []
    all_of: set[str] = set()
    everywhere: set[str] = set()
    plain = False
    for i, entry in enumerate(resources):
        if not entry:
            found.append(required(f"{path}[{i}]"))
            continue
        resource, slash, sub = entry.partition("/")
        if not slash:
            plain = entry != "*"
            continue
        if resource in all_of:
            found.append(
                invalid_value(f"{path}[{i}]", entry, f"if '{resource}/*' is present, must not specify {entry}")
            )
        if sub in everywhere:
            found.append(invalid_value(f"{path}[{i}]", entry, f"if '*/{sub}' is present, must not specify {entry}"))
        if sub == "*":
            all_of.add(resource)
        if resource == "*":
            everywhere.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        found.append(invalid_value(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        words = "if '*' is present, must not specify other resources without subresources"
        found.append(invalid_value(path, resources, words))
    return found


# -- expressions -------------------------------------------------------------------------------------------------------


def _compiled(known: Environment, text: str, path: str) -> Program | Errors:
    from ..cel import CompileError
    from ..cel.program import ProgramError

    try:
        return known.compile(text)
    except (CompileError, ProgramError) as failure:
        return [invalid_value(path, text, f"compilation failed: {failure}")]


_TYPE_NAMES = {"null": "null_type"}
Variables = dict[str, Any]
"""The types of a policy's variables, by name, in their order."""


def _expression(
    text: str,
    path: str,
    wanted: tuple[str, ...],
    *,
    params: bool,
    authorizer: bool = True,
    variables: Variables | None = None,
) -> Errors:
    """Compiles it. ``wanted`` are kinds of types; nothing is any."""
    from ..expressions import declared, environment

    known = declared(environment(params=params, authorizer=authorizer), variables or {})
    program = _compiled(known, text, path)
    if isinstance(program, list):
        return program
    if wanted and program.type.kind not in (*wanted, "dyn"):
        names = [_TYPE_NAMES.get(kind, kind) for kind in wanted]
        expected = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
        return [invalid_value(path, text, f"must evaluate to {expected} but got {program.type}")]
    return []


def _conditions(conditions: list[Obj], path: str, *, params: bool) -> Errors:
    found: Errors = []
    if len(conditions) > MAX_CONDITIONS:
        found.append(too_many(path, len(conditions), MAX_CONDITIONS))
    names: set[str] = set()
    for i, condition in enumerate(conditions):
        at = f"{path}[{i}]"
        text = (condition.get("expression") or "").strip()
        found += _expression(text, f"{at}.expression", ("bool",), params=params) if text else [
            required(f"{at}.expression")
        ]  # fmt: skip
        name = condition.get("name") or ""
        if not name:
            found.append(required(f"{at}.name"))
            continue
        found += invalid_each(f"{at}.name", name, qualified_name_problems(name))
        if name in names:
            found.append(duplicate(f"{at}.name", name))
        names.add(name)
    return found


# -- webhooks ----------------------------------------------------------------------------------------------------------


def _hook_name(name: str, path: str) -> Errors:
    if not name:
        return [required(path)]
    found = invalid_each(path, name, dns_subdomain_problems(name))
    if not found and len(name.split(".")) < 3:
        found.append(invalid_value(path, name, "should be a domain with at least three segments separated by dots"))
    return found


def _client(config: Obj, path: str) -> Errors:
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    return _url(url, f"{path}.url") if url is not None else _service(service or {}, f"{path}.service")


def _url(url: str, path: str) -> Errors:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as failure:
        return [required(path, f"url must be a valid URL: {failure}{form}")]
    found: Errors = []
    if parts.scheme != "https":
        found.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    user, _, host = parts.netloc.rpartition("@")
    if not host:
        found.append(invalid_value(path, "", f"host must be specified{form}"))
    if user:
        found.append(invalid_value(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid_value(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid_value(path, parts.query, "query parameters are not permitted in the URL"))
    return found


_SWAPPED = (("name", "namespace"), ("namespace", "name"))


def _service(service: Obj, path: str) -> Errors:
    # Upstream hands over name and namespace in the other order, so each is asked for in the other's place.
    found = [required(f"{path}.{f}") for f, given in _SWAPPED if not service.get(given)]
    port = service.get("port", 443)
    problems = port_number_problems(port)
    if problems:
        found.append(invalid_value(f"{path}.port", port, f"port is not valid: {', '.join(problems)}"))
    url_path = service.get("path")
    if url_path in (None, "", "/"):
        return found
    at = f"{path}.path"
    if url_path == "//":
        return [*found, invalid_value(at, url_path, "segment[0] may not be empty")]
    if not url_path.startswith("/"):
        found.append(invalid_value(at, url_path, "must start with a '/'"))
    for i, step in enumerate(url_path[1:].removesuffix("/").split("/")):
        if not step:
            found.append(invalid_value(at, url_path, f"segment[{i}] may not be empty"))
            continue
        found += [invalid_value(at, url_path, f"segment[{i}]: {p}") for p in dns_subdomain_problems(step)]
    return found


def _reviews(versions: list[str], path: str, known_needed: bool) -> Errors:
    if not versions:
        return [required(path, f"must specify one of {', '.join(_REVIEWS)}")]
    found: Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            found.append(invalid_value(f"{path}[{i}]", version, "duplicate version"))
            continue
        found += invalid_each(f"{path}[{i}]", version, dns_1035_label_problems(version))
    if known_needed and not any(v in _REVIEWS for v in versions):
        found.append(invalid_value(path, versions, f"must include at least one of {', '.join(_REVIEWS)}"))
    return found


def _hook(hook: Obj, path: str, before: list[Obj]) -> Errors:
    """``before`` is what was stored: what was good enough for that is good enough still."""
    found = _hook_name(hook.get("name") or "", f"{path}.name")
    for i, rule in enumerate(hook.get("rules") or ()):
        found += _rule(rule, f"{path}.rules[{i}]")
    found += _one_of(hook, path, "failurePolicy", _POLICIES) + _one_of(hook, path, "matchPolicy", _MATCHES)
    side_effects = (
        _SIDE_EFFECTS if any(h.get("sideEffects") not in _NO_SIDE_EFFECTS for h in before) else _NO_SIDE_EFFECTS
    )
    if hook.get("sideEffects") is None:
        found.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(side_effects)}"))
    found += _one_of(hook, path, "sideEffects", side_effects)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        words = "the timeout value must be between 1 and 30 seconds"
        found.append(invalid_value(f"{path}.timeoutSeconds", seconds, words))
    selectors = ("namespaceSelector", "objectSelector")
    lax = any(has_invalid_label_value(h.get(s)) for h in before for s in selectors)
    for field in selectors:
        if hook.get(field) is not None:
            found += validate_label_selector(hook[field], f"{path}.{field}", lax_values=lax)
    found += _one_of(hook, path, "reinvocationPolicy", _REINVOCATIONS)
    return found + _client(hook.get("clientConfig") or {}, f"{path}.clientConfig")


def _webhooks(obj: Obj, old: Obj | None = None) -> Errors:
    found = validate_meta(obj.get("metadata") or {}, False, subdomain_name) if old is None else []
    before: list[Obj] = (old or {}).get("webhooks") or []
    known_needed = all(
        not h.get("admissionReviewVersions") or any(v in _REVIEWS for v in h["admissionReviewVersions"]) for h in before
    )
    earlier_names = [h.get("name") for h in before]
    unique_needed = len(set(earlier_names)) == len(earlier_names)
    hooks: list[Obj] = obj.get("webhooks") or []
    same = old is not None and [h.get("matchConditions") for h in hooks] == [h.get("matchConditions") for h in before]
    names: set[str] = set()
    for i, hook in enumerate(hooks):
        path = f"webhooks[{i}]"
        found += _hook(hook, path, before)
        if not same:
            found += _conditions(hook.get("matchConditions") or [], f"{path}.matchConditions", params=False)
        found += _reviews(hook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions", known_needed)
        name = hook.get("name") or ""
        if unique_needed and name:
            if name in names:
                found.append(duplicate(f"{path}.name", name))
            names.add(name)
    return found


# -- policies ----------------------------------------------------------------------------------------------------------


def _match_resources(match: Obj, path: str, operations: tuple[str, ...] = _OPERATIONS) -> Errors:
    found = _given(match, path, "matchPolicy", _MATCHES)
    for field in ("namespaceSelector", "objectSelector"):
        selector = match.get(field)
        found += [required(f"{path}.{field}")] if selector is None else validate_label_selector(
            selector, f"{path}.{field}"
        )  # fmt: skip
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            at = f"{path}.{field}[{i}]"
            names = rule.get("resourceNames") or []
            for j, name in enumerate(names):
                found += invalid_each(f"{at}.resourceNames[{j}]", name, path_segment_problems(name))
                if name in names[:j]:
                    found.append(duplicate(f"{at}.resourceNames[{j}]", name))
            found += _rule(rule, at, operations)
    return found


def _given(obj: Obj, path: str, field: str, allowed: tuple[str, ...]) -> Errors:
    return [required(f"{path}.{field}")] if obj.get(field) is None else _one_of(obj, path, field, allowed)


def _param_kind(kind: Obj, path: str) -> Errors:
    found: Errors = []
    version = kind.get("apiVersion") or ""
    at = f"{path}.apiVersion"
    if not version:
        found.append(required(at))
    elif version.count("/") > 1:
        found.append(invalid_value(at, version, f"unexpected GroupVersion string: {version}"))
    else:
        group, _, number = version.rpartition("/")
        problems = dns_subdomain_problems(group) if group else []
        found += [invalid_value(at, group, ",".join(problems))] if problems else []
        problems = dns_1035_label_problems(number) if number else []
        if not number:
            found.append(invalid_value(at, version, "version must be specified"))
        found += [invalid_value(at, number, ",".join(problems))] if problems else []
    name = kind.get("kind") or ""
    problems = dns_1035_label_problems(name.lower()) if name else []
    if not name:
        found.append(required(f"{path}.kind"))
    if problems:
        words = "may have mixed case, but should otherwise match: " + ",".join(problems)
        found.append(invalid_value(f"{path}.kind", name, words))
    return found


def _validation(validation: Obj, path: str, variables: Variables, *, params: bool) -> Errors:
    found: Errors = []
    text, message = validation.get("expression") or "", validation.get("message") or ""
    if text.strip():
        found += _expression(text, f"{path}.expression", ("bool",), params=params, variables=variables)
    else:
        found.append(required(f"{path}.expression", "expression is not specified"))
    words = validation.get("messageExpression") or ""
    at = f"{path}.messageExpression"
    if words and not words.strip():
        found.append(invalid_value(at, words, "must be non-empty if specified"))
    elif words:
        found += _expression(words, at, ("string",), params=params, authorizer=False, variables=variables)
    if message and not message.strip():
        found.append(invalid_value(f"{path}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        found.append(invalid_value(f"{path}.message", message, "must not contain line breaks"))
    return found + _one_of(validation, path, "reason", _REASONS)


def _variables(variables: list[Obj], path: str, *, params: bool) -> tuple[Errors, Variables]:
    """What is wrong with them, and their types: each may use those before it."""
    from ..cel import celtypes
    from ..expressions import declared, environment

    found: Errors = []
    known: Variables = {}
    for i, variable in enumerate(variables):
        at, name = f"{path}[{i}]", variable.get("name") or ""
        if not name.strip():
            found.append(required(f"{at}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in KEYWORDS:
            found.append(invalid_value(f"{at}.name", name, "must be a valid CEL identifier"))
        text = variable.get("expression") or ""
        known[name] = celtypes.DYN
        if not text.strip():
            found.append(required(f"{at}.expression", "expression is not specified"))
            continue
        before = {k: v for k, v in known.items() if k != name}
        program = _compiled(declared(environment(params=params, authorizer=True), before), text, f"{at}.expression")
        if isinstance(program, list):
            found += program
        else:
            known[name] = program.type
    return found, known


def _annotations(annotations: list[Obj], policy: str, path: str, variables: Variables, *, params: bool) -> Errors:
    found: Errors = []
    if len(annotations) > MAX_ANNOTATIONS:
        words = f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"
        found.append(invalid_value(path, annotations, words))
    keys: set[str] = set()
    for i, annotation in enumerate(annotations):
        at, key, text = f"{path}[{i}]", annotation.get("key") or "", annotation.get("valueExpression") or ""
        full = f"{policy}/{key}" if policy else key
        found += invalid_each(f"{at}.key", full, qualified_name_problems(full))
        if not text.strip():
            found.append(required(f"{at}.valueExpression", "valueExpression is not specified"))
        elif len(text.encode()) > MAX_ANNOTATION_EXPRESSION:
            words = f"must not exceed {MAX_ANNOTATION_EXPRESSION} bytes in length"
            found.append(required(f"{at}.valueExpression", words))
        else:
            wanted = ("string", "null")
            found += _expression(text, f"{at}.valueExpression", wanted, params=params, variables=variables)
        if key in keys:
            found.append(duplicate(f"{at}.key", key))
        keys.add(key)
    return found


def _validating_policy(obj: Obj, old: Obj | None = None) -> Errors:
    found = validate_meta(obj.get("metadata") or {}, False, subdomain_name) if old is None else []
    spec: Obj = obj.get("spec") or {}
    if old is not None and spec == old.get("spec"):
        return found
    found += _given(spec, "spec", "failurePolicy", _POLICIES)
    kind = spec.get("paramKind")
    params = kind is not None
    found += _param_kind(kind, "spec.paramKind") if kind is not None else []
    found += _constraints(spec, _OPERATIONS)
    found += _conditions(spec.get("matchConditions") or [], "spec.matchConditions", params=params)
    errors, variables = _variables(spec.get("variables") or [], "spec.variables", params=params)
    found += errors
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        words = "validations or auditAnnotations must contain at least one item"
        return [*found, required("spec.validations", words), required("spec.auditAnnotations", words)]
    for i, validation in enumerate(validations):
        found += _validation(validation, f"spec.validations[{i}]", variables, params=params)
    name = (obj.get("metadata") or {}).get("name") or ""
    return found + _annotations(annotations, name, "spec.auditAnnotations", variables, params=params)


def _mutating_policy(obj: Obj, old: Obj | None = None) -> Errors:
    found = validate_meta(obj.get("metadata") or {}, False, subdomain_name) if old is None else []
    spec: Obj = obj.get("spec") or {}
    if old is not None and spec == old.get("spec"):
        return found
    found += _given(spec, "spec", "failurePolicy", _POLICIES)
    kind = spec.get("paramKind")
    params = kind is not None
    found += _param_kind(kind, "spec.paramKind") if kind is not None else []
    found += _constraints(spec, _OPERATIONS)
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        at = "spec.matchConstraints.resourceRules.operations"
        operations = rule.get("operations") or ()
        found += [not_supported(at, o, _MUTABLE_OPERATIONS) for o in operations if o not in _MUTABLE_OPERATIONS]
    found += _conditions(spec.get("matchConditions") or [], "spec.matchConditions", params=params)
    errors, variables = _variables(spec.get("variables") or [], "spec.variables", params=params)
    found += errors
    mutations = spec.get("mutations") or []
    if not mutations:
        found.append(required("spec.mutations", "mutations must contain at least one item"))
    for i, mutation in enumerate(mutations):
        found += _mutation(mutation, f"spec.mutations[{i}]", variables, params=params)
    return found + _given(spec, "spec", "reinvocationPolicy", _REINVOCATIONS)


def _mutation(mutation: Obj, path: str, variables: Variables, *, params: bool) -> Errors:
    kind = mutation.get("patchType") or ""
    if not kind:
        return [required(f"{path}.patchType")]
    if kind not in _MUTATIONS:
        return [not_supported(f"{path}.patchType", kind, tuple(_MUTATIONS))]
    field, wanted = _MUTATIONS[kind]
    found: Errors = []
    if mutation.get(field) is None:
        found.append(required(f"{path}.{field}", f"must be specified when patchType is {kind}"))
    else:
        found += _mutation_expression(
            mutation[field].get("expression") or "", f"{path}.{field}.expression", wanted, variables, params
        )
    for other, _ in _MUTATIONS.values():
        if other != field and mutation.get(other) is not None:
            words = f"must not be specified when patchType is {kind}"
            found.append(invalid_value(f"{path}.{other}", "{" + other + "}", words))
    return found


def _mutation_expression(text: str, path: str, wanted: str, variables: Variables, params: bool) -> Errors:
    from ..expressions import declared, mutation_environment

    text = text.strip()
    if not text:
        return [required(path)]
    program = _compiled(declared(mutation_environment(params=params), variables), text, path)
    if isinstance(program, list):
        return program
    words = f"must evaluate to {wanted} but got {program.type}"
    return [] if str(program.type) == wanted else [invalid_value(path, text, words)]


def _constraints(spec: Obj, operations: tuple[str, ...]) -> Errors:
    constraints, path = spec.get("matchConstraints"), "spec.matchConstraints"
    if constraints is None:
        return [required(path)]
    found = _match_resources(constraints, path, operations)
    return found if constraints.get("resourceRules") else [*found, required(f"{path}.resourceRules")]


def _binding(obj: Obj, old: Obj | None = None) -> Errors:
    found = validate_meta(obj.get("metadata") or {}, False, subdomain_name) if old is None else []
    spec: Obj = obj.get("spec") or {}
    name = spec.get("policyName") or ""
    found += invalid_each("spec.policyName", name, dns_subdomain_problems(name)) if name else [
        required("spec.policyName")
    ]  # fmt: skip
    if spec.get("paramRef") is not None:
        found += _param_ref(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        found += _match_resources(spec["matchResources"], "spec.matchResources")
    return found


def _validating_binding(obj: Obj, old: Obj | None = None) -> Errors:
    found = _binding(obj, old)
    actions, path = (obj.get("spec") or {}).get("validationActions") or [], "spec.validationActions"
    for i, action in enumerate(actions):
        if action not in _ACTIONS:
            found.append(not_supported(f"{path}[{i}]", action, _ACTIONS))
        if action in actions[:i]:
            found.append(duplicate(f"{path}[{i}]", action))
    if "Deny" in actions and "Warn" in actions:
        words = "repeating the same validation failure information in the API response and headers serves no purpose"
        found.append(invalid_value(path, actions, f"must not contain both Deny and Warn ({words})"))
    return found if actions else [*found, required(path, "at least one validation action is required")]


def _param_ref(reference: Obj, path: str) -> Errors:
    name, selector = reference.get("name") or "", reference.get("selector")
    both, found = "name and selector are mutually exclusive", Errors()
    if name:
        found += invalid_each(f"{path}.name", name, path_segment_problems(name))
        if selector is not None:
            found.append(forbidden_field(f"{path}.name", both))
    if selector is not None:
        found += validate_label_selector(selector, f"{path}.selector")
        if name:
            found.append(forbidden_field(f"{path}.selector", both))
    elif not name:
        found.append(required(path, "one of name or selector must be specified"))
    action, where = reference.get("parameterNotFoundAction"), f"{path}.parameterNotFoundAction"
    if not action:
        found.append(required(where))
    elif action not in ("Deny", "Allow"):
        words = f'Unsupported value: {go_quote(action)}: supported values: "Deny", "Allow"'  # in this order
        found.append(FieldError(where, "FieldValueNotSupported", words))
    return found


def _updated(check: Callable[..., Errors]) -> Callable[[Obj, Obj], Errors]:
    return lambda new, old: check(new, old)


def _policy_status(new: Obj, old: Obj) -> Errors:
    status, found = new.get("status") or {}, Errors()
    for i, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        at = f"status.typeChecking.expressionWarnings[{i}]"
        found += [required(f"{at}.{f}") for f in ("warning", "fieldRef") if not (warning.get(f) or "").strip()]
    return found + validate_conditions(status.get("conditions"), "status.conditions")


def _nothing(new: Obj, old: Obj) -> Errors:
    return []


CREATE: dict[tuple[str, str], Any] = {
    (_GROUP, "mutatingwebhookconfigurations"): _webhooks,
    (_GROUP, "validatingwebhookconfigurations"): _webhooks,
    (_GROUP, "validatingadmissionpolicies"): _validating_policy,
    (_GROUP, "validatingadmissionpolicybindings"): _validating_binding,
    (_GROUP, "mutatingadmissionpolicies"): _mutating_policy,
    (_GROUP, "mutatingadmissionpolicybindings"): _binding,
}
UPDATE: dict[tuple[str, str, str], Any] = {
    **{(*key, ""): _updated(check) for key, check in CREATE.items()},
    (_GROUP, "validatingadmissionpolicies", "status"): _policy_status,
}
