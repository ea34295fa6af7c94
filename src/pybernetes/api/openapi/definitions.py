"""Schemas for OpenAPI: built-in definitions in the forms of v2 and v3, and those that CRDs bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import orjson

from ..schema.builtin import facts, node_of
from ..schema.node import BOOL, INT, LIST, MAP, NUMBER, STRING, STRUCT, Field, Node

Json = dict[str, Any]
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_PACKAGE = ("kubernetes-json-schema", "v1.36.0-local", "_definitions.json")


def load() -> dict[str, Json]:
    """The published definitions by name, with descriptions. Some 10 ms and 10 MB: do not keep it."""
    path = resources.files("kubernetes_validate").joinpath(*_PACKAGE)
    table: dict[str, Json] = orjson.loads(path.read_bytes())["$defs"]
    return table


class Builder:
    """Makes the definitions of one document; ``prefix`` is what references start with."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.prefix = "#/components/schemas/" if version == 3 else "#/definitions/"
        self._source = load()
        self.custom: dict[str, Json] = {}
        """Definitions of custom resources, by name."""

    def ref(self, name: str) -> Json:
        return {"$ref": self.prefix + name}

    def words(self, definition: str, field: str) -> Json:
        """The description of a built-in field."""
        return _described(self._source.get(definition, {}).get("properties", {}).get(field, {}))

    def collect(self, names: Iterable[str]) -> dict[str, Json]:
        """The named definitions and everything that they refer to, sorted by name."""
        made: dict[str, Json] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in made:
                continue
            schema = self.custom[name] if name in self.custom else self.builtin(name)
            made[name] = schema
            waiting += references(schema)
        return dict(sorted(made.items()))

    def builtin(self, name: str) -> Json:
        source = self._source.get(name)
        if source is None:
            return _undescribed(name, self)
        if name == _INT_OR_STRING:
            if self.version == 2:
                return {**_described(source), "type": "string", "format": "int-or-string"}
            either = [{"type": "integer"}, {"type": "string"}]
            return {**_described(source), "format": "int-or-string", "oneOf": either}
        if name == _QUANTITY:
            if self.version == 2:
                return {**_described(source), "type": "string"}
            return {**_described(source), "oneOf": [{"type": "string"}, {"type": "number"}]}
        if (
            name.startswith("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON")
            and "properties" not in source
        ):
            return _described(source)
        known = facts().structs
        fields = node_of(name).fields if name in known else {}
        return self._schema(source, None, fields)

    def _schema(
        self, source: Mapping[str, Any], field: Field | None, fields: Mapping[str, Field] | None = None
    ) -> Json:
        """One schema of the source in this document's form."""
        out = _described(source)
        if "$ref" in source:
            return self._reference(source, field, out)
        type_ = source.get("type")
        if type_:
            out["type"] = type_ if isinstance(type_, str) else type_[0]
        for key in ("format", "required"):
            if key in source:
                out[key] = source[key]
        if field is not None and field.node.enum:
            out["enum"] = list(field.node.enum)
            if field.name != "*":
                _name_values(out)
        default = self._default(field)
        if default is not None:
            out["default"] = default
        if "properties" in source:
            known = fields or {}
            out["properties"] = {k: self._schema(v, known.get(k)) for k, v in source["properties"].items()}
        for key, node in (("items", _items(field)), ("additionalProperties", _values(field))):
            if key in source:
                out[key] = self._schema(source[key], _as_field(node))
        out.update({k: v for k, v in source.items() if k.startswith("x-kubernetes-")})
        return out

    def _reference(self, source: Mapping[str, Any], field: Field | None, out: Json) -> Json:
        ref = self.ref(source["$ref"].rsplit("/", 1)[-1])
        extensions = {k: v for k, v in source.items() if k.startswith("x-kubernetes-")}
        if self.version == 2:
            return {**out, **ref, **extensions}
        default = self._default(field)
        if default is not None:
            out["default"] = default
        if not out and not extensions:
            return ref
        return {**out, "allOf": [ref], **extensions}

    def _default(self, field: Field | None) -> Any:
        if self.version == 2 or field is None or field.name == "":
            return None
        if field.node.default is not None:
            return field.node.default
        if field.node.kind == STRUCT and not field.pointer:
            return {}
        if field.name == "*" and field.node.kind in (STRING, INT, BOOL, NUMBER):
            return {STRING: "", INT: 0, BOOL: False, NUMBER: 0}[field.node.kind]
        return None


def _described(source: Mapping[str, Any]) -> Json:
    return {"description": source["description"]} if source.get("description") else {}


def _name_values(out: Json) -> None:
    values = "\n".join(f" - `{orjson.dumps(v).decode()}`" for v in out["enum"])
    out["description"] = f"{out.get('description', '')}\n\nPossible enum values:\n{values}".lstrip()


def _items(field: Field | None) -> Node | None:
    return field.node.items if field is not None and field.node.kind == LIST and not field.node.nullable else None


def _values(field: Field | None) -> Node | None:
    return field.node.values if field is not None and field.node.kind == MAP else None


def _as_field(node: Node | None) -> Field | None:
    """Items and map values have the defaults of their zero values."""
    return Field("*", node) if node is not None else None


def _undescribed(name: str, builder: Builder) -> Json:
    """Types that the package does not have: made from the type table, without words."""
    properties = {
        field.name: builder._schema(_bare(field.node, builder), field) for field in node_of(name).fields.values()
    }
    return {"type": "object", "properties": properties}


def _bare(node: Node, builder: Builder) -> Json:
    if node.kind == STRUCT and node.struct is not None:
        return {"$ref": "#/" + node.struct.name}
    out: Json = {"type": node.type or "object"}
    if node.kind == LIST and node.items is not None:
        out["items"] = _bare(node.items, builder)
    if node.kind == MAP and node.values is not None:
        out["additionalProperties"] = _bare(node.values, builder)
    return out


def references(schema: Any) -> list[str]:
    """Names of the definitions that a schema refers to."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            ref = at.get("$ref")
            if isinstance(ref, str):
                found.append(ref.rsplit("/", 1)[-1])
            waiting += at.values()
        elif isinstance(at, list):
            waiting += at
    return found
