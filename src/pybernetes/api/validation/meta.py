"""Object metadata, labels, annotations, owners, finalizers, selectors and conditions.

Specified by the API conventions ("Metadata") and ``apimachinery/pkg/api/validation``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import (
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from ..resources import parse_api_version
from .errors import Errors, Obj, at, go_strings, invalid_each
from .formats import (
    IMMUTABLE_WORDS,
    NEGATIVE_WORDS,
    dns_1035_label_problems,
    dns_label_problems,
    dns_subdomain_problems,
    label_value_problems,
    path_segment_problems,
    qualified_name_problems,
    reason_problems,
    size,
)
from .go_values import go_value, same

NameRule = Callable[[str, bool], list[str]]
"""(name, whether it is a generateName prefix) -> what is wrong with it."""

ANNOTATIONS_LIMIT = 256 * 1024
_BANNED_OWNER = ("", "v1", "Event")


def mask_trailing_dash(name: str) -> str:
    """A prefix may end in a dash: something is put after it."""
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


def _rule(check: Callable[[str], list[str]]) -> NameRule:
    def rule(name: str, prefix: bool) -> list[str]:
        return check(mask_trailing_dash(name) if prefix else name)

    return rule


subdomain_name = _rule(dns_subdomain_problems)
label_name = _rule(dns_label_problems)
label_1035_name = _rule(dns_1035_label_problems)


def path_segment_name(name: str, prefix: bool) -> list[str]:
    return path_segment_problems(name, prefix)


def immutable(new: Any, old: Any, path: str, struct: str = "") -> Errors:
    """A field that may not change; ``struct`` is the internal type by whose names upstream prints it."""
    from ..strategy.base import semantically_equal

    if struct:
        return [] if same(new, old, struct) else [invalid_value(path, go_value(new, struct), IMMUTABLE_WORDS)]
    return [] if semantically_equal(new, old) else [invalid_value(path, new, IMMUTABLE_WORDS)]


def nonnegative(value: int, path: str) -> Errors:
    return [invalid_value(path, value, NEGATIVE_WORDS)] if value < 0 else []


def validate_object_meta(meta: Obj, namespaced: bool, name_rule: NameRule, path: str = "metadata") -> Errors:
    """Everything about a new object's metadata."""
    found: Errors = []
    prefix, name = meta.get("generateName") or "", meta.get("name") or ""
    if prefix:
        found += invalid_each(at(path, "generateName"), prefix, name_rule(prefix, True))
    if not name:
        found.append(required(at(path, "name"), "name or generateName is required"))
    else:
        found += invalid_each(at(path, "name"), name, name_rule(name, False))
    namespace = meta.get("namespace") or ""
    if namespaced:
        if not namespace:
            found.append(required(at(path, "namespace")))
        else:
            found += invalid_each(at(path, "namespace"), namespace, dns_label_problems(namespace))
    elif namespace:
        found.append(forbidden_field(at(path, "namespace"), "not allowed on this type"))
    found += nonnegative(meta.get("generation") or 0, at(path, "generation"))
    found += validate_labels(meta.get("labels"), at(path, "labels"))
    found += validate_annotations(meta.get("annotations"), at(path, "annotations"))
    found += validate_owner_references(meta.get("ownerReferences"), at(path, "ownerReferences"))
    found += validate_finalizers(meta.get("finalizers"), at(path, "finalizers"))
    return found + validate_managed_fields(meta.get("managedFields"), at(path, "managedFields"))


_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_TEXTS = ("name", "namespace", "uid")


def validate_object_meta_update(new: Obj, old: Obj, path: str = "metadata") -> Errors:
    """What an update may not do to metadata."""
    found: Errors = []
    if old.get("deletionTimestamp") is not None:
        extra = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if extra:
            words = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"{go_strings(extra)}"
            )
            found.append(forbidden_field(at(path, "finalizers"), words))
    if not new.get("resourceVersion"):
        found.append(invalid_value(at(path, "resourceVersion"), "", "must be specified for an update"))
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        found.append(invalid_value(at(path, "generation"), new.get("generation") or 0, "must not be decremented"))
    for field in _IMMUTABLE:
        unset = "" if field in _TEXTS else None
        found += immutable(new.get(field) or unset, old.get(field) or unset, at(path, field))
    found += validate_labels(new.get("labels"), at(path, "labels"))
    found += validate_annotations(new.get("annotations"), at(path, "annotations"))
    found += validate_owner_references(new.get("ownerReferences"), at(path, "ownerReferences"))
    return found + validate_managed_fields(new.get("managedFields"), at(path, "managedFields"))


def validate_label_name(name: str, path: str) -> Errors:
    return invalid_each(path, name, qualified_name_problems(name))


def validate_labels(labels: Mapping[str, str] | None, path: str) -> Errors:
    found: Errors = []
    for key, value in (labels or {}).items():
        found += validate_label_name(key, path)
        found += invalid_each(path, value or "", label_value_problems(value or ""))
    return found


def validate_annotations(annotations: Mapping[str, str] | None, path: str) -> Errors:
    found: Errors = []
    total = 0
    for key, value in (annotations or {}).items():
        found += invalid_each(path, key, qualified_name_problems(key.lower()))
        total += size(key) + size(value or "")
    if total > ANNOTATIONS_LIMIT:
        found.append(too_long(path, ANNOTATIONS_LIMIT))
    return found


