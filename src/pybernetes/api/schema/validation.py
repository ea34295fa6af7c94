"""OpenAPI validation of custom resources, in upstream's words.

``checking`` decides; only an object that does not fit is walked here, to say where and why. With an old object, what
has not changed is not held against an update ("Validation ratcheting"): list items correlate by their map keys.
List maps and sets must have distinct items; objects inside objects need an apiVersion, a kind and good metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .. import errors
from ..errors import FieldError, go_float, go_quote
from ..regexes import PatternError, compile_pattern
from .checking import (
    TYPES,
    Json,
    are_unique,
    compile_check,
    is_multiple,
    known_format,
    same_value,
    type_fits,
    types_of,
)
from .embedded import embedded_errors
from .formats import check_of
from .node import LIST, Node

MAX_ERRORS = 200
ROOT = "<nil>"
"""How upstream prints the path of an error that has none."""


@dataclass(slots=True)
class _Result:
    """Errors so far, and how many checks matched: the alternative with most matches explains a failed anyOf."""

    errors: list[FieldError] = field(default_factory=list)
    matches: int = 0

    def add(self, path: str, reason: str, body: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(FieldError(path.removeprefix(".") or ROOT, reason, body))

    def invalid(self, path: str, value: Any, words: str) -> None:
        self.add(path, "FieldValueInvalid", f"Invalid value: {go_quote(value)}: {path} in body {words}")

    def merge(self, other: _Result) -> None:
        self.errors += other.errors
        self.matches += other.matches


class _Absent:
    __slots__ = ()


_NOTHING = _Absent()
"""There is no old value to correlate with."""


def validate(root: Node, obj: Any, old: Any = None) -> list[FieldError]:
    """All errors of a custom resource, but for those of its CEL rules."""
    schema = root.openapi or {}
    check = root.compiled.get("check")
    if check is None:
        check = root.compiled["check"] = compile_check(schema)
    try:
        found: list[FieldError] = []
        if not check(obj):
            found += _explain(schema, obj, "", _NOTHING if old is None else old, root=True).errors
        found += embedded_errors(root, obj, "")
        list_errors = list(_list_errors(root, obj, ""))
        if list_errors and (old is None or not _list_errors(root, old, "")):
            found += list_errors
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from None
    return found


def validate_value(node: Node, value: Any) -> list[FieldError]:
    """The errors of a value by the schema of its own place alone."""
    try:
        return _explain(node.openapi or {}, value, "", _NOTHING).errors
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from None


def validate_part(root: Node, obj: Any, old: Any, name: str) -> list[FieldError]:
    """The errors of one field of an object, as an update of that field alone is checked (the status subresource)."""
    schema = ((root.openapi or {}).get("properties") or {}).get(name)
    found: list[FieldError] = []
    try:
        if schema is not None:
            before = old.get(name, _NOTHING)
            for error in _explain(schema, obj[name], "", before).errors:
                path = name if error.path == ROOT else f"{name}.{error.path}"
                found.append(FieldError(path, error.reason, error.body))
        list_errors = list(_list_errors(root, obj, ""))
        if list_errors and not _list_errors(root, old, ""):
            found += list_errors
    except RecursionError:
        raise errors.bad_request("json: exceeded max depth") from None
    return found


# -- the OpenAPI part --------------------------------------------------------------------------------------------------


def _explain(schema: Json, value: Any, path: str, old: Any, *, root: bool = False) -> _Result:
    result = _Result()
    if value is None:
        if types_of(schema) and not schema.get("nullable"):
            _type_error(result, schema, value, path)
        _explain_enum(result, schema, value, path)
    else:
        _explain_type(result, schema, value, path)
        _explain_composites(result, schema, value, path)
        kind = TYPES[value.__class__]
        if kind == "string":
            _explain_string(result, schema, value, path)
        elif kind in ("integer", "number"):
            _explain_number(result, schema, value, path)
        elif kind == "array":
            _explain_list(result, schema, value, path, old)
        _explain_enum(result, schema, value, path)
        if kind == "object":
            _explain_object(result, schema, value, path, old, root=root)
    if not result.errors:
        result.matches += 1
    elif old is not _NOTHING and same_value(old, value):
        result.errors = []
    return result


def _type_error(result: _Result, schema: Json, value: Any, path: str) -> None:
    wanted, kind = ",".join(types_of(schema)), "null" if value is None else TYPES[value.__class__]
    words = f'{path} in body must be of type {wanted}: "{kind}"'
    result.add(path, "FieldValueTypeInvalid", f'Invalid value: "{kind}": {words}')


def _explain_type(result: _Result, schema: Json, value: Any, path: str) -> None:
    types = types_of(schema)
    if not types or type_fits(value, types):
        result.matches += 1
        return
    format_ = known_format(schema)
    if format_ and not isinstance(value, str | list):
        # a format is compared before the type, and named instead of it
        kind = {int: "int64", float: "float64"}.get(type(value), "")
        words = f'{path} in body must be of type {format_}: "{kind}"'
        result.add(path, "FieldValueTypeInvalid", f'Invalid value: "{kind}": {words}')
    elif not format_ or {"integer", "number"} & set(types):
        _type_error(result, schema, value, path)


def _explain_enum(result: _Result, schema: Json, value: Any, path: str) -> None:
    values = schema.get("enum")
    if not values:
        return
    if any(same_value(value, v) for v in values):
        result.matches += 1
        return
    listed = [v if isinstance(v, str) else orjson.dumps(v).decode() for v in values]
    error = errors.not_supported("", value, listed)
    result.add(path, error.reason, error.body)


def _explain_composites(result: _Result, schema: Json, value: Any, path: str) -> None:
    quoted = go_quote(path)
    any_of = [_explain(s, value, path, _NOTHING) for s in schema.get("anyOf") or ()]
    if any_of and all(r.errors for r in any_of):
        _composite(result, f"{quoted} must validate at least one schema (anyOf)")
        result.merge(max(any_of, key=lambda r: r.matches))
    one_of = [_explain(s, value, path, _NOTHING) for s in schema.get("oneOf") or ()]
    valid = sum(1 for r in one_of if not r.errors)
    if one_of and valid != 1:
        tail = f"Found {valid} valid alternatives" if valid else "Found none valid"
        _composite(result, f"{quoted} must validate one and only one schema (oneOf). {tail}")
        if not valid:
            result.merge(max(one_of, key=lambda r: r.matches))
    all_of = [_explain(s, value, path, _NOTHING) for s in schema.get("allOf") or ()]
    for part in all_of:
        result.merge(part)
    if any(r.errors for r in all_of):
        tail = ". None validated" if all(r.errors for r in all_of) else ""
        _composite(result, f"{quoted} must validate all the schemas (allOf){tail}")
    negated = schema.get("not")
    if isinstance(negated, Mapping) and not _explain(negated, value, path, _NOTHING).errors:
        _composite(result, f"{quoted} must not validate the schema (not)")


def _composite(result: _Result, words: str) -> None:
    result.add("", "FieldValueInvalid", f'Invalid value: "": {words}')


def _explain_string(result: _Result, schema: Json, value: str, path: str) -> None:
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None and len(value) > longest:
        error = errors.too_long("", longest)
        result.add(path, error.reason, error.body)
    elif shortest is not None and len(value) < shortest:
        result.invalid(path, value, f"should be at least {shortest} chars long")
    elif pattern:
        try:
            if compile_pattern(pattern).search(value) is None:
                result.invalid(path, value, f"should match '{pattern}'")
        except PatternError as failure:
            result.invalid(path, value, f"should match '{pattern}, but pattern is invalid: {failure}'")
        except UnicodeEncodeError:
            result.invalid(path, value, f"should match '{pattern}'")
    format_ = known_format(schema)
    check = check_of(format_) if format_ else None
    if check is not None and not check(value):
        words = f"{path} in body must be of type {format_}: {go_quote(value)}"
        result.add(path, "FieldValueTypeInvalid", f"Invalid value: {go_quote(value)}: {words}")


def _explain_number(result: _Result, schema: Json, value: Any, path: str) -> None:
    format_ = schema.get("format") or ""
    if schema.get("type") == "integer":
        bits = 31 if format_ == "int32" else 63
        if not -(2**bits) <= value < 2**bits or (isinstance(value, float) and not value.is_integer()):
            known = f"with format {format_}" if format_ in ("int32", "int64") else "(default format)"
            _composite(result, f"Checked value must be of type integer {known} in {path}")
    factor, maximum, minimum = schema.get("multipleOf"), schema.get("maximum"), schema.get("minimum")
    if factor is not None and not is_multiple(value, factor):
        whole = int(factor) if isinstance(value, int) else factor
        if whole <= 0:
            words = f"factor MultipleOf declared for {path} must be positive: {whole}"
            result.add(path, "FieldValueInvalid", f"Invalid value: {whole}: {words}")
        else:
            result.invalid(path, value, f"should be a multiple of {_number(factor, value)}")
    if maximum is not None:
        exclusive = bool(schema.get("exclusiveMaximum"))
        if value > maximum or (exclusive and value >= maximum):
            words = "less than" if exclusive else "less than or equal to"
            result.invalid(path, value, f"should be {words} {_number(maximum, value)}")
    if minimum is not None:
        exclusive = bool(schema.get("exclusiveMinimum"))
        if value < minimum or (exclusive and value <= minimum):
            words = "greater than" if exclusive else "greater than or equal to"
            result.invalid(path, value, f"should be {words} {_number(minimum, value)}")


def _number(bound: Any, value: Any) -> str:
    """A bound as Go prints it: as an integer beside integers, else as a float with %v."""
    if isinstance(value, int):
        return str(int(bound))
    return go_float(float(bound))


def _explain_list(result: _Result, schema: Json, value: list[Any], path: str, old: Any) -> None:
    items = schema.get("items")
    if isinstance(items, Mapping):
        for index, item in enumerate(value):
            result.merge(_explain(items, item, f"{path}[{index}]", _old_item(schema, item, old)))
    most, least = schema.get("maxItems"), schema.get("minItems")
    if least is not None and len(value) < least:
        result.invalid(path, len(value), f"should have at least {least} items")
    if most is not None and len(value) > most:
        error = errors.too_many("", len(value), most)
        result.add(path, error.reason, error.body)
    if schema.get("uniqueItems") and not are_unique(value):
        result.add(path, "FieldValueInvalid", f'Invalid value: "": {path} in body shouldn\'t contain duplicates')


def _old_item(schema: Json, item: Any, old: Any) -> Any:
    """Only items of list maps have an old self."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if (
        schema.get("x-kubernetes-list-type") != "map"
        or not keys
        or not isinstance(old, list)
        or not isinstance(item, dict)
    ):
        return _NOTHING
    wanted = [item.get(k) for k in keys]
    for candidate in old:
        if isinstance(candidate, dict) and [candidate.get(k) for k in keys] == wanted:
            return candidate
    return _NOTHING


