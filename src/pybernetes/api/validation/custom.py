"""Custom resource definitions, apart from their schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..cel.rules import check_rules
from ..errors import forbidden_field, go_quote, invalid_value, not_supported, required
from ..schema import compile_structural
from .custom_defaults import validate_defaults
from .custom_schema import SchemaRules, has_defaults, validate_schema
from .errors import Errors, Obj, invalid_each
from .formats import dns_1035_label_problems, dns_subdomain_problems, size
from .meta import immutable, validate_object_meta, validate_object_meta_update
from .webhook_clients import client_config, knows_review_version, review_versions

APPROVAL = "api-approved.kubernetes.io"
_COLUMN_TYPES = "boolean,date,integer,number,string"
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_PULL = "see https://github.com/kubernetes/enhancements/pull/1111"


def _joined(path: str, value: str, problems: list[str], intro: str = "") -> Errors:
    return [invalid_value(path, value, intro + ",".join(problems))] if problems else []


# Names


def _names(names: Obj, path: str) -> Errors:
    found: Errors = []
    for field in ("plural", "singular"):
        if names.get(field):
            found += _joined(f"{path}.{field}", names[field], dns_1035_label_problems(names[field]))
    for field in ("kind", "listKind"):
        if names.get(field):
            intro = "may have mixed case, but should otherwise match: "
            problems = dns_1035_label_problems(names[field].lower())
            found += _joined(f"{path}.{field}", names[field], problems, intro)
    for i, name in enumerate(names.get("shortNames") or ()):
        found += _joined(f"{path}.shortNames[{i}]", name, dns_1035_label_problems(name))
    if names.get("kind") and names["kind"] == names.get("listKind"):
        words = "kind and listKind may not be the same"
        found.append(invalid_value(f"{path}.listKind", names["kind"], words))
    for i, name in enumerate(names.get("categories") or ()):
        found += _joined(f"{path}.categories[{i}]", name, dns_1035_label_problems(name))
    return found


# Versions


def _deprecation(version: Obj, path: str) -> Errors:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    if not version.get("deprecated"):
        return [invalid_value(path, warning, "can only be set for deprecated versions")]
    problems = ["must be <= 256 characters long"] if size(warning) > 256 else []
    if not warning:
        problems.append("must not be an empty string")
    position = 0
    for char in warning:
        if not char.isprintable():
            words = "must only contain printable UTF-8 characters; non-printable character found at index"
            problems.append(f"{words} {position}")
            break
        position += size(char)
    return invalid_each(path, warning, problems)


def _simple_path(text: str, path: str) -> Errors:
    return [] if text.startswith(".") else [invalid_value(path, text, "must be a simple json path starting with .")]


def _column(column: Obj, path: str) -> Errors:
    kind, form, where = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    found = [] if column.get("name") else [required(f"{path}.name")]
    words = f"must be one of {_COLUMN_TYPES}"
    if not kind:
        found.append(required(f"{path}.type", words))
    elif kind not in _COLUMN_TYPES.split(","):
        found.append(invalid_value(f"{path}.type", kind, words))
    if form and form not in _COLUMN_FORMATS:
        found.append(invalid_value(f"{path}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    here = f"{path}.JSONPath"
    return found + (_simple_path(where, here) if where else [required(here)])


def _scale(scale: Obj, path: str) -> Errors:
    found: Errors = []
    for field, part in (("specReplicasPath", "spec"), ("statusReplicasPath", "status")):
        where, here = scale.get(field) or "", f"{path}.{field}"
        if not where:
            found.append(required(here))
            continue
        wrong = _simple_path(where, here)
        if not wrong and not where.startswith(f".{part}."):
            wrong = [invalid_value(here, where, f"should be a json path under .{part}")]
        found += wrong
    where, here = scale.get("labelSelectorPath") or "", f"{path}.labelSelectorPath"
    if where:
        wrong = _simple_path(where, here)
        if not wrong and not where.startswith((".spec.", ".status.")):
            wrong = [invalid_value(here, where, "should be a json path under either .spec or .status")]
        found += wrong
    return found


def _schema_of(version: Obj) -> Obj | None:
    return (version.get("schema") or {}).get("openAPIV3Schema")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all versions have in common: upstream looks at it once, as if it stood in the spec itself."""

    schema: bool
    subresources: bool
    columns: bool

    @classmethod
    def of(cls, versions: list[Obj]) -> _Shared:
        def same(field: str) -> bool:
            first = versions[0].get(field) if versions else None
            return bool(versions) and first is not None and all(v.get(field) == first for v in versions)

        return cls(same("schema"), same("subresources"), same("additionalPrinterColumns"))


def _schema(schema: Obj, path: str, rules: SchemaRules, *, has_status: bool) -> Errors:
    """The errors of a schema, and those of its CEL rules where it is sound otherwise."""
    found = validate_schema(schema, path, rules, has_status=has_status)
    if found or schema in rules.stored:
        return found
    root = compile_structural(schema).root
    return validate_defaults(root, path) + check_rules(root, path)


