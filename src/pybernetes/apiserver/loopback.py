"""The server calls itself, as itself: what admission, bootstrap and the like use in place of a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from ..api.errors import StatusError
from ..api.meta import Object
from ..hooks.identity import LOOPBACK, Credentials
from .request import Request, Response

USER_AGENT = "kube-apiserver"
"""It becomes the field manager of what the server writes."""


class Loopback:
    """``hooks.admission.Requester``."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle

    async def __call__(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Object:
        headers = {"content-type": content_type, "accept": "application/json", "user-agent": USER_AGENT}
        target, _, query = path.partition("?")
        payload = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        request = Request(method, target, query, headers, payload, Credentials(headers), user=LOOPBACK)
        response = await self._handle(request)
        answer: Object = orjson.loads(response.whole or b"{}")
        if response.status >= 400:
            raise StatusError.from_status(answer, response.status)
        return answer