def _explain_object(
    result: _Result, schema: Json, value: dict[str, Any], path: str, old: Any, *, root: bool = False
) -> None:
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if least is not None and len(value) < least:
        result.invalid(path, len(value), f"should have at least {least} properties")
    if most is not None and len(value) > most:
        error = errors.too_many("", len(value), most)
        result.add(path, error.reason, error.body)
    properties, additional = schema.get("properties") or {}, schema.get("additionalProperties")
    for key, item in value.items():
        sub = properties.get(key)
        if sub is None:
            if additional is False:
                result.add(
                    path, "FieldValueInvalid", f'Invalid value: "": {path}.{key} in body is a forbidden property'
                )
                continue
            sub = additional if isinstance(additional, Mapping) else None
        if sub is None:
            continue
        before = _NOTHING
        if isinstance(old, dict) and key in old and not (root and key in ("kind", "apiVersion")):
            before = old[key]
        result.merge(_explain(sub, item, f"{path}.{key}" if path else key, before))
    for name in schema.get("required") or ():
        if name not in value:
            result.add(f"{path}.{name}", "FieldValueRequired", "Required value")


# -- list types ---------------------------------------------------------------------------------------------------------


def _has_lists(node: Node) -> bool:
    """Whether this node or one below is a list map or a set (computed once)."""
    known: bool | None = node.compiled.get("lists")
    if known is None:
        below = [f.node for f in node.fields.values()] + [n for n in (node.values, node.items) if n is not None]
        own = node.kind == LIST and node.list_type in ("set", "map")
        known = node.compiled["lists"] = own or any(n.openapi is not None and _has_lists(n) for n in below)
    return known


