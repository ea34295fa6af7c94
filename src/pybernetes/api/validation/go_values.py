"""Values of upstream's internal types as errors print them (see ``go_structs``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from .errors import shown_selector
from .go_structs import STRUCTS

Obj = dict[str, Any]
_ZEROS: dict[str, Any] = {"": "", "#": 0, "!": False, "0": "0", "?": None}
_IN_SECURITY_CONTEXT = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""Of a pod's spec on the wire, of its security context inside."""
_METADATA = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip


class _Pointed(dict[str, Any]):
    """A pointer to an empty struct, which is no missing pointer; an empty map is as good as none."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    wire: str
    mark: str
    struct: str
    """The struct that it holds, with ``[]`` or ``{}`` before it."""


@cache
def _struct(name: str) -> tuple[_Field, ...]:
    return tuple(_field(word) for word in _lines()[name])


@cache
def _lines() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for line in STRUCTS.strip().splitlines():
        if not line.startswith(" "):
            name, *words = line.split()
            found[name] = words
        else:
            words += line.split()
    return found


def _field(word: str) -> _Field:
    if word.startswith("+"):
        return _Field("", "", "+", word[1:])
    name, _, kind = word.partition(":")
    name, _, wire = name.partition("=")
    return _Field(name, wire or name[0].lower() + name[1:], kind[:1], kind[1:])


def go_value(obj: Obj | None, struct: str) -> Obj | None:
    """A value as Go's JSON prints the internal struct of this name, such as ``core.PodTemplateSpec``."""
    if obj is None:
        return None
    if struct == "core.PodSpec":
        obj = _pod_spec(obj)
    shown: Obj = {}
    for field in _struct(struct):
        if field.mark == "+":
            inner = _metadata(obj) if field.struct == "meta" else go_value(obj, field.struct)
            shown.update(inner or {})
            continue
        shown[field.name] = _value(obj.get(field.wire), field)
    return shown


def _value(value: Any, field: _Field) -> Any:
    if value is None:
        return go_value({}, field.struct) if field.mark == "*" else _ZEROS[field.mark]
    if field.struct.startswith("[]"):
        return [go_value(item, field.struct[2:]) for item in value]
    if field.struct.startswith("{}"):
        inner = field.struct[2:]
        return {k: go_value(v, inner) if inner else v for k, v in sorted(value.items())}
    if field.struct == "=":
        return shown_selector(value) or _Pointed()
    return go_value(value, field.struct) if field.struct else value


def _metadata(obj: Obj) -> Obj:
    metadata = obj.get("metadata") or {}
    shown = {name: metadata[name] for name in _METADATA if metadata.get(name)}
    for name in ("labels", "annotations"):
        if name in shown:
            shown[name] = dict(sorted(shown[name].items()))
    return shown


def _pod_spec(spec: Obj) -> Obj:
    moved = {name: spec[name] for name in _IN_SECURITY_CONTEXT if spec.get(name) is not None}
    return {**spec, "securityContext": {**(spec.get("securityContext") or {}), **moved}} if moved else spec


def same(a: Obj | None, b: Obj | None, struct: str) -> bool:
    """Whether two values of an internal struct are one: unset numbers are zero, but a pointer to "" is no missing one."""
    return a == b or _equal(go_value(a, struct), go_value(b, struct))


def _equal(a: Any, b: Any) -> bool:
    if a == b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        return all(_equal(a.get(k), b.get(k)) for k in a.keys() | b.keys())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, _Pointed) or isinstance(b, _Pointed):
        return False
    unset: tuple[Any, ...] = (None, [], {})
    return a in unset and b in unset
