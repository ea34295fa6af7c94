"""OpenAPI v3 schemas of custom resources: what they may use, and that they are structural.

A structural schema gives every value a type outside of logical junctors (``allOf``, ``anyOf``, ``oneOf``, ``not``), which
only restrict values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import forbidden_field, invalid_value, not_supported, required
from ..regexes import PatternError, compile_pattern
from ..schema.checking import known_format
from .errors import Errors, Obj

TYPES = ("array", "boolean", "integer", "number", "object", "string")
_PREFIX = "x-kubernetes-"
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_META = ("metadata", "kind", "apiVersion")
_AT_ROOT = {
    "description": "Description",
    "type": "Type",
    "format": "Format",
    "title": "Title",
    "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum",
    "minimum": "Minimum",
    "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength",
    "minLength": "MinLength",
    "pattern": "Pattern",
    "maxItems": "MaxItems",
    "minItems": "MinItems",
    "uniqueItems": "UniqueItems",
    "multipleOf": "MultipleOf",
    "required": "Required",
    "items": "Items",
    "properties": "Properties",
    "externalDocs": "ExternalDocs",
    "example": "Example",
    f"{_PREFIX}preserve-unknown-fields": "XPreserveUnknownFields",
    f"{_PREFIX}validations": "XValidations",
}


def _children(schema: Obj) -> Iterator[Obj]:
    for field in ("properties", "patternProperties", "definitions"):
        yield from (schema.get(field) or {}).values()
    for field in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(field) or ()
    for field in ("items", "additionalProperties", "additionalItems", "not"):
        inner = schema.get(field)
        if isinstance(inner, dict):
            yield inner


def _anywhere(schema: Any, test: Callable[[Obj], bool]) -> bool:
    return isinstance(schema, dict) and (test(schema) or any(_anywhere(c, test) for c in _children(schema)))


def unrecognized_formats(schema: Obj) -> Iterator[str]:
    """The formats in a schema that nothing is checked by."""
    format_ = schema.get("format")
    if format_ and not known_format(schema):
        yield format_
    for child in _children(schema):
        yield from unrecognized_formats(child)


def has_defaults(schema: Obj) -> bool:
    return _anywhere(schema, lambda s: s.get("default") is not None)


@dataclass(frozen=True, slots=True)
class SchemaRules:
    """What a stored definition already violates, and may go on violating."""

    any_type: bool = False
    unstructured: bool = False
    loose_sets: bool = False
    loose_map_keys: bool = False
    stored: tuple[Obj, ...] = ()
    """The schemas of the stored definition: rules in them were checked when they came."""

    @classmethod
    def for_update(cls, versions: list[Obj]) -> SchemaRules:
        schemas = [(v.get("schema") or {}).get("openAPIV3Schema") for v in versions]
        present = [s for s in schemas if isinstance(s, dict)]
        return cls(
            any_type=any(_anywhere(s, lambda x: bool(x.get("type")) and x["type"] not in TYPES) for s in present),
            unstructured=any(structural_errors(s, "") for s in present),
            loose_sets=any(_anywhere(s, lambda x: bool(_set_items(x, ""))) for s in present),
            loose_map_keys=any(_anywhere(s, lambda x: bool(_map_keys_set(x, ""))) for s in present),
            stored=tuple(present),
        )


def validate_schema(schema: Obj, path: str, rules: SchemaRules, *, has_status: bool) -> Errors:
    found = _root(schema, path) if has_status else []
    if schema.get("nullable"):
        found.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    found += structural_errors(schema, path)
    return found + _Walk(rules).schema(schema, path, root=True)


def _root(schema: Obj, path: str) -> Errors:
    for field, value in schema.items():
        if value in (None, "", [], {}, False):
            continue
        if field == "type" and value != "object":
            words = (
                'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            )
            return [invalid_value(f"{path}.type", value, words)]
        if field not in _AT_ROOT:
            allowed = " ".join(_AT_ROOT.values())
            words = (
                f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            )
            return [invalid_value(path, schema, words)]
    return []


# Structural schemas


_NOT_CONVERTIBLE = ("id", "$ref", "uniqueItems", "additionalItems", "patternProperties", "definitions", "dependencies")


def _unconvertible(schema: Obj) -> bool:
    """What no structural schema can say; other checks refuse it."""
    wrong = isinstance(schema.get("items"), list) or schema.get(f"{_PREFIX}preserve-unknown-fields") is False
    return wrong or any(schema.get(field) for field in _NOT_CONVERTIBLE)


def structural_errors(schema: Obj, path: str) -> Errors:
    if _anywhere(schema, _unconvertible):
        return []
    found = _invariants(schema, "root", path) + _completeness(schema, path)
    return sorted(found, key=str)


_LEVELS = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def _inner(schema: Obj, field: str) -> Obj | None:
    value = schema.get(field)
    return value if isinstance(value, dict) else None


def _properties(schema: Obj) -> dict[str, Obj]:
    return {k: v for k, v in (schema.get("properties") or {}).items() if isinstance(v, dict)}


def _invariants(schema: Obj, level: str, path: str) -> Errors:
    found: Errors = []
    kind, items, extra = schema.get("type") or "", _inner(schema, "items"), schema.get("additionalProperties")
    embedded, either = schema.get(f"{_PREFIX}embedded-resource"), schema.get(f"{_PREFIX}int-or-string")
    preserves = schema.get(f"{_PREFIX}preserve-unknown-fields")
    if kind == "array" and items is None:
        found.append(required(f"{path}.items", "must be specified"))
    if items is not None:
        found += _invariants(items, "item", f"{path}.items")
    for name, inner in _properties(schema).items():
        found += _invariants(inner, "field", f"{path}.properties[{name}]")
    if extra is not None and level == "root":
        found.append(forbidden_field(f"{path}.additionalProperties", "must not be used at the root"))
    if isinstance(extra, dict):
        found += _invariants(extra, "field", f"{path}.additionalProperties")
    for other, value in (("preserve-unknown-fields", preserves), ("embedded-resource", embedded)):
        if either and value:
            words = "must be false if x-kubernetes-int-or-string is true"
            found.append(invalid_value(f"{path}.{_PREFIX}{other}", True, words))
    found += _values(
        schema, path, skip_any_of=schema.get("anyOf") == _INT_OR_STRING, skip_first=_first_is_either(schema)
    )
    words = "must be object if x-kubernetes-embedded-resource is true"
    if embedded and kind != "object":
        found.append(invalid_value(f"{path}.type", kind, words) if kind else required(f"{path}.type", words))
    elif not kind and not either and not preserves:
        found.append(required(f"{path}.type", _LEVELS[level]))
    if embedded and extra is not None:
        words = "must not be used if x-kubernetes-embedded-resource is set"
        found.append(forbidden_field(f"{path}.additionalProperties", words))
    if level == "root" and kind and kind != "object":
        found.append(invalid_value(f"{path}.type", kind, "must be object at the root"))
    return found + _metadata(schema, level, path, bool(embedded), bool(preserves))


def _metadata(schema: Obj, level: str, path: str, embedded: bool, preserves: bool) -> Errors:
    found: Errors = []
    properties = _properties(schema)
    if level == "root" or embedded:
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                here = f"{path}.properties[{name}].type"
                found.append(invalid_value(here, properties[name].get("type") or "", "must be string"))
    metadata, here = properties.get("metadata"), f"{path}.properties[metadata]"
    if metadata is not None and (level == "root" or embedded) and metadata.get("type") != "object":
        found.append(invalid_value(f"{here}.type", metadata.get("type") or "", "must be object"))
    if metadata is not None and level == "root":
        known = set(_properties(metadata)) <= {"name", "generateName"}
        plain = {k for k, v in metadata.items() if v not in (None, "", [], {}, False)} <= {
            "type",
            "properties",
            "default",
        }
        if not known or not plain:
            words = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            found.append(forbidden_field(here, words))
    if embedded and not preserves and not properties:
        words = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        found.append(required(f"{path}.properties", words))
    return found


def _first_is_either(schema: Obj) -> bool:
    junctors = schema.get("allOf") or []
    return bool(junctors) and (junctors[0] or {}).get("anyOf") == _INT_OR_STRING


def _values(schema: Obj, path: str, *, skip_any_of: bool = False, skip_first: bool = False) -> Errors:
    found: Errors = []
    for i, inner in enumerate(() if skip_any_of else schema.get("anyOf") or ()):
        found += _nested(inner, f"{path}.anyOf[{i}]")
    for i, inner in enumerate(schema.get("allOf") or ()):
        found += _nested(inner, f"{path}.allOf[{i}]", skip_any_of=skip_first and i == 0)
    for i, inner in enumerate(schema.get("oneOf") or ()):
        found += _nested(inner, f"{path}.oneOf[{i}]")
    inverse = _inner(schema, "not")
    if inverse is not None:
        found += _nested(inverse, f"{path}.not")
    pattern = schema.get("pattern") or ""
    if pattern:
        try:
            compile_pattern(pattern)
        except PatternError as failure:
            words = f"must be a valid regular expression, but isn't: {failure}"
            found.append(invalid_value(f"{path}.pattern", pattern, words))
    return found


_NOT_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (f"{_PREFIX}preserve-unknown-fields", "must be false to be structural"),
    (f"{_PREFIX}embedded-resource", "must be false to be structural"),
    (f"{_PREFIX}int-or-string", "must be false to be structural"),
    (f"{_PREFIX}list-map-keys", "must be empty to be structural"),
    (f"{_PREFIX}list-type", "must be undefined to be structural"),
    (f"{_PREFIX}map-type", "must be undefined to be structural"),
    (f"{_PREFIX}validations", "must be empty to be structural"),
)


def _nested(schema: Obj, path: str, *, skip_any_of: bool = False) -> Errors:
    """Inside of a junctor: restrictions only."""
    found = _values(schema, path, skip_any_of=skip_any_of)
    items = _inner(schema, "items")
    if items is not None:
        found += _nested(items, f"{path}.items")
    for name, inner in _properties(schema).items():
        found += _nested(inner, f"{path}.properties[{name}]")
    for field, words in _NOT_NESTED:
        value = schema.get(field)
        if value is not None and (value or field in ("default", "additionalProperties")):
            found.append(forbidden_field(f"{path}.{field}", words))
    if "metadata" in _properties(schema):
        words = "must not be specified in a nested context"
        found.append(forbidden_field(f"{path}.properties[metadata]", words))
    return found


def _completeness(schema: Obj, path: str) -> Errors:
    """What junctors restrict must be specified outside of them, too."""
    found: Errors = []
    for field in ("allOf", "anyOf", "oneOf"):
        for i, inner in enumerate(schema.get(field) or ()):
            found += _specified(inner, schema, f"{path}.{field}[{i}]", path)
    inverse = _inner(schema, "not")
    return found + (_specified(inverse, schema, f"{path}.not", path) if inverse is not None else [])


def _specified(nested: Obj, schema: Obj, path: str, outer: str) -> Errors:
    found: Errors = []
    items = _inner(nested, "items")
    if items is not None:
        outside = _inner(schema, "items")
        if outside is None:
            found.append(required(f"{outer}.items", f"because it is defined in {path}.items"))
        else:
            found += _specified(items, outside, f"{path}.items", f"{outer}.items")
    for name, inner in _properties(nested).items():
        here, there = f"{path}.properties[{name}]", f"{outer}.properties[{name}]"
        outside = _properties(schema).get(name)
        if outside is None:
            found.append(required(there, f"because it is defined in {here}"))
        else:
            found += _specified(inner, outside, here, there)
    for field in ("allOf", "anyOf", "oneOf"):
        for i, inner in enumerate(nested.get(field) or ()):
            found += _specified(inner, schema, f"{path}.{field}[{i}]", outer)
    inverse = _inner(nested, "not")
    return found + (_specified(inverse, schema, f"{path}.not", outer) if inverse is not None else [])


# Vocabulary


def _set_items(schema: Obj, path: str) -> Errors:
    items = _inner(schema, "items")
    if schema.get(f"{_PREFIX}list-type") != "set" or items is None:
        return []
    words = "must be atomic as item of a list with x-kubernetes-list-type=set"
    listed, mapped = items.get(f"{_PREFIX}list-type"), items.get(f"{_PREFIX}map-type")
    if items.get("type") == "array" and listed not in (None, "atomic"):
        return [invalid_value(f"{path}.items.{_PREFIX}list-type", listed, words)]
    if items.get("type") == "object" and mapped != "atomic":
        return [invalid_value(f"{path}.items.{_PREFIX}map-type", listed, words)]
    return []


def _map_keys_set(schema: Obj, path: str) -> Errors:
    """Items of sets and maps are there, and so are the keys of maps."""
    items, kind = _inner(schema, "items"), schema.get(f"{_PREFIX}list-type")
    if items is None or kind not in ("set", "map"):
        return []
    found: Errors = []
    if items.get("nullable"):
        words = f"cannot be nullable when x-kubernetes-list-type is {kind}"
        found.append(forbidden_field(f"{path}.items.nullable", words))
    for key in schema.get(f"{_PREFIX}list-map-keys") or () if kind == "map" else ():
        inner, here = _properties(items).get(key), f"{path}.items.properties[{key}]"
        if inner is None:
            continue
        if key not in (items.get("required") or ()) and inner.get("default") is None:
            words = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            found.append(required(f"{here}.default", words))
        if inner.get("nullable"):
            words = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            found.append(forbidden_field(f"{here}.nullable", words))
    return found


def _list_map(schema: Obj, path: str) -> Errors:
    kind, keys = schema.get(f"{_PREFIX}list-type"), schema.get(f"{_PREFIX}list-map-keys") or []
    found: Errors = []
    here, words = f"{path}.{_PREFIX}list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
    if keys and kind is None:
        found.append(required(here, words))
    elif keys and kind != "map":
        found.append(invalid_value(here, kind, words))
    if kind != "map":
        return found
    items, here = schema.get("items"), f"{path}.{_PREFIX}list-map-keys"
    if not keys:
        found.append(required(here, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        return [*found, required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")]
    if not isinstance(items, dict):
        words = "must only have a single schema if x-kubernetes-list-type is map"
        return [*found, invalid_value(f"{path}.items", items, words)]
    if items.get("type") != "object":
        words = "must be object if parent array's x-kubernetes-list-type is map"
        return [*found, invalid_value(f"{path}.items.type", items.get("type") or "", words)]
    for i, key in enumerate(keys):
        inner = _properties(items).get(key)
        if inner is None:
            found.append(invalid_value(here, keys, "entries must all be names of item properties"))
        elif inner.get("type") in ("array", "object"):
            words = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            found.append(invalid_value(f"{path}.items.properties[{key}].type", "object", words))
        if key in keys[:i]:
            found.append(invalid_value(here, keys, "must not contain duplicate entries"))
    return found


def _rules(schema: Obj, path: str) -> Errors:
    """``x-kubernetes-validations`` apart from the meaning of their expressions."""
    found: Errors = []
    for i, rule in enumerate(schema.get(f"{_PREFIX}validations") or ()):
        here = f"{path}.{_PREFIX}validations[{i}]"
        text, message = (rule.get("rule") or "").strip(), rule.get("message") or ""
        if not text:
            found.append(required(f"{here}.rule", "rule is not specified"))
        elif message and not message.strip():
            found.append(invalid_value(f"{here}.message", message, "must be non-empty if specified"))
        elif _lines(message.strip()):
            found.append(invalid_value(f"{here}.message", message, "must not contain line breaks"))
        elif _lines(text) and not message:
            found.append(required(f"{here}.message", "message must be specified if rule contains line breaks"))
        expression, where = rule.get("messageExpression") or "", rule.get("fieldPath") or ""
        if expression and not expression.strip():
            words = "messageExpression must be non-empty if specified"
            found.append(required(f"{here}.messageExpression", words))
        reason = rule.get("reason")
        if reason is not None and reason not in _REASONS:
            found.append(not_supported(f"{here}.reason", reason, _REASONS))
        if where and not where.strip():
            found.append(invalid_value(f"{here}.fieldPath", where, "must be non-empty if specified"))
        if _lines(where):
            found.append(invalid_value(f"{here}.fieldPath", where, "must not contain line breaks"))
    return found


def _lines(text: str) -> bool:
    return "\n" in text or "\r" in text


_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


class _Walk:
    """Visits a schema with what is forbidden where."""

    def __init__(self, rules: SchemaRules) -> None:
        self.rules = rules

    def schema(
        self, schema: Any, path: str, *, root: bool = False, no_default: str = "", in_meta: bool = False
    ) -> Errors:
        if not isinstance(schema, dict):
            return []
        found = self._standard(schema, path, no_default, in_meta)
        extra, properties = schema.get("additionalProperties"), _properties(schema)
        if schema.get("uniqueItems"):
            words = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            found.append(forbidden_field(f"{path}.uniqueItems", words))
        if extra is not None:
            if properties and extra is not True:
                words = "additionalProperties and properties are mutual exclusive"
                found.append(forbidden_field(f"{path}.additionalProperties", words))
            reason = "inside additionalProperties applying to object metadata" if in_meta else no_default
            found += self.schema(extra, f"{path}.additionalProperties", no_default=reason, in_meta=in_meta)
        for name, inner in properties.items():
            of_meta = (root or bool(schema.get(f"{_PREFIX}embedded-resource"))) and name in _META
            reason = f"in top-level {name}" if of_meta and root else no_default
            here = f"{path}.properties[{name}]"
            found += self.schema(inner, here, no_default=reason, in_meta=in_meta or of_meta)
        found += self.schema(schema.get("not"), f"{path}.not", no_default=no_default, in_meta=in_meta)
        for field in ("allOf", "oneOf", "anyOf"):
            for i, inner in enumerate(schema.get(field) or ()):
                found += self.schema(inner, f"{path}.{field}[{i}]", no_default=no_default, in_meta=in_meta)
        found += self.schema(schema.get("items"), f"{path}.items", no_default=no_default, in_meta=in_meta)
        return found + self._extensions(schema, path)

    def _standard(self, schema: Obj, path: str, no_default: str, in_meta: bool) -> Errors:
        found: Errors = []
        kind = schema.get("type") or ""
        if kind and kind not in TYPES and not self.rules.any_type:
            found.append(not_supported(f"{path}.type", kind, TYPES))
        if schema.get("default") is not None and no_default:
            found.append(forbidden_field(f"{path}.default", f"must not be set {no_default}"))
        for field in _UNSUPPORTED:
            if schema.get(field):
                found.append(forbidden_field(f"{path}.{field}", f"{field} is not supported"))
        if kind == "null":
            words = "type cannot be set to null, use nullable as an alternative"
            found.append(forbidden_field(f"{path}.type", words))
        if isinstance(schema.get("items"), list) and schema["items"]:
            found.append(forbidden_field(f"{path}.items", "items must be a schema object and not an array"))
        if in_meta and schema.get(f"{_PREFIX}embedded-resource"):
            words = "must not be used inside of resource meta"
            found.append(forbidden_field(f"{path}.{_PREFIX}embedded-resource", words))
        return found

    def _extensions(self, schema: Obj, path: str) -> Errors:
        found: Errors = []
        kind = schema.get("type") or ""
        if schema.get(f"{_PREFIX}preserve-unknown-fields") is False:
            here = f"{path}.{_PREFIX}preserve-unknown-fields"
            found.append(invalid_value(here, False, "must be true or undefined"))
        for what, needed, known in (
            ("map-type", "object", ("atomic", "granular")),
            ("list-type", "array", ("atomic", "set", "map")),
        ):
            value, words = schema.get(f"{_PREFIX}{what}"), f"must be {needed} if x-kubernetes-{what} is specified"
            if value is None:
                continue
            if kind != needed:
                found.append(invalid_value(f"{path}.type", kind, words) if kind else required(f"{path}.type", words))
            elif what == "list-type" and not self.rules.loose_sets:
                found += _set_items(schema, path)
            if value not in known:
                found.append(not_supported(f"{path}.{_PREFIX}{what}", value, known))
        found += _list_map(schema, path)
        if not self.rules.loose_map_keys:
            found += _map_keys_set(schema, path)
        return found + _rules(schema, path)
