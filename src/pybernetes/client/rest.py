"""The REST client: one method a verb, wire objects as plain dicts, failures as ``StatusError``.

Specified by the "Kubernetes API Concepts" page. A broken connection raises ``TransportError``; nothing is retried here but
what the server asks for by 429 with Retry-After (bounded), because only the caller knows what may be repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from ..api.errors import StatusError
from ..api.meta import Object, name_of, namespace_of
from ..api.resources import GVR
from ..concurrency import Clock, RealClock
from ..wire.errors import ProtocolError
from ..wire.watch import LineDecoder
from .transport import ClientRequest, Transport, TransportError

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; an ERROR event is raised as StatusError instead."""

    type: str
    object: Object


def path_for(gvr: GVR, namespace: str = "", name: str = "", subresource: str = "") -> str:
    parts = [gvr.path]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(gvr.resource)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


class Client:
    """Calls one API server. Safe for concurrent use in one event loop."""

    MAX_RETRIES_ON_429 = 10

    def __init__(
        self,
        transport: Transport,
        *,
        clock: Clock | None = None,
        user_agent: str = "pybernetes",
        field_manager: str = "",
    ) -> None:
        self.transport = transport
        self.clock: Clock = clock or RealClock()
        self.user_agent = user_agent
        self.field_manager = field_manager

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = 60.0,
    ) -> Any:
        """The decoded JSON answer (text where it is not JSON). Raises StatusError, TransportError or TimeoutError."""
        status, headers, payload = await self.request_raw(
            method, path, body, query=query, content_type=content_type, accept=accept, timeout=timeout
        )
        if "json" in headers.get("content-type", ""):
            return orjson.loads(payload)
        return payload.decode("utf-8", "replace")

    async def request_raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = 60.0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, body) of a successful answer."""
        request = self._build(method, path, body, query, content_type, accept)
        for attempt in range(self.MAX_RETRIES_ON_429 + 1):
            async with self.clock.timeout(timeout):
                response = await self.transport.send(request)
                try:
                    payload = await response.read()
                finally:
                    response.close()
            if response.status < 400:
                return response.status, response.headers, payload
            retry_after = response.headers.get("retry-after", "")
            if response.status == 429 and retry_after.isdigit() and attempt < self.MAX_RETRIES_ON_429:
                await self.clock.sleep(int(retry_after))
                continue
            break
        raise _error_of(response.status, payload)

    def _build(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, content_type: str, accept: str
    ) -> ClientRequest:
        target = path
        if query:
            target += ("&" if "?" in path else "?") + urlencode(query)
        headers = {"User-Agent": self.user_agent, "Accept": accept}
        payload = b""
        if body is not None:
            headers["Content-Type"] = content_type
            payload = body if isinstance(body, bytes) else orjson.dumps(body)
        return ClientRequest(method, target, headers, payload)

    def _write_query(self, dry_run: bool, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        query = dict(extra or {})
        if self.field_manager:
            query.setdefault("fieldManager", self.field_manager)
        if dry_run:
            query["dryRun"] = "All"
        return query

    async def get(self, gvr: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        result: Object = await self.request("GET", path_for(gvr, namespace, name, subresource))
        return result

    async def list(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        resource_version_match: str = "",
        accept: str = "application/json",
    ) -> Object:
        """The list object (``items``, ``metadata.resourceVersion``, ``metadata.continue``)."""
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "limit": str(limit) if limit else "",
            "continue": continue_token,
            "resourceVersion": resource_version,
            "resourceVersionMatch": resource_version_match,
        }
        result: Object = await self.request(
            "GET", path_for(gvr, namespace), query={k: v for k, v in query.items() if v}, accept=accept
        )
        return result

    async def create(
        self,
        gvr: GVR,
        obj: Object,
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """POST to the collection, or to ``name``'s subresource (binding, eviction, token)."""
        result: Object = await self.request(
            "POST",
            path_for(gvr, namespace or namespace_of(obj), name, subresource),
            obj,
            query=self._write_query(dry_run),
        )
        return result

    async def update(self, gvr: GVR, obj: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        result: Object = await self.request(
            "PUT", path_for(gvr, namespace_of(obj), name_of(obj), subresource), obj, query=self._write_query(dry_run)
        )
        return result

    async def patch(
        self,
        gvr: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        patch_type: str = MERGE_PATCH,
        dry_run: bool = False,
    ) -> Object:
        result: Object = await self.request(
            "PATCH",
            path_for(gvr, namespace, name, subresource),
            patch,
            content_type=patch_type,
            query=self._write_query(dry_run),
        )
        return result

    async def apply(
        self,
        gvr: GVR,
        obj: Object,
        *,
        field_manager: str = "",
        force: bool = False,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply."""
        query = self._write_query(dry_run, {"fieldManager": field_manager or self.field_manager or self.user_agent})
        if force:
            query["force"] = "true"
        result: Object = await self.request(
            "PATCH",
            path_for(gvr, namespace_of(obj), name_of(obj), subresource),
            obj,
            content_type=APPLY_PATCH,
            query=query,
        )
        return result

    async def delete(
        self,
        gvr: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy:
            options["propagationPolicy"] = propagation_policy
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if preconditions:
            options["preconditions"] = preconditions
        result: Object = await self.request("DELETE", path_for(gvr, namespace, name), options)
        return result

    async def watch(
        self,
        gvr: GVR,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
        accept: str = "application/json",
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events until the server ends the stream. Bookmarks are asked for. Use with ``contextlib.aclosing``."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": str(timeout_seconds) if timeout_seconds else "",
        }
        request = self._build("GET", path_for(gvr, namespace), None, {k: v for k, v in query.items() if v}, "", accept)
        response = await self.transport.send(request)
        try:
            if response.status >= 400:
                raise _error_of(response.status, await response.read())
            async with aclosing(_lines(response.chunks())) as lines:
                async for line in lines:
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise StatusError.from_status(event["object"])
                    yield WatchEvent(event["type"], event["object"])
        finally:
            response.close()


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    decoder = LineDecoder()
    async for chunk in chunks:
        try:
            lines = decoder.feed(chunk)
        except ProtocolError as failure:
            raise TransportError(f"not a watch: {failure}", sent=True) from failure
        for line in lines:
            yield line


def _error_of(status: int, payload: bytes) -> StatusError:
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        body = None
    if isinstance(body, dict) and body.get("kind") == "Status":
        return StatusError.from_status(body, status)
    return StatusError(status, "", payload.decode("utf-8", "replace").strip() or f"the server answered {status}")
