"""Types of expressions: the built-in ones, lists, maps, optionals, and objects described by a schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SHOWN = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


@dataclass(frozen=True, slots=True)
class Type:
    """``kind`` names simple types; ``parameters`` belong to list, map, optional and type."""

    kind: str
    parameters: tuple[Type, ...] = ()
    name: str = ""
    """Of an object, an opaque type or a type parameter."""
    fields: Mapping[str, ObjectField] | None = field(default=None, compare=False, hash=False)

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list({self.parameters[0]})"
        if self.kind == "map":
            return f"map({self.parameters[0]}, {self.parameters[1]})"
        if self.kind == "optional":
            return f"optional_type({self.parameters[0]})"
        if self.kind == "type":
            return f"type({self.parameters[0]})" if self.parameters else "type"
        return self.name or _SHOWN.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class ObjectField:
    """A field of an object: its type, and its name in JSON."""

    type: Type
    json_name: str


DYN, ERROR, NULL = Type("dyn"), Type("error", name="!error!"), Type("null")
BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
ANY = Type("dyn", name="google.protobuf.Any")
"""Any type, as messages about maps and lists of it name it."""
STRING, BYTES = Type("string"), Type("bytes")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
TYPE = Type("type")
_SIMPLE = {t.kind: t for t in (DYN, NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, TIMESTAMP, DURATION, TYPE)}


def list_of(item: Type) -> Type:
    return Type("list", (item,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def optional_of(value: Type) -> Type:
    return Type("optional", (value,))


def type_of(value: Type) -> Type:
    return Type("type", (value,))


def opaque(name: str) -> Type:
    """A type that only functions look into."""
    return Type("opaque", name=name)


def object_type(name: str, fields: Mapping[str, ObjectField]) -> Type:
    return Type("object", name=name, fields=fields)


def parameter(name: str) -> Type:
    return Type("param", name=name)


def parse(text: str) -> Type:
    """A type of a declaration: ``list(T)``, ``map(string, int)``, ``optional(T)``, ``kubernetes.URL``, ``T``."""
    made, rest = _parse(text.replace(" ", ""))
    if rest:
        raise ValueError(f"bad type {text!r}")
    return made


def _parse(text: str) -> tuple[Type, str]:
    end = next((i for i, c in enumerate(text) if c in "(),"), len(text))
    name, rest = text[:end], text[end:]
    if rest.startswith("("):
        inner: list[Type] = []
        rest = rest[1:]
        while True:
            item, rest = _parse(rest)
            inner.append(item)
            if not rest.startswith(","):
                break
            rest = rest[1:]
        return Type(name, tuple(inner)), rest[1:]
    if name in _SIMPLE:
        return _SIMPLE[name], rest
    if len(name) == 1 and name.isupper():
        return parameter(name), rest
    return opaque(name), rest