def _subresources(subresources: Obj, path: str) -> Errors:
    scale = subresources.get("scale")
    return [] if scale is None else _scale(scale, f"{path}.scale")


def _columns(columns: list[Obj], path: str) -> Errors:
    return [e for i, column in enumerate(columns) for e in _column(column, f"{path}[{i}]")]


def _has_status(version: Obj) -> bool:
    return (version.get("subresources") or {}).get("status") is not None


def _version(version: Obj, path: str, rules: SchemaRules, shared: _Shared) -> Errors:
    found = _deprecation(version, f"{path}.deprecationWarning")
    schema = _schema_of(version)
    if schema is not None and not shared.schema:
        here = f"{path}.schema.openAPIV3Schema"
        found += _schema(schema, here, rules, has_status=_has_status(version))
    if not shared.subresources:
        found += _subresources(version.get("subresources") or {}, f"{path}.subresources")
    if not shared.columns:
        found += _columns(version.get("additionalPrinterColumns") or [], f"{path}.additionalPrinterColumns")
    return found


def _common(versions: list[Obj], rules: SchemaRules, shared: _Shared) -> Errors:
    found: Errors = []
    if not versions:
        return found
    first = versions[0]
    schema = _schema_of(first)
    if shared.schema and schema is not None:
        has_status = any(map(_has_status, versions))
        found += _schema(schema, "spec.validation.openAPIV3Schema", rules, has_status=has_status)
    if shared.subresources:
        found += _subresources(first.get("subresources") or {}, "spec.subresources")
    if shared.columns:
        found += _columns(first.get("additionalPrinterColumns") or [], "spec.additionalPrinterColumns")
    return found


