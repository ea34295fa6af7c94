"""What was worked out once for a shape of object and holds for all objects of that shape.

Pods come in series from one template: hundreds differ in their names only. The managed fields of a created object depend
on which fields it has, the checks of a pod's spec on the spec and its annotations; both are remembered by the bytes that
they were worked out from. Only what was found good is remembered, so every error is worked out anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import orjson

from ..api.meta import Object

V = TypeVar("V")


class Memory(Generic[V]):
    """A bounded table: when it is full, all of it goes (series come and go; this costs nothing while they last)."""

    ENTRIES = 256
    LARGEST = 16384
    """Keys above this size are not worth their memory."""

    def __init__(self) -> None:
        self._known: dict[bytes, V] = {}

    def get(self, key: bytes) -> V | None:
        return self._known.get(key)

    def put(self, key: bytes, value: V) -> None:
        if len(key) > self.LARGEST:
            return
        if len(self._known) >= self.ENTRIES:
            self._known.clear()
        self._known[key] = value


LIST_KEYS = frozenset(
    (
        "apiServerID", "containerPort", "device", "devicePath", "driver", "ip", "key", "mountPath", "name", "pool", "port",
        "protocol", "resourceID", "rule", "shareID", "topologyKey", "type", "uid", "whenUnsatisfiable",
    )
)  # fmt: skip
"""Fields by which elements of built-in kinds' lists are told apart: their values are part of the managed fields' paths."""


def structure(value: Any) -> Any:
    """A value with every scalar left out that no path of its fields can hold."""
    if type(value) is dict:
        return {k: v if k in LIST_KEYS and type(v) in (str, int) else structure(v) for k, v in value.items()}
    if type(value) is list:
        return [structure(v) if type(v) in (dict, list) else v for v in value]  # a set's members are paths themselves
    # Where a field is always written, its zero is what an empty object has too, and nobody owns it.
    return 0 if value is None else 1 if value else 2


def field_shape(obj: Object, manager: str, *, builtin: bool = False) -> bytes | None:
    """Everything that the managed fields of a new object depend on; None where the client sent some itself.

    Of labels and annotations only the keys count, and the name not at all. The lists of built-in kinds are known, so of
    their other fields the values do not count either: pods that differ in an image or a variable have one shape.
    """
    metadata = obj["metadata"]
    if "managedFields" in metadata:
        return None
    rest = dict(metadata)
    rest.pop("name", None)
    rest.pop("namespace", None)
    labels, annotations = rest.pop("labels", None), rest.pop("annotations", None)
    parts = {k: structure(v) if builtin else v for k, v in obj.items() if k != "metadata"}
    return orjson.dumps(
        [
            manager,
            parts,
            rest,
            list(labels) if labels is not None else None,
            list(annotations) if annotations is not None else None,
        ]
    )


def spec_shape(obj: Object) -> bytes:
    """Everything that the checks of a pod's spec depend on, for specs where ``depends_on_name`` is false."""
    return orjson.dumps([obj.get("spec"), obj["metadata"].get("annotations")])


def depends_on_name(spec: Mapping[str, Any]) -> bool:
    """Whether the checks of a spec look at the pod's name: claims are named after it."""
    return bool(spec.get("resourceClaims")) or any("ephemeral" in v for v in spec.get("volumes") or ())
