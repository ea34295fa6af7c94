"""``--audit-log-format=legacy``: an event as one line of text. Specified by ``apiserver/pkg/audit/format.go``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ...api.errors import go_quote


def legacy_lines(lines: bytes) -> bytes:
    """The text of one or more events, each a line of JSON."""
    return b"".join(legacy_line(orjson.loads(line)).encode() + b"\n" for line in lines.splitlines())


def legacy_line(event: Mapping[str, Any]) -> str:
    user = event.get("user") or {}
    name = user.get("username") or ""
    groups = _listed(user["groups"]) if name and user.get("groups") else "<none>"
    other = event.get("impersonatedUser")
    as_user, as_groups = "<self>", "<lookup>"
    if other is not None:
        as_user = other.get("username") or ""
        as_groups = _listed(other["groups"]) if other.get("groups") is not None else as_groups
    status, sources = event.get("responseStatus"), event.get("sourceIPs") or ()
    fields = {
        "id": event.get("auditID") or "",
        "stage": event.get("stage") or "",
        "ip": sources[0] if sources else "<unknown>",
        "method": event.get("verb") or "",
        "user": name or "<none>",
        "groups": groups,
        "as": as_user,
        "asgroups": as_groups,
        "user-agent": event.get("userAgent") or "",
        "namespace": (event.get("objectRef") or {}).get("namespace") or "<none>",
        "uri": event.get("requestURI") or "",
    }
    shown = " ".join(f"{k}={go_quote(v)}" for k, v in fields.items())
    response = "<deferred>" if status is None else str(status.get("code") or 0)
    return f'{_moment(event.get("requestReceivedTimestamp") or "")} AUDIT: {shown} response="{response}"'


def _listed(values: Sequence[str]) -> str:
    return ",".join(map(go_quote, values))


def _moment(text: str) -> str:
    """Without the zeros at the end of the fraction."""
    return text.removesuffix("Z").rstrip("0").rstrip(".") + "Z" if "." in text else text