def validate_owner_references(references: list[Obj] | None, path: str) -> Errors:
    found: Errors = []
    first = ""
    for reference in references or ():
        found += _owner_reference(reference, path)
        if reference.get("controller"):
            name = f"{reference.get('kind') or ''}/{reference.get('name') or ''}"
            if first:
                words = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{first} and {name}"
                )
                found.append(invalid_value(path, references, words))
            else:
                first = name
    return found


def _owner_reference(reference: Obj, path: str) -> Errors:
    found: Errors = []
    api_version = reference.get("apiVersion") or ""
    group, version = parse_api_version(api_version) if api_version.count("/") < 2 else ("", "")
    if not version:
        found.append(invalid_value(at(path, "apiVersion"), api_version, "version must not be empty"))
    for field in ("kind", "name", "uid"):
        if not reference.get(field):
            found.append(invalid_value(at(path, field), "", "must not be empty"))
    if (group, version, reference.get("kind")) == _BANNED_OWNER:
        found.append(invalid_value(path, reference, "/v1, Kind=Event is disallowed from being an owner"))
    return found


def validate_finalizers(finalizers: list[str] | None, path: str) -> Errors:
    found: Errors = []
    for finalizer in finalizers or ():
        found += invalid_each(path, finalizer, qualified_name_problems(finalizer))
    if {"orphan", "foregroundDeletion"} <= set(finalizers or ()):
        words = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(invalid_value(path, finalizers, words))
    return found


def validate_managed_fields(entries: list[Obj] | None, path: str) -> Errors:
    found: Errors = []
    for i, entry in enumerate(entries or ()):
        here = f"{path}[{i}]"
        if entry.get("operation") not in ("Apply", "Update"):
            found.append(
                invalid_value(f"{here}.operation", entry.get("operation") or "", "must be `Apply` or `Update`")
            )
        if entry.get("fieldsType") and entry["fieldsType"] != "FieldsV1":
            found.append(invalid_value(f"{here}.fieldsType", entry["fieldsType"], "must be `FieldsV1`"))
        found += validate_field_manager(entry.get("manager") or "", f"{here}.manager")
        if size(entry.get("subresource") or "") > 256:
            found.append(too_long(f"{here}.subresource", 256))
    return found


def validate_field_manager(manager: str, path: str) -> Errors:
    """``fieldManager`` of write requests, and the managers they leave behind."""
    found: Errors = []
    if size(manager) > 128:
        found.append(too_long(path, 128))
    position = 0
    for char in manager:
        if not (char == " " or char.isprintable()):
            code = f"U+{ord(char):04X}"
            found.append(invalid_value(path, manager, f"invalid character {code} (at position {position})"))
        position += size(char)
    return found


_IN, _EXISTS = ("In", "NotIn"), ("Exists", "DoesNotExist")


def validate_label_selector(selector: Obj | None, path: str, *, lax_values: bool = False) -> Errors:
    """A ``metav1.LabelSelector``; ``lax_values`` keeps values that older versions let in."""
    if selector is None:
        return []
    found = validate_labels(selector.get("matchLabels"), at(path, "matchLabels"))
    for i, expression in enumerate(selector.get("matchExpressions") or ()):
        here = f"{at(path, 'matchExpressions')}[{i}]"
        operator, values = expression.get("operator") or "", expression.get("values") or []
        if operator in _IN:
            if not values:
                words = "must be specified when `operator` is 'In' or 'NotIn'"
                found.append(required(f"{here}.values", words))
        elif operator in _EXISTS:
            if values:
                words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                found.append(forbidden_field(f"{here}.values", words))
        else:
            found.append(invalid_value(f"{here}.operator", operator, "not a valid selector operator"))
        found += validate_label_name(expression.get("key") or "", f"{here}.key")
        if not lax_values:
            for j, value in enumerate(values):
                found += invalid_each(f"{here}.values[{j}]", value, label_value_problems(value))
    return found


def has_invalid_label_value(selector: Obj | None) -> bool:
    """Whether a stored selector holds values that are refused today."""
    expressions = (selector or {}).get("matchExpressions") or ()
    return any(label_value_problems(v) for e in expressions for v in e.get("values") or ())


_STATUSES = ("False", "True", "Unknown")


def validate_conditions(conditions: list[Obj] | None, path: str) -> Errors:
    """A list of ``metav1.Condition``."""
    found: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions or ()):
        kind = condition.get("type") or ""
        if kind in seen:
            found.append(duplicate(f"{path}[{i}].type", kind))
        seen.add(kind)
        found += validate_condition(condition, f"{path}[{i}]")
    return found


def validate_condition(condition: Obj, path: str) -> Errors:
    found = validate_label_name(condition.get("type") or "", at(path, "type"))
    if condition.get("status") not in _STATUSES:
        found.append(not_supported(at(path, "status"), condition.get("status") or "", _STATUSES))
    generation = condition.get("observedGeneration") or 0
    if generation < 0:
        found.append(invalid_value(at(path, "observedGeneration"), generation, "must be greater than or equal to zero"))
    if not condition.get("lastTransitionTime"):
        found.append(required(at(path, "lastTransitionTime")))
    reason = condition.get("reason") or ""
    if not reason:
        found.append(required(at(path, "reason")))
    else:
        found += invalid_each(at(path, "reason"), reason, reason_problems(reason))
        if size(reason) > 1024:
            found.append(too_long(at(path, "reason"), 1024))
    if size(condition.get("message") or "") > 32 * 1024:
        found.append(too_long(at(path, "message"), 32 * 1024))
    return found


def validate_local_name(value: str, path: str) -> Errors:
    """A reference by name to an object of the usual name rule."""
    return invalid_each(path, value, dns_subdomain_problems(value))
