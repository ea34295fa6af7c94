"""A configuration laid over an object without an owner: what mutating policies do. Fields are merged as server-side apply merges
them, nothing is taken away, and nobody is noted as their manager.

Specified by "Mutating Admission Policy" (ApplyConfiguration).
"""

from __future__ import annotations

from typing import Any

from ..meta import Object
from ..schema import Schema
from ..schema.node import Node
from . import typed
from .typed import TypedError


def overlay(schema: Schema, live: Object, configuration: Object) -> Object:
    """``live`` with the configuration laid over it. Raises TypedError in upstream's words."""
    problems: list[str] = []
    typed.check(schema.root, configuration, "", problems)
    if problems:
        raise TypedError(f"failed to convert patch object to typed object: {'; '.join(problems)}")
    atomics = _atomics(schema.root, configuration, "")
    if atomics:
        raise TypedError(
            f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {', '.join(atomics)}"
        )
    merged: Object = typed.merge(schema.root, live, configuration)
    return merged


def _atomics(node: Node, value: Any, path: str) -> list[str]:
    """Paths of what can only be replaced as a whole: half of it would be lost without a word."""
    found: list[str] = []
    if isinstance(value, dict):
        if typed.is_atomic(node, value):
            found.append(path)
        for key, item in value.items():
            child = node.child(key)
            if child is not None:
                found += _atomics(child, item, f"{path}.{key}")
    elif isinstance(value, list):
        if typed.is_atomic(node, value):
            found.append(path)
        if node.items is not None:
            for index, item in enumerate(value):
                found += _atomics(node.items, item, f"{path}[{index}]")
    return found