def _versions(versions: list[Obj], path: str, rules: SchemaRules, shared: _Shared) -> Errors:
    found: Errors = []
    for i, version in enumerate(versions):
        name = version.get("name") or ""
        found += _joined(f"{path}[{i}].name", name, dns_1035_label_problems(name))
        found += _version(version, f"{path}[{i}]", rules, shared)
    names = [version.get("name") or "" for version in versions]
    if len(set(names)) < len(names):
        found.append(invalid_value(path, versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        words = "must have exactly one version marked as storage version"
        found.append(invalid_value(path, versions or None, words))
    if names and names[0]:
        found += _joined("spec.version", names[0], dns_1035_label_problems(names[0]))
    return found


# The spec


def _conversion(conversion: Obj | None, recognized: bool) -> Errors:
    if conversion is None:
        return []
    strategy, path, known = conversion.get("strategy") or "", "spec.conversion", ("None", "Webhook")
    found: Errors = []
    if not strategy:
        found.append(required(f"{path}.strategy"))
    elif strategy not in known:
        found.append(not_supported(f"{path}.strategy", strategy, known))
    webhook = conversion.get("webhook") or {}
    config, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if strategy != "Webhook":
        words = "should not be set when strategy is not set to Webhook"
        if config is not None:
            found.append(forbidden_field(f"{path}.webhookClientConfig", words))
        if versions:
            found.append(forbidden_field(f"{path}.conversionReviewVersions", words))
        return found
    if config is None:
        found.append(required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook"))
    else:
        found += client_config(config, f"{path}.webhookClientConfig")
    return found + review_versions(versions, f"{path}.conversionReviewVersions", "", recognized=recognized)


def _group(group: str) -> Errors:
    if not group:
        return [required("spec.group")]
    problems = dns_subdomain_problems(group)
    if problems:
        return _joined("spec.group", group, problems)
    if "." not in group:
        return [invalid_value("spec.group", group, "should be a domain with at least one dot")]
    return []


def _spec(spec: Obj, before: Obj | None) -> Errors:
    versions, names, scope = spec.get("versions") or [], spec.get("names") or {}, spec.get("scope") or ""
    stored = (before or {}).get("versions") or []
    found = _group(spec.get("group") or "")
    known = ("Cluster", "Namespaced")
    if not scope:
        found.append(required("spec.scope"))
    elif scope not in known:
        found.append(not_supported("spec.scope", scope, known))
    shared, rules = _Shared.of(versions), SchemaRules.for_update(stored)
    shared_schema = shared.schema and _schema_of(versions[0]) is not None
    if all(_schema_of(version) is not None for version in stored) and not shared_schema:
        for i, version in enumerate(versions):
            if _schema_of(version) is None:
                found.append(required(f"spec.versions[{i}].schema.openAPIV3Schema"))
    schemas = [schema for schema in map(_schema_of, versions) if schema is not None]
    if spec.get("preserveUnknownFields") and any(map(has_defaults, schemas)):
        words = "must be false in order to use defaults in the schema"
        found.append(invalid_value("spec.preserveUnknownFields", True, words))
    found += _versions(versions, "spec.versions", rules, shared)
    for field in ("plural", "singular", "kind", "listKind"):
        if not names.get(field):
            found.append(required(f"spec.names.{field}"))
    found += _names(names, "spec.names") + _common(versions, rules, shared)
    conversion = spec.get("conversion")
    if conversion is not None and conversion.get("strategy") != "None" and spec.get("preserveUnknownFields"):
        words = "must be None if spec.preserveUnknownFields is true"
        found.append(invalid_value("spec.conversion.strategy", conversion.get("strategy") or "", words))
    webhook = (((before or {}).get("conversion") or {}).get("webhook")) or {}
    recognized = knows_review_version(webhook.get("conversionReviewVersions") or [])
    return found + _conversion(conversion, recognized)


# Whole definitions


def _stored_versions(definition: Obj) -> Errors:
    stored, path = (definition.get("status") or {}).get("storedVersions"), "status.storedVersions"
    if not stored:
        return [invalid_value(path, stored, "must have at least one stored version")]
    found: Errors = []
    left: dict[str, Any] = {name: i for i, name in enumerate(stored)}
    for version in (definition.get("spec") or {}).get("versions") or ():
        name = version.get("name") or ""
        if version.get("storage") and name not in left:
            found.append(invalid_value(path, stored, f"must have the storage version {name}"))
        left.pop(name, None)
    for name, i in left.items():
        words = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions "
            f"until a storage migration ensures no data remains persisted in {name} and removes {name} from "
            "status.storedVersions"
        )
        found.append(invalid_value(f"{path}[{i}]", name, words))
    return found


def approval_state(definition: Obj) -> tuple[str, str]:
    """How a group of the community is approved: (state, words of the refusal)."""
    text = ((definition.get("metadata") or {}).get("annotations") or {}).get(APPROVAL) or ""
    if not text:
        return "missing", f"protected groups must have approval annotation {go_quote(APPROVAL)}, {_PULL}"
    if text.startswith("unapproved"):
        return "bypassed", ""
    try:
        url = urlsplit(text)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "approved", ""
    words = f"protected groups must have approval annotation {go_quote(APPROVAL)} with either a URL or a reason "
    return "invalid", f'{words}starting with "unapproved", {_PULL}'


def is_protected_group(group: str) -> bool:
    """Whether a group is one that the community keeps for itself."""
    return any(group == suffix or group.endswith(f".{suffix}") for suffix in ("k8s.io", "kubernetes.io"))


def _approval(new: Obj, old: Obj | None) -> Errors:
    if not is_protected_group((new.get("spec") or {}).get("group") or ""):
        return []
    state, words = approval_state(new)
    if not words or (old is not None and approval_state(old)[0] == state):
        return []
    path = f"metadata.annotations[{APPROVAL}]"
    if state == "missing":
        return [required(path, words)]
    return [invalid_value(path, new["metadata"]["annotations"][APPROVAL], words)]


def _preserving(new: Obj, old: Obj | None) -> Errors:
    if not (new.get("spec") or {}).get("preserveUnknownFields"):
        return []
    if old is not None and (old.get("spec") or {}).get("preserveUnknownFields"):
        return []
    words = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
    return [invalid_value("spec.preserveUnknownFields", True, words)]


def _rest(new: Obj, old: Obj | None) -> Errors:
    accepted = (new.get("status") or {}).get("acceptedNames") or {}
    found = _names(accepted, "status.acceptedNames") + _stored_versions(new)
    return found + _approval(new, old) + _preserving(new, old)


def _create(definition: Obj) -> Errors:
    spec = definition.get("spec") or {}
    needed = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"

    def rule(name: str, prefix: bool) -> list[str]:
        problems = list(dns_subdomain_problems(name))
        return problems if name == needed else [*problems, 'must be spec.names.plural+"."+spec.group']

    found = validate_object_meta(definition.get("metadata") or {}, False, rule)
    return found + _spec(spec, None) + _rest(definition, None)


def _is_established(definition: Obj) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def _update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    found = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {}) + _spec(spec, before)
    names, stored = spec.get("names") or {}, before.get("names") or {}
    if _is_established(old):
        found += immutable(spec.get("scope") or "", before.get("scope") or "", "spec.scope")
        found += immutable(names.get("kind") or "", stored.get("kind") or "", "spec.names.kind")
    found += immutable(spec.get("group") or "", before.get("group") or "", "spec.group")
    found += immutable(names.get("plural") or "", stored.get("plural") or "", "spec.names.plural")
    return found + _rest(new, old)


def _status(new: Obj, old: Obj) -> Errors:
    found = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    return found + _names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames")


_KEY = ("apiextensions.k8s.io", "customresourcedefinitions")
CREATE = {_KEY: _create}
UPDATE = {(*_KEY, ""): _update, (*_KEY, "status"): _status}
