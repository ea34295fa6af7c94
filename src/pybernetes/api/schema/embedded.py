"""Objects inside custom resources (``x-kubernetes-embedded-resource``): their apiVersion, kind and metadata."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..errors import FieldError
from ..validation.formats import dns_1035_label_problems
from ..validation.meta import path_segment_name, validate_object_meta
from .builtin import OBJECT_META, node_of
from .mismatch import decode_error
from .node import Node


def _has_embedded(node: Node) -> bool:
    known: bool | None = node.compiled.get("embedded")
    if known is None:
        below = [f.node for f in node.fields.values()] + [n for n in (node.values, node.items) if n is not None]
        node.compiled["embedded"] = known = any(
            n.openapi is not None and (n.embedded or _has_embedded(n)) for n in below
        )
    return known


def embedded_errors(node: Node, value: Any, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not _has_embedded(node):
        return found
    pairs: list[tuple[Node | None, Any, str]] = []
    if isinstance(value, dict):
        pairs = [(node.child(k), v, f"{path}.{k}" if path else k) for k, v in value.items()]
    elif isinstance(value, list):
        pairs = [(node.items, v, f"{path}[{i}]") for i, v in enumerate(value)]
    for child, item, below in pairs:
        if child is None or child.openapi is None:
            continue
        if child.embedded and isinstance(item, dict):
            found += _resource_errors(item, below)
        found += embedded_errors(child, item, below)
    return found


def resource_errors(node: Node, value: Any, path: str) -> list[FieldError]:
    """Those of a value that may be an object itself, and of objects in it."""
    own = _resource_errors(value, path) if node.embedded and isinstance(value, dict) else []
    return own + embedded_errors(node, value, path)


def _resource_errors(value: dict[str, Any], path: str) -> list[FieldError]:
    found = [errors.required(f"{path}.{name}") for name in ("apiVersion", "kind") if name not in value]
    for name in ("apiVersion", "kind"):
        item, where = value.get(name), f"{path}.{name}"
        if name not in value:
            continue
        if not isinstance(item, str):
            found.append(errors.invalid_value(where, item, "must be a string"))
        elif not item:
            found.append(errors.invalid_value(where, item, "must not be empty"))
        elif name == "apiVersion":
            if item.count("/") > 1:
                found.append(errors.invalid_value(where, item, f"unexpected GroupVersion string: {item}"))
        elif problems := dns_1035_label_problems(item.lower()):
            words = "may have mixed case, but should otherwise match: " + ",".join(problems)
            found.append(errors.invalid_value(where, item, words))
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        named = metadata if metadata.get("name") else {**metadata, "name": "fakename"}
        found += validate_object_meta(named, bool(metadata.get("namespace")), path_segment_name, f"{path}.metadata")
    return found


def coercion_error(node: Node, value: Any, path: str) -> str | None:
    """What keeps an embedded object from being decoded: wrong types of its apiVersion, kind or metadata."""
    if not _has_embedded(node):
        return None
    pairs: list[tuple[Node | None, Any, str]] = []
    if isinstance(value, dict):
        pairs = [(node.child(k), v, f"{path}.{k}" if path else k) for k, v in value.items()]
    elif isinstance(value, list):
        pairs = [(node.items, v, f"{path}[{i}]") for i, v in enumerate(value)]
    for child, item, below in pairs:
        if child is None or child.openapi is None:
            continue
        if child.embedded and isinstance(item, dict):
            for name in ("apiVersion", "kind"):
                if name in item and not isinstance(item[name], str):
                    return str(errors.invalid_value(f"{below}.{name}", item[name], "must be a string"))
            failure = decode_error(node_of(OBJECT_META), item.get("metadata"))
            if failure:
                return str(errors.invalid_value(f"{below}.metadata", item["metadata"], failure))
        found = coercion_error(child, item, below)
        if found:
            return found
    return None
