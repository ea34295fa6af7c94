"""OpenAPI over HTTP: ``/openapi/v2``, ``/openapi/v3`` and its documents, made when first asked for and kept.

Specified by "The Kubernetes API", "OpenAPI interface definition".
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from .. import __version__
from ..api.errors import not_acceptable, path_not_found
from ..api.openapi import CustomSchemas, openapi_v2, openapi_v2_custom, openapi_v3, openapi_v3_paths
from ..api.resources import GVK, ResourceInfo
from ..concurrency import Clock
from ..wire import openapi
from .registry import Registry
from .rendering import compress
from .request import Request, Response

YEAR = 365 * 24 * 3600.0
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF_ALIAS = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
_JSON = "application/json"
_ANY = ("*/*", "application/*")


class BehindDocuments(Protocol):
    """The documents of servers behind this one."""

    def with_v2(self, document: bytes) -> bytes:
        """The OpenAPI v2 document with theirs in it. May be called in another thread."""
        ...

    def v3_index(self) -> Mapping[str, Any]:
        """Their entries of ``/openapi/v3``."""
        ...

    async def v3_document(self, path: str, request: Request) -> Response | None:
        """One of their OpenAPI v3 documents; None where it is not theirs."""
        ...


class V2Document:
    """The one document of everything: what each custom resource adds is kept, so that a change costs what changed."""

    def __init__(self) -> None:
        self._builtin: tuple[list[ResourceInfo], bytes, bytes, bytes] | None = None
        self._customs: dict[GVK, tuple[ResourceInfo, Mapping[str, Any] | None, bytes, bytes]] = {}

    def document(self, infos: list[ResourceInfo], customs: CustomSchemas) -> bytes:
        """For one thread at a time."""
        builtin = [i for i in infos if i.gvk not in customs]
        if self._builtin is None or self._builtin[0] != builtin:
            document = openapi_v2(builtin)
            paths, definitions = orjson.dumps(document.pop("paths")), orjson.dumps(document.pop("definitions"))
            self._builtin = (builtin, orjson.dumps(document), paths[1:-1], definitions[1:-1])
        wanted = {i.gvk: i for i in infos if i.gvk in customs}
        kept = {}
        for gvk, known in self._customs.items():
            if gvk in wanted and known[0] == wanted[gvk] and known[1] is customs[gvk]:
                kept[gvk] = known
        missing = [i for gvk, i in wanted.items() if gvk not in kept]
        for gvk, more_paths, more in openapi_v2_custom(missing, customs) if missing else ():
            kept[gvk] = (wanted[gvk], customs[gvk], orjson.dumps(more_paths)[1:-1], orjson.dumps(more)[1:-1])
        self._customs = kept
        _, head, paths, definitions = self._builtin
        found = sorted(kept.items())
        all_paths = b",".join([paths, *(k[2] for _, k in found if k[2])])
        all_definitions = b",".join([definitions, *(k[3] for _, k in found)])
        return b'%b,"paths":{%b},"definitions":{%b}}' % (head[:-1], all_paths, all_definitions)


class OpenApi:
    """Answers OpenAPI requests of one server."""

    def __init__(
        self,
        registry: Registry,
        customs: Mapping[GVK, Mapping[str, Any] | None],
        clock: Clock,
        behind: BehindDocuments | None = None,
    ) -> None:
        """``customs`` are the OpenAPI v3 schemas of custom resources, and change with the registry; ``behind`` is what other
        servers serve, and changes with it too."""
        self._registry = registry
        self._clock = clock
        self._behind = behind
        self._generation = -1
        self._kept: dict[str, tuple[bytes, str]] = {}
        self._customs = customs
        self._known: list[ResourceInfo] = []
        self._marks: dict[str, str] = {}
        self._schema_marks: dict[GVK, tuple[Mapping[str, Any] | None, str]] = {}
        self._making: dict[str, asyncio.Event] = {}
        self._v2 = V2Document()

    def _infos(self) -> list[ResourceInfo]:
        self._renew()
        return self._known

    def _renew(self) -> None:
        """Everything is made anew after a change of the registry."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._kept.clear()
            self._known = [r.info for r in self._registry if not r.hidden]
            self._marks = self._mark_all()

    async def _document(self, key: str) -> tuple[bytes, str]:
        """(body, hash). Made from the registry as it is, aside from the event loop: a large one takes a second."""
        while True:
            self._renew()
            found = self._kept.get(key)
            if found is not None:
                return found
            running = self._making.get(key)
            if running is not None:
                await running.wait()
                continue
            done = self._making[key] = asyncio.Event()
            try:
                generation, infos, customs = self._generation, self._known, dict(self._customs)
                if key == "v2 protobuf":
                    body = await asyncio.to_thread(_binary, (await self._document("v2"))[0])
                else:
                    body = await asyncio.to_thread(self._make, key, infos, customs)
                made = (body, hashlib.sha512(body).hexdigest().upper())
                if self._generation == generation:
                    self._kept[key] = made
                return made
            finally:
                del self._making[key]
                done.set()

    def _make(self, key: str, infos: list[ResourceInfo], customs: CustomSchemas) -> bytes:
        if key == "v2":
            document = self._v2.document(infos, customs)
            return self._behind.with_v2(document) if self._behind is not None else document
        parts = key.split("/")
        if parts[0] in ("apis", "version") and len(parts) == 1:
            group, version = "*" if parts[0] == "apis" else "version", ""
        elif parts[0] == "api":
            group, version = "", parts[1] if len(parts) > 1 else ""
        else:
            group, version = parts[1], parts[2] if len(parts) > 2 else ""
        mine = [i for i in infos if i.gvr.group == group and i.gvr.version == version]
        return orjson.dumps(openapi_v3(group, version, mine, {i.gvk: customs[i.gvk] for i in mine if i.gvk in customs}))

    def _mark_all(self) -> dict[str, str]:
        """What the document of a group version depends on, by its path."""
        found: dict[str, list[str]] = {}
        for info in self._known:
            path = f"apis/{info.gvr.group}/{info.gvr.version}" if info.gvr.group else f"api/{info.gvr.version}"
            parts = found.setdefault(path, [])
            parts.append(info.gvr.resource)
            if info.gvk in self._customs:
                parts.append(f"{info!r}{self._schema_mark(info.gvk)}")
        return {path: ",".join(sorted(parts)) for path, parts in found.items()}

    def _schema_mark(self, gvk: GVK) -> str:
        schema = self._customs[gvk]
        known = self._schema_marks.get(gvk)
        # A definition that changes has another schema object; one that does not keeps its.
        if known is None or known[0] is not schema:
            known = self._schema_marks[gvk] = (schema, hashlib.sha256(orjson.dumps(schema)).hexdigest())
        return known[1]

    async def v2(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        types = [c.partition(";")[0].strip() for c in accept.split(",")] if accept else [_JSON]
        chosen = next((t for t in types if t in (_JSON, *_ANY, V2_PROTOBUF, V2_PROTOBUF_ALIAS)), "")
        if not chosen:
            raise not_acceptable(f"only the following media types are accepted: {_JSON}, {V2_PROTOBUF_ALIAS}")
        if chosen in (V2_PROTOBUF, V2_PROTOBUF_ALIAS):
            body, digest = await self._document("v2 protobuf")
            return _answer(request, body, f'"{digest}"', V2_PROTOBUF_ALIAS)
        body, digest = await self._document("v2")
        return _answer(request, body, f'"{digest}"')

    async def v3(self, request: Request) -> Response:
        """``/openapi/v3``: where each document is, with its hash."""
        paths = {
            p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={self._hash_of(p)}"}
            for p in openapi_v3_paths(self._infos())
        }
        if self._behind is not None:
            paths |= self._behind.v3_index()
        return _answer(request, orjson.dumps({"paths": paths}), "")

    def _hash_of(self, path: str) -> str:
        """The hash in the URL, which is the document's ETag too. It has to change with the document, which depends on these
        alone: making all of them for the index is slow."""
        return hashlib.sha512(f"{__version__}:{path}:{self._marks.get(path, '')}".encode()).hexdigest().upper()

    async def v3_document(self, request: Request) -> Response:
        path = request.path.removeprefix("/openapi/v3/").strip("/")
        theirs = await self._behind.v3_document(path, request) if self._behind is not None else None
        if theirs is not None:
            return theirs
        if path not in openapi_v3_paths(self._infos()):
            raise path_not_found()
        types = [c.partition(";")[0].strip() for c in (request.headers.get("accept") or "*/*").split(",")]
        if not any(t in (_JSON, *_ANY) for t in types):
            return Response(406, b"", "", [("Vary", "Accept")])
        given = request.param("hash") if request.raw_query else ""
        while True:
            generation, wanted = self._registry.generation, self._hash_of(path)
            if given and given != wanted:
                return Response(301, b"", "", [("Location", f"/openapi/v3/{path}?hash={wanted}")])
            body, _ = await self._document(path)
            if generation == self._registry.generation:
                break
        response = _answer(request, body, f'"{wanted}"')
        if given:
            response.headers += [("Cache-Control", "public, immutable"), ("Expires", self._in_a_year())]
        return response

    def _in_a_year(self) -> str:
        return email.utils.formatdate(self._clock.now() + YEAR, usegmt=True)


def _binary(document: bytes) -> bytes:
    return openapi.encode(orjson.loads(document))


def _answer(request: Request, body: bytes, etag: str, content_type: str = _JSON) -> Response:
    headers = [("Vary", "Accept")]
    if etag:
        headers.append(("Etag", etag))
        if etag in [t.strip() for t in request.headers.get("if-none-match", "").split(",")]:
            return Response(304, b"", "", headers)
    response = Response(200, body, content_type, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        compress(response)
    return response
