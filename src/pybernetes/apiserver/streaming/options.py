"""Query parameters of the CONNECT and log subresources, decoded as upstream decodes them.

A boolean is false where it is absent, ``0`` or ``false``, and true for anything else, an empty value included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...api import errors
from ...api.errors import FieldError, bad_request
from ...api.meta import Object
from ...api.times import parse_time, to_time
from ...wire.remotecommand import StreamOptions
from ..request import Request

Query = Mapping[str, Sequence[str]]
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64_MAX = (1 << 63) - 1


def boolean(query: Query, name: str) -> bool:
    values = query.get(name)
    return bool(values) and values[0] != "0" and values[0].lower() != "false"  # type: ignore[index]


def text(query: Query, name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def integer(query: Query, name: str) -> int | None:
    """Raises 400 in the words of Go's strconv."""
    values = query.get(name)
    if not values:
        return None
    value = values[0]
    if not _INTEGER.fullmatch(value):
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    if not -_INT64_MAX - 1 <= int(value) <= _INT64_MAX:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": value out of range')
    return int(value)


def time(query: Query, name: str) -> str | None:
    values = query.get(name)
    if not values or not values[0] or values[0] == "null":
        return None
    try:
        return to_time(parse_time(values[0]))
    except ValueError as failure:
        raise bad_request(
            f'parsing time "{values[0]}" as "2006-01-02T15:04:05Z07:00": cannot parse "{values[0]}" as "2006"'
        ) from failure


def _object(kind: str, **fields: Any) -> Object:
    return {"kind": kind, "apiVersion": "v1", **{k: v for k, v in fields.items() if v not in (None, "", False, [])}}


def _streams(kind: str, query: Query, **more: Any) -> Object:
    flags = {name: boolean(query, name) for name in ("stdin", "stdout", "stderr", "tty")}
    return _object(kind, **flags, container=text(query, "container"), **more)


def exec_options(query: Query) -> Object:
    return _streams("PodExecOptions", query, command=list(query.get("command") or ()))


def attach_options(query: Query) -> Object:
    return _streams("PodAttachOptions", query)


def port_forward_options(query: Query) -> Object:
    ports = []
    for value in query.get("ports") or ():
        for part in value.split(","):
            if not _INTEGER.fullmatch(part):
                raise bad_request(f'strconv.ParseInt: parsing "{part}": invalid syntax')
            ports.append(int(part))
    return _object("PodPortForwardOptions", ports=ports)


def log_options(query: Query) -> Object:
    return _object(
        "PodLogOptions",
        container=text(query, "container"),
        follow=boolean(query, "follow"),
        previous=boolean(query, "previous"),
        timestamps=boolean(query, "timestamps"),
        insecureSkipTLSVerifyBackend=boolean(query, "insecureSkipTLSVerifyBackend"),
        sinceTime=time(query, "sinceTime"),
        stream=text(query, "stream"),
    ) | {
        name: value
        for name in ("sinceSeconds", "tailLines", "limitBytes")
        if (value := integer(query, name)) is not None
    }


def validate_log_options(name: str, options: Object) -> None:
    """Raises 422 in upstream's words."""
    found: list[FieldError] = []
    if options.get("tailLines", 0) < 0:
        found.append(errors.invalid_value("tailLines", options["tailLines"], "must be greater than or equal to 0"))
    if options.get("limitBytes", 1) < 1:
        found.append(errors.invalid_value("limitBytes", options["limitBytes"], "must be greater than 0"))
    if "sinceSeconds" in options and "sinceTime" in options:
        found.append(errors.forbidden_field("<nil>", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif options.get("sinceSeconds", 1) < 1:
        found.append(errors.invalid_value("sinceSeconds", options["sinceSeconds"], "must be greater than 0"))
    if "stream" in options:
        found.append(errors.forbidden_field("stream", "may not be specified"))
    if found:
        raise errors.invalid("", "PodLogOptions", name, found)


def stream_options(options: Object) -> StreamOptions:
    return StreamOptions(*(bool(options.get(name)) for name in ("stdin", "stdout", "stderr", "tty")))


def proxy_path(request: Request) -> str:
    """The rest of the path behind ``proxy``, with its slashes."""
    info = request.info
    path = "/".join(info.parts[3:]) if info is not None else ""
    if path and not path.startswith("/"):
        path = "/" + path
    if request.path.endswith("/") and not path.endswith("/"):
        path += "/"
    return path


def connect_options(request: Request) -> Object | None:
    """The options object of a CONNECT request, which admission looks at; None for anything else. Raises 400."""
    info = request.info
    if info is None or info.group:
        return None
    query = request.query
    match info.resource, info.subresource:
        case "pods", "exec":
            return exec_options(query)
        case "pods", "attach":
            return attach_options(query)
        case "pods", "portforward":
            return port_forward_options(query)
        case ("pods" | "services" | "nodes") as resource, "proxy":
            kind = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}[resource]
            return _object(kind, path=proxy_path(request))
    return None
