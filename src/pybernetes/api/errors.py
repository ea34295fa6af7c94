"""The one error family: ``StatusError`` inside, a ``v1.Status`` body outside.

Reasons, codes and messages are upstream's (``meta/v1`` StatusReason and the API conventions, "Response Status Kind"),
because clients branch on them and people read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class FieldError:
    """One cause of an Invalid status: where, what kind, and the words after the kind.

    ``reason`` is a ``CauseType`` (``FieldValueRequired`` ...). ``str()`` gives upstream's
    ``spec.containers[0].name: Required value``.
    """

    path: str
    reason: str
    body: str

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


_GO_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_GO_ESCAPES |= {'"': '\\"', "\\": "\\\\"}
_JSON_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def _go_escape(char: str) -> str:
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    if char == " " or char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_quote(value: Any) -> str:
    """A value as Go's ``%q``/``%v`` prints it inside field errors: strings quoted, the rest bare or as Go's JSON."""
    if isinstance(value, str):
        if value.isalnum() and value.isascii():
            return f'"{value}"'
        return '"' + "".join(_go_escape(char) for char in value) + '"'
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return go_float(value) if isinstance(value, float) else str(value)
    return orjson.dumps(value).decode().translate(_JSON_ESCAPES)


def go_float(value: float) -> str:
    """Go's %v of a float64: the shortest digits, with an exponent for a million and more."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    digits, exponent = Decimal(repr(value)).normalize().as_tuple()[1:]
    if value == 0 or not isinstance(exponent, int):
        return "0"
    power = len(digits) + exponent - 1
    if -4 <= power < 6:
        return format(Decimal(repr(value)).normalize(), "f")
    text = "".join(map(str, digits))
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{'-' if value < 0 else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(
        path, "FieldValueInvalid", f"Invalid value: {go_quote(value)}" + (f": {detail}" if detail else "")
    )


def invalid_type(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "FieldValueTypeInvalid", f"Invalid value: {go_quote(value)}: {detail}")


def not_supported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    """``supported`` is printed in the order given (upstream sorts it in most callers)."""
    listed = ", ".join(go_quote(s) for s in supported)
    tail = f": supported values: {listed}" if listed else ""
    return FieldError(path, "FieldValueNotSupported", f"Unsupported value: {go_quote(value)}{tail}")


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {go_quote(value)}")


def forbidden_field(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(path: str, max_bytes: int) -> FieldError:
    return FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {max_bytes} bytes")


def too_many(path: str, actual: int, maximum: int) -> FieldError:
    return FieldError(path, "FieldValueTooMany", f"Too many: {actual}: must have at most {maximum} items")


def field_not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, "FieldValueNotFound", f"Not found: {go_quote(value)}")


@dataclass(eq=False)
class StatusError(Exception):
    """An API failure. ``to_status()`` is the body a client sees; ``retry_after`` becomes a Retry-After header."""

    code: int
    reason: str
    message: str
    details: dict[str, Any] | None = None
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message

    def to_status(self) -> dict[str, Any]:
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details) if self.details is not None else None
        if self.retry_after is not None:
            details = {**(details or {}), "retryAfterSeconds": self.retry_after}
        if details is not None:
            status["details"] = details
        status["code"] = self.code
        return status

    @classmethod
    def from_status(cls, status: dict[str, Any], code: int = 500) -> StatusError:
        """The error that a ``v1.Status`` body describes (the client's side of ``to_status``)."""
        details = status.get("details") or None
        retry = details.get("retryAfterSeconds") if details else None
        return cls(
            int(status.get("code") or code),
            status.get("reason") or "",
            status.get("message") or "",
            details,
            retry,
        )


def qualified(resource: str, group: str) -> str:
    """``deployments.apps``; the core group adds nothing."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str = "", uid: str = "") -> dict[str, Any]:
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if group:
        details["group"] = group
    if kind:
        details["kind"] = kind
    if uid:
        details["uid"] = uid
    return details


def not_found(group: str, resource: str, name: str) -> StatusError:
    return StatusError(
        404, "NotFound", f"{qualified(resource, group)} {go_quote(name)} not found", _details(group, resource, name)
    )


def path_not_found() -> StatusError:
    """What an unknown path answers: there is no resource to name."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, resource: str, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f"{qualified(resource, group)} {go_quote(name)} already exists",
        _details(group, resource, name),
    )


OPTIMISTIC_LOCK_MESSAGE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, resource: str, name: str, why: str = OPTIMISTIC_LOCK_MESSAGE) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f"Operation cannot be fulfilled on {qualified(resource, group)} {go_quote(name)}: {why}",
        _details(group, resource, name),
    )


def apply_conflict(causes: Sequence[tuple[str, str]], message: str) -> StatusError:
    """A server-side apply conflict; causes are (message, field) pairs."""
    details = {"causes": [{"reason": "FieldManagerConflict", "message": m, "field": f} for m, f in causes]}
    return StatusError(409, "Conflict", message, details)


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with the errors as causes, in upstream's aggregate wording (one bare, several in brackets)."""
    unique = list(dict.fromkeys(str(e) for e in errors))
    text = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
    details = _details(group, kind, name)
    details["causes"] = [{"reason": e.reason, "message": e.body, "field": e.path} for e in errors]
    return StatusError(422, "Invalid", f"{qualified(kind, group)} {go_quote(name)} is invalid: {text}", details)


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(group: str, resource: str, name: str, why: str) -> StatusError:
    """403 for a resource. ``why`` is the words after the colon."""
    target = qualified(resource, group)
    if name:
        text = f"{target} {go_quote(name)} is forbidden: {why}"
    elif resource:
        text = f"{target} is forbidden: {why}"
    else:
        text = f"forbidden: {why}"
    return StatusError(403, "Forbidden", text, _details(group, resource, name))


def method_not_supported(group: str, resource: str, action: str) -> StatusError:
    return StatusError(
        405,
        "MethodNotAllowed",
        f"{action} is not supported on resources of kind {go_quote(qualified(resource, group))}",
        _details(group, resource),
    )


def method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(message: str) -> StatusError:
    return StatusError(406, "NotAcceptable", message)


def expired(message: str = "The resourceVersion for the provided watch is too old.") -> StatusError:
    return StatusError(410, "Expired", message)


def too_old_resource_version(requested: int, oldest: int) -> StatusError:
    return expired(f"too old resource version: {requested} ({oldest})")


def request_entity_too_large(limit: int) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def unsupported_media_type(message: str) -> StatusError:
    return StatusError(415, "UnsupportedMediaType", message)


def too_many_requests(message: str = "Too many requests, please try again later.", retry_after: int = 1) -> StatusError:
    return StatusError(429, "TooManyRequests", message, retry_after=retry_after)


def internal_error(message: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def service_unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def timeout(message: str, retry_after: int = 0) -> StatusError:
    return StatusError(504, "Timeout", f"Timeout: {message}", retry_after=retry_after or None)
