"""What scripts of other sites may do in a browser: ``--cors-allowed-origins``.

Specified by ``apiserver/pkg/server/filters/cors.go``. A request from an allowed origin is answered like any other, with headers
that let the browser show the answer to the script; its preflight is answered here, before anybody asks who sends it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .request import Request, Response

METHODS = "POST, GET, OPTIONS, PUT, DELETE, PATCH"
HEADERS = (
    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since"
)


class CrossOrigin:
    """The origins that are allowed, by expressions that are found somewhere in them."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Raises ValueError for an expression that does not say where a host begins and ends."""
        self._allowed = [_expression(text) for text in allowed]

    def allows(self, request: Request) -> bool:
        origin = request.headers.get("origin", "")
        return bool(origin) and any(e.search(origin) for e in self._allowed)

    @staticmethod
    def headers(request: Request) -> list[tuple[str, str]]:
        return [
            ("Access-Control-Allow-Origin", request.headers["origin"]),
            ("Access-Control-Allow-Methods", METHODS),
            ("Access-Control-Allow-Headers", HEADERS),
            ("Access-Control-Expose-Headers", "Date"),
            ("Access-Control-Allow-Credentials", "true"),
        ]

    def preflight(self, request: Request) -> Response:
        return Response(204, b"", "", self.headers(request))


def _expression(text: str) -> re.Pattern[str]:
    pinned = ("^" in text or "//" in text) and ("$" in text or ":" in text)
    why = "" if pinned else "regular expression does not pin to start/end of host in the origin header"
    try:
        found = re.compile(text)
    except re.error as failure:
        why = str(failure)
    if why:
        raise ValueError(f"--cors-allowed-origins has an invalid regular expression: {why}")
    return found
