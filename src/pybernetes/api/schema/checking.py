"""The fast answer: does a value fit its OpenAPI schema? Compiled to closures that say yes or no.

Nearly every object fits, so nearly every validation ends here; ``validation`` finds the words for those that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ..regexes import PatternError, compile_pattern
from .formats import check_of

Check = Callable[[Any], bool]
Json = Mapping[str, Any]
TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
}
_RANGES = {"int32": (-(2**31), 2**31), "int64": (-(2**63), 2**63)}


def types_of(schema: Json) -> tuple[str, ...]:
    if schema.get("x-kubernetes-int-or-string"):
        return ("integer", "string")
    type_ = schema.get("type")
    return (type_,) if type_ else ()


def type_fits(value: Any, types: tuple[str, ...]) -> bool:
    """A whole float is an integer, an integer a number."""
    kind = TYPES[value.__class__]
    if kind in types:
        return True
    if kind == "number":
        return "integer" in types and is_whole(value)
    return kind == "integer" and "number" in types


def is_whole(value: float) -> bool:
    """Whether a float stands for an integer, exactly."""
    return value.is_integer() and abs(value) < 2**53


def known_format(schema: Json) -> str:
    """The format, where it is one that goes with the type; others are ignored."""
    format_ = schema.get("format") or ""
    match schema.get("type") or "":
        case "" | "string":
            return format_ if check_of(format_) else ""
        case "integer":
            return format_ if format_ in ("int32", "int64") else ""
        case "number":
            return format_ if format_ in ("float", "double") else ""
    return ""


def compile_check(schema: Json) -> Check:
    """The check of one schema, nested ones included."""
    types = types_of(schema)
    nullable = bool(schema.get("nullable")) or not types
    format_check = check_of(known_format(schema)) if known_format(schema) else None
    ignore_type = format_check is not None and not ({"integer", "number"} & set(types))
    by_type: dict[type, list[Check]] = {
        dict: _object_checks(schema),
        list: _list_checks(schema),
        str: _string_checks(schema, format_check),
        int: _number_checks(schema),
        float: _number_checks(schema),
        bool: [],
    }
    common = [*_enum_checks(schema), *_composite_checks(schema)]
    enums = _enum_checks(schema)
    accepted = {t for t, name in TYPES.items() if not types or name in types}
    if ignore_type:
        accepted |= {str, list}
    if "number" in types:
        accepted.add(int)
    float_as_int = "integer" in types and float not in accepted
    # Every field of every object comes here: what is to be done for a type is looked up once.
    plans = {kind: (*by_type[kind], *common) for kind in accepted}
    whole = (*by_type[float], *common)

    def check(value: Any) -> bool:
        plan = plans.get(value.__class__)
        if plan is None:
            if value is None:
                return nullable and all(c(value) for c in enums)
            if not (float_as_int and value.__class__ is float and is_whole(value)):
                return False
            plan = whole
        for part in plan:  # noqa: SIM110 - a loop costs half of what a generator does
            if not part(value):
                return False
        return True

    return check


def _enum_checks(schema: Json) -> list[Check]:
    values = schema.get("enum")
    if not values:
        return []
    if all(isinstance(v, str) for v in values):
        known = frozenset(values)
        return [lambda value: value.__class__ is str and value in known]
    return [lambda value: any(same_value(value, v) for v in values)]


def same_value(left: Any, right: Any) -> bool:
    """Equality of JSON values in which 1 is 1.0 and true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(v, right[k]) for k, v in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    return bool(left == right)


def _composite_checks(schema: Json) -> list[Check]:
    checks: list[Check] = []
    for sub in schema.get("allOf") or ():
        checks.append(compile_check(sub))
    if any_of := [compile_check(s) for s in schema.get("anyOf") or ()]:
        checks.append(lambda value: any(c(value) for c in any_of))
    if one_of := [compile_check(s) for s in schema.get("oneOf") or ()]:
        checks.append(lambda value: sum(c(value) for c in one_of) == 1)
    if isinstance(schema.get("not"), Mapping):
        negated = compile_check(schema["not"])
        checks.append(lambda value: not negated(value))
    return checks


def _string_checks(schema: Json, format_check: Callable[[str], bool] | None) -> list[Check]:
    checks: list[Check] = []
    longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
    if longest is not None:
        checks.append(lambda value: len(value) <= longest)
    if shortest is not None:
        checks.append(lambda value: len(value) >= shortest)
    if pattern:
        checks.append(_pattern_check(pattern))
    if format_check is not None:
        checks.append(format_check)
    return checks


def _pattern_check(pattern: str) -> Check:
    def check(value: Any) -> bool:
        try:
            # As bytes: where in the text it matches, nobody asks.
            return compile_pattern(pattern).search(value.encode()) is not None
        except (PatternError, UnicodeEncodeError):
            return False

    return check


def _number_checks(schema: Json) -> list[Check]:
    checks: list[Check] = []
    maximum, minimum, factor = schema.get("maximum"), schema.get("minimum"), schema.get("multipleOf")
    if maximum is not None:
        checks.append((lambda v: v < maximum) if schema.get("exclusiveMaximum") else (lambda v: v <= maximum))
    if minimum is not None:
        checks.append((lambda v: v > minimum) if schema.get("exclusiveMinimum") else (lambda v: v >= minimum))
    if factor is not None:
        checks.append(lambda v: is_multiple(v, factor))
    if schema.get("type") == "integer":
        low, high = _RANGES.get(schema.get("format") or "", _RANGES["int64"])
        checks.append(lambda v: bool(low <= v < high and v == int(v)))
    return checks


def is_multiple(value: Any, factor: Any) -> bool:
    if isinstance(value, int):
        # beside an integer the factor is cut to one, and must still be positive
        return int(factor) > 0 and bool(value % int(factor) == 0)
    if factor <= 0:
        return False
    ratio = value / factor
    return bool(abs(ratio - round(ratio)) < 1e-9 * max(1.0, abs(ratio)))


def _list_checks(schema: Json) -> list[Check]:
    checks: list[Check] = []
    most, least = schema.get("maxItems"), schema.get("minItems")
    if most is not None:
        checks.append(lambda value: len(value) <= most)
    if least is not None:
        checks.append(lambda value: len(value) >= least)
    if isinstance(schema.get("items"), Mapping):
        item = compile_check(schema["items"])
        checks.append(lambda value: all([item(v) for v in value]))
    if schema.get("uniqueItems"):
        checks.append(are_unique)
    return checks


def are_unique(items: list[Any]) -> bool:
    seen = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in items}
    return len(seen) == len(items)


def _object_checks(schema: Json) -> list[Check]:
    checks: list[Check] = []
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None:
        checks.append(lambda value: len(value) <= most)
    if least is not None:
        checks.append(lambda value: len(value) >= least)
    if required := tuple(schema.get("required") or ()):
        checks.append(lambda value: all([name in value for name in required]))
    properties = {name: compile_check(sub) for name, sub in (schema.get("properties") or {}).items()}
    additional = schema.get("additionalProperties")
    other = compile_check(additional) if isinstance(additional, Mapping) else None
    if additional is False:
        checks.append(lambda value: value.keys() <= properties.keys())
    if properties or other is not None:
        checks.append(_properties_check(properties, other))
    return checks


def _properties_check(properties: dict[str, Check], other: Check | None) -> Check:
    def check(value: Any) -> bool:
        for key, item in value.items():
            sub = properties.get(key, other)
            if sub is not None and not sub(item):
                return False
        return True

    return check
