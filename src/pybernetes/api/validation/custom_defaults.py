"""Defaults in the schemas of custom resource definitions: each must be an object that its own schema lets in.

Specified by "Specifying a structural schema", "Defaulting".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from ..cel.rules import has_rules, validate_rules
from ..errors import FieldError, invalid_value
from ..schema.embedded import resource_errors
from ..schema.node import Node
from ..schema.structural import META_FIELDS, drops_something
from ..schema.validation import ROOT, validate_value
from .errors import Errors


def validate_defaults(root: Node, path: str) -> Errors:
    """``path`` is that of ``openAPIV3Schema``."""
    return list(_walk(root, path, root=True))


def _walk(node: Node, path: str, *, root: bool = False, in_meta: bool = False) -> Iterator[FieldError]:
    if node.embedded:
        in_meta = False
    if node.default is not None and not root:
        yield from _check(node, f"{path}.default", in_meta)
    if node.items is not None and node.items.openapi is not None:
        yield from _walk(node.items, f"{path}.items", in_meta=in_meta)
    for name, field in node.fields.items():
        if field.node.openapi is not None:
            below = in_meta or (node.embedded and name in META_FIELDS)
            yield from _walk(field.node, f"{path}.properties[{name}]", in_meta=below)


def _check(node: Node, path: str, in_meta: bool) -> Iterator[FieldError]:
    value = copy.deepcopy(node.default)
    if not in_meta and drops_something(node, value):
        yield invalid_value(path, value, "must not have unknown fields")
    found = resource_errors(node, value, path) if not in_meta else []
    if not found:
        found = [_below(path, error) for error in validate_value(node, value)]
    if not found and has_rules(node):
        # As an update of itself, and as what comes where nothing was.
        found = [_below(path, error) for error in validate_rules(node, value, value)[0]]
        found = found or [_below(path, error) for error in validate_rules(node, value, None)[0]]
    yield from found


def _below(path: str, error: FieldError) -> FieldError:
    if error.path in ("", ROOT):
        return FieldError(path, error.reason, error.body)
    joined = path + error.path if error.path.startswith("[") else f"{path}.{error.path}"
    return FieldError(joined, error.reason, error.body)
