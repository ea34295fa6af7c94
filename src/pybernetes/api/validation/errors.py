"""Paths and a few errors that the checks use besides those of ``api.errors``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import FieldError, forbidden_field, go_quote, invalid_value, required

Errors = list[FieldError]
Obj = dict[str, Any]


def at(path: str, *fields: str) -> str:
    """``path`` with fields appended; an empty path is the object itself."""
    tail = ".".join(fields)
    return f"{path}.{tail}" if path else tail


def invalid_each(path: str, value: Any, problems: Iterable[str]) -> Errors:
    """One Invalid error for each thing that is wrong with a value."""
    return [invalid_value(path, value, problem) for problem in problems]


def missing(obj: Obj, path: str, *fields: str) -> Errors:
    """A Required error for each of these fields that is unset."""
    return [required(at(path, field)) for field in fields if not obj.get(field)]


def bare_invalid(path: str, detail: str) -> FieldError:
    """An Invalid error that does not print its value."""
    return FieldError(path, "FieldValueInvalid", "Invalid value" + (f": {detail}" if detail else ""))


def too_few(path: str, actual: int, least: int) -> FieldError:
    plural = "item" if least == 1 else "items"
    return FieldError(path, "FieldValueTooFew", f"Too few: {actual}: must have at least {least} {plural}")


def too_short(path: str, least: int) -> FieldError:
    return FieldError(path, "FieldValueTooShort", f"Too short: must be at least {least} bytes")


def sorted_map(values: Obj | None) -> Obj | None:
    """A map as Go's JSON prints it: by key."""
    return None if values is None else dict(sorted(values.items()))


def shown_selector(selector: Obj | None) -> Obj | None:
    """A LabelSelector as Go's JSON prints it."""
    if selector is None:
        return None
    shown: Obj = {}
    if selector.get("matchLabels"):
        shown["matchLabels"] = sorted_map(selector["matchLabels"])
    if selector.get("matchExpressions"):
        shown["matchExpressions"] = [
            {"key": e.get("key") or "", "operator": e.get("operator") or ""}
            | ({"values": e["values"]} if e.get("values") else {})
            for e in selector["matchExpressions"]
        ]
    return shown


_ZEROS: dict[str, Any] = {"?": None, "#": 0, "!": False}


def go_struct(obj: Obj | None, fields: str) -> Obj | None:
    """A struct as upstream prints those whose internal types have no JSON names: by Go's names, every field there.

    ``fields`` lists wire names, in order; a mark tells the zero value: ``?`` null, ``#`` 0, ``!`` false, none "". A name
    that Go spells another way than with a capital follows after a colon.
    """
    if obj is None:
        return None
    shown: Obj = {}
    for field in fields.split():
        wire, _, spelled = field.partition(":")
        zero: Any = ""
        if wire[-1] in _ZEROS:
            zero, wire = _ZEROS[wire[-1]], wire[:-1]
        shown[spelled or wire[0].upper() + wire[1:]] = obj.get(wire, zero)
    return shown


def quoted_set(values: Iterable[str]) -> str:
    """A set of strings as Go's ``%v`` of a sorted slice prints it: ``[a b]``."""
    return "[" + " ".join(sorted(values)) + "]"


def go_strings(values: Iterable[str]) -> str:
    """A slice of strings as Go's ``%#v`` prints it."""
    return "[]string{" + ", ".join(go_quote(v) for v in values) + "}"


__all__ = [
    "Errors",
    "FieldError",
    "Obj",
    "at",
    "bare_invalid",
    "forbidden_field",
    "go_strings",
    "go_struct",
    "invalid_each",
    "missing",
    "quoted_set",
    "shown_selector",
    "sorted_map",
    "too_few",
    "too_short",
]
