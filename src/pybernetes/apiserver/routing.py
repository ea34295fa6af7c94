"""From method and path to what is asked. Specified by ``apiserver/pkg/endpoints/request``."""

from __future__ import annotations

from ..api.errors import StatusError
from .request import Request, RequestInfo

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_NAMESPACE_SUBRESOURCES = frozenset(("status", "finalize"))
_FALSE = frozenset(("false", "0", "f"))


def is_true(values: list[str] | None) -> bool:
    """A boolean query parameter: present and not false (an empty value counts as true)."""
    return bool(values) and values[0].lower() not in _FALSE  # type: ignore[index]


def route(request: Request) -> RequestInfo:
    """What a request is about. Never fails but where upstream cannot tell the resource (StatusError 400)."""
    method, path = request.method, request.path
    segments = path.strip("/").split("/")
    if len(segments) < 3 or segments[0] not in ("api", "apis"):
        return RequestInfo(False, method.lower(), path)
    if segments[0] == "api":
        group, version, rest = "", segments[1], segments[2:]
    elif len(segments) < 4:
        return RequestInfo(False, method.lower(), path)
    else:
        group, version, rest = segments[1], segments[2], segments[3:]
    verb = _VERBS.get(method, "")
    if rest[0] in ("watch", "proxy"):
        if len(rest) < 2:
            raise StatusError(400, "BadRequest", f"unable to determine kind and namespace from url, {path}")
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 and verb != "proxy" else ""
    if not name:
        if verb == "get":
            verb = "watch" if request.raw_query and is_true(request.query.get("watch")) else "list"
            name = _selected_name(request)
        elif verb == "delete":
            verb = "deletecollection"
    return RequestInfo(True, verb, path, group, version, rest[0], subresource, namespace, name, tuple(rest))


def _selected_name(request: Request) -> str:
    """A list or watch narrowed to one name by field selector asks about that name (authorization looks at it)."""
    if "fieldSelector" not in request.raw_query:
        return ""
    for term in request.param("fieldSelector").split(","):
        field, _, value = term.partition("=")
        if field == "metadata.name":
            name = value.removeprefix("=")
            return "" if segment_problem(name) else name
    return ""


def segment_problem(name: str) -> str:
    """Why a name cannot be part of a path."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    return ";".join(f"may not contain '{c}'" for c in "/%" if c in name)
