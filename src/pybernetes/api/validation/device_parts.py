"""What claims for devices and slices of devices share: names, lists with limits, conditions of binding, raw objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import duplicate, invalid_value, required, too_long, too_many
from .errors import Errors, Obj, invalid_each
from .formats import dns_label_problems, dns_subdomain_problems, identifier_problems, label_value_problems, size
from .meta import validate_label_name
from .volumes import validate_driver_name

MAX_DRIVER_CONFIG = 10 * 1024
MAX_POOL_NAME = 253
MAX_IDENTIFIER = 32
MAX_BINDING_CONDITIONS = 4
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
Check = Callable[[Any, str], Errors]


def list_of(items: Iterable[Any] | None, most: int, check: Check, path: str) -> Errors:
    """A list with a limit (none below zero), beyond which nothing else is looked at."""
    found = list(items or ())
    if 0 <= most < len(found):
        return [too_many(path, len(found), most)]
    return [e for i, item in enumerate(found) for e in check(item, f"{path}[{i}]")]


def set_of(
    items: Iterable[Any] | None, most: int, check: Check, path: str, *, key: Callable[[Any], Any] = lambda i: i
) -> Errors:
    """A list with a limit in which no key stands twice."""
    listed = list(items or ())
    found = list_of(listed, most, check, path)
    if 0 <= most < len(listed):
        return found
    seen: set[Any] = set()
    for i, item in enumerate(listed):
        if key(item) in seen:
            found.append(duplicate(f"{path}[{i}]", key(item)))
        seen.add(key(item))
    return found


def device_name(name: str, path: str) -> Errors:
    return invalid_each(path, name, dns_label_problems(name))


def label_value(value: str, path: str) -> Errors:
    return invalid_each(path, value, label_value_problems(value))


def pool_name(name: str, path: str) -> Errors:
    if not name:
        return [required(path)]
    found = [too_long(path, MAX_POOL_NAME)] if size(name) > MAX_POOL_NAME else []
    return found + [e for part in name.split("/") for e in invalid_each(path, part, dns_subdomain_problems(part))]


def share_id(uid: str, path: str) -> Errors:
    if _UUID.fullmatch(uid):
        return []
    words = _uuid_problem(uid)
    if words:
        return [invalid_value(path, uid, f"error validating uid: {words}")]
    words = (
        "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal "
        "characters"
    )
    return [invalid_value(path, uid, words)]


def _uuid_problem(uid: str) -> str:
    """What github.com/google/uuid says of it; nothing where it is one, however it is written."""
    plain = uid
    if len(uid) == 45:
        if uid[:9].lower() != "urn:uuid:":
            return f'invalid urn prefix: "{uid[:9]}"'
        plain = uid[9:]
    elif len(uid) == 38:
        if uid[0] != "{" or uid[-1] != "}":
            return "invalid bracketed UUID format"
        plain = uid[1:-1]
    elif len(uid) == 32:
        return "" if re.fullmatch(r"[0-9a-fA-F]{32}", uid) else "invalid UUID format"
    elif len(uid) != 36:
        return f"invalid UUID length: {len(uid)}"
    return "" if _UUID.fullmatch(plain.lower()) else "invalid UUID format"


def qualified_name(name: str, path: str) -> Errors:
    """A C identifier, with a domain and a slash before it or without."""
    parts = name.split("/")
    if len(parts) == 1:
        return _identifier(name, path)
    if len(parts) > 2:
        return []  # as upstream: names of three parts pass
    domain, identifier = parts
    words = "the domain must not be empty"
    found = validate_driver_name(domain, path) if domain else [invalid_value(path, "", words)]
    if not identifier:
        return [*found, invalid_value(path, "", "the name must not be empty")]
    return found + _identifier(identifier, path)


def _identifier(name: str, path: str) -> Errors:
    found = [too_long(path, MAX_IDENTIFIER)] if size(name) > MAX_IDENTIFIER else []
    return found + invalid_each(path, name, identifier_problems(name))


def fully_qualified_name(name: str, path: str) -> Errors:
    found = qualified_name(name, path)
    if "/" not in name:
        words = "a fully qualified name must be a domain and a name separated by a slash"
        found.append(invalid_value(path, name, words))
    return found


def raw_object(value: Any, path: str, limit: int | None) -> Errors:
    """Any JSON object, of at most so many bytes."""
    if value is None:
        return [required(path)]
    if limit is not None and size(json.dumps(value, separators=(",", ":"), ensure_ascii=False)) > limit:
        return [too_long(path, limit)]
    return [] if isinstance(value, dict) else [invalid_value(path, "<value omitted>", "must be a valid JSON object")]


def validate_binding_conditions(holder: Obj, path: str) -> Errors:
    """``bindingConditions`` and ``bindingFailureConditions``: few, different, and both or neither."""
    fields = ("bindingConditions", "bindingFailureConditions")
    wanted, failures = (holder.get(f) or [] for f in fields)
    found: Errors = []
    for field, names in zip(fields, (wanted, failures), strict=True):
        found += list_of(names, MAX_BINDING_CONDITIONS, validate_label_name, f"{path}.{field}")
    found += [duplicate(f"{path}.{fields[0]}[{i}]", n) for i, n in enumerate(wanted) if n in wanted[:i]]
    for i, name in enumerate(failures):
        where = f"{path}.{fields[1]}[{i}]"
        if name in failures[:i]:
            found.append(duplicate(where, name))
        if name in wanted:
            words = "bindingFailureConditions must not overlap with bindingConditions"
            found.append(invalid_value(where, name, words))
    if failures and not wanted:
        words = "bindingConditions are required to use bindingFailureConditions"
        found.append(invalid_value(f"{path}.{fields[0]}", holder.get(fields[0]), words))
    if wanted and not failures:
        words = "bindingFailureConditions are required to use bindingConditions"
        found.append(invalid_value(f"{path}.{fields[1]}", holder.get(fields[1]), words))
    return found