def _list_errors(node: Node, value: Any, path: str) -> list[FieldError]:
    """Duplicates in list maps and sets, everywhere below."""
    found: list[FieldError] = []
    if not _has_lists(node):
        return found
    if isinstance(value, dict):
        for key, item in value.items():
            child = node.child(key)
            if child is not None and child.openapi is not None and isinstance(item, dict | list):
                known = key in node.fields
                below = (f"{path}.{key}" if path else key) if known else f"{path}[{key}]"
                found += _list_errors(child, item, below)
    elif isinstance(value, list):
        if node.kind == LIST and node.list_type == "set":
            found += [errors.duplicate(f"{path}[{i}]", value[i]) for i in _repeated(value)]
        elif node.kind == LIST and node.list_type == "map":
            found += _list_map_errors(node, value, path)
        if node.items is not None:
            for index, item in enumerate(value):
                if isinstance(item, dict | list):
                    found += _list_errors(node.items, item, f"{path}[{index}]")
    return found


def _list_map_errors(node: Node, value: list[Any], path: str) -> list[FieldError]:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            words = "must be an object for an array of list-type map"
            return [errors.invalid_value(f"{path}[{index}]", item, words)]
    keys = [{k: item[k] for k in node.list_map_keys if k in item} if item else {} for item in value]
    return [errors.duplicate(f"{path}[{i}]", keys[i]) for i in _repeated(keys)]


def _repeated(items: list[Any]) -> list[int]:
    """Indices of second appearances (not of third ones)."""
    seen: dict[bytes, int] = {}
    found = []
    for index, item in enumerate(items):
        key = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            found.append(index)
    return found
