"""The nodes of a compiled schema: one tree for built-in and custom kinds.

Decoding, defaulting, patches and server-side apply all walk these nodes. The merge attributes are the published
``x-kubernetes-*`` extensions ("Merge strategy" in the server-side apply page, "Strategic merge patch" in the API
conventions). Struct types are shared between fields and resolved when first touched, so recursive types cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

STRUCT, MAP, LIST = "struct", "map", "list"
STRING, BOOL, INT, NUMBER = "string", "bool", "int", "number"
QUANTITY, INT_OR_STRING, BYTES = "quantity", "intorstring", "bytes"
TIME, MICRO_TIME, DURATION = "time", "microtime", "duration"
ANY = "any"
"""Free-form JSON: RawExtension, FieldsV1, ``x-kubernetes-preserve-unknown-fields``, untyped schemas."""


class StructType:
    """The fields of an object type, made on first use; ``atomic`` and the names are known at once."""

    __slots__ = ("_load", "_node_fields", "atomic", "compiled", "go_name", "name")

    def __init__(self, name: str, go_name: str, load: Callable[[], dict[str, Field]], *, atomic: bool = False) -> None:
        self.name = name
        self.go_name = go_name
        self.atomic = atomic
        self.compiled: dict[str, Any] = {}
        self._load: Callable[[], dict[str, Field]] | None = load
        self._node_fields: dict[str, Field] = {}

    @property
    def fields(self) -> dict[str, Field]:
        if self._load is not None:
            self._node_fields = self._load()
            self._load = None
        return self._node_fields


@dataclass(slots=True, eq=False)
class Node:
    """One place of a schema. ``kind`` is one of the constants above."""

    kind: str
    go: str = ""
    """The Go type in decoder errors, as ``v1.PodPhase`` or ``int32``."""
    struct: StructType | None = None
    items: Node | None = None
    values: Node | None = None
    """Schema of a map's values (additionalProperties); for a struct of a CRD, of its other keys."""
    list_type: str = ""
    list_map_keys: tuple[str, ...] = ()
    map_type: str = ""
    patch_strategy: str = ""
    patch_merge_key: str = ""
    enum: tuple[str, ...] = ()
    bits: int = 64
    preserve_unknown: bool = False
    embedded: bool = False
    nullable: bool = False
    default: Any = None
    openapi: Mapping[str, Any] | None = None
    """The OpenAPI v3 schema of a CRD's node: what ``validate`` compiles."""
    compiled: dict[str, Any] = field(default_factory=dict)
    """Functions compiled from this node, by purpose."""

    @property
    def fields(self) -> Mapping[str, Field]:
        return self.struct.fields if self.struct is not None else {}

    @property
    def type(self) -> str:
        """The OpenAPI type: object, array, string, integer, number, boolean, or nothing where any is allowed."""
        return _OPENAPI_TYPE[self.kind]

    @property
    def atomic(self) -> bool:
        """Whether appliers own this node as one value."""
        if self.kind == LIST:
            return self.list_type not in ("map", "set")
        if self.kind in (STRUCT, MAP):
            if self.map_type:
                return self.map_type == "atomic"
            return self.struct is not None and self.struct.atomic
        return False

    def child(self, key: str) -> Node | None:
        """The schema of one key of an object; None where the key is unknown."""
        if self.struct is not None:
            known = self.struct.fields.get(key)
            if known is not None:
                return known.node
        return self.values

    def at(self, path: Iterable[str | int]) -> Node | None:
        """The node below: strings are keys, integers go into lists."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            node = node.items if isinstance(step, int) else node.child(step)
        return node

    def with_(self, **changes: Any) -> Node:
        return replace(self, compiled={}, **changes)


@dataclass(slots=True, eq=False)
class Field:
    """A named field of a struct. The emptiness rules are those of Go's encoder (only built-in kinds have them)."""

    name: str
    node: Node
    pointer: bool = False
    omit_empty: bool = True
    omit_zero: bool = False
    number: int = 0
    embedded: tuple[str, ...] = ()
    """Names of the embedded Go structs on the way to this field: the decoder's errors name them."""


_OPENAPI_TYPE = {
    STRUCT: "object",
    MAP: "object",
    LIST: "array",
    STRING: "string",
    BOOL: "boolean",
    INT: "integer",
    NUMBER: "number",
    QUANTITY: "string",
    INT_OR_STRING: "",
    BYTES: "string",
    TIME: "string",
    MICRO_TIME: "string",
    DURATION: "string",
    ANY: "",
}
