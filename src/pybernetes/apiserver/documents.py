"""OpenAPI over HTTP: ``/openapi/v2``, ``/openapi/v3`` and its documents, made when first asked for and kept.

Specified by "The Kubernetes API", "OpenAPI interface definition".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from ..api.errors import not_acceptable, path_not_found
from ..api.openapi import openapi_v2, openapi_v3, openapi_v3_paths
from ..api.resources import GVK, ResourceInfo
from .registry import Registry
from .rendering import compress
from .request import Request, Response

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF_ALIAS = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
_JSON = "application/json"
_ANY = ("*/*", "application/*")


class OpenApi:
    """Answers OpenAPI requests of one server."""

    def __init__(self, registry: Registry, customs: Mapping[GVK, Mapping[str, Any] | None]) -> None:
        """``customs`` are the OpenAPI v3 schemas of custom resources, and change with the registry."""
        self._registry = registry
        self._generation = -1
        self._kept: dict[str, tuple[bytes, str]] = {}
        self._customs = customs
        self._known: list[ResourceInfo] = []
        self._marks: dict[str, str] = {}

    def _infos(self) -> list[ResourceInfo]:
        self._renew()
        return self._known

    def _renew(self) -> None:
        """Everything is made anew after a change of the registry."""
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._kept.clear()
            self._known = [r.info for r in self._registry if not r.hidden]
            self._marks = _marks(self._known, self._customs)

    def _document(self, key: str) -> tuple[bytes, str]:
        """(body, hash). Made from the registry as it is; a change of it makes everything anew."""
        self._renew()
        found = self._kept.get(key)
        if found is None:
            body = orjson.dumps(self._make(key))
            found = self._kept[key] = (body, hashlib.sha512(body).hexdigest().upper())
        return found

    def _make(self, key: str) -> Any:
        infos = self._infos()
        if key == "v2":
            return openapi_v2(infos, self._customs)
        parts = key.split("/")
        if parts == ["apis"]:
            return openapi_v3("*", "", infos, self._customs)
        if parts == ["version"]:
            return openapi_v3("version", "", infos, self._customs)
        if parts[0] == "api":
            return openapi_v3("", parts[1] if len(parts) > 1 else "", infos, self._customs)
        return openapi_v3(parts[1], parts[2] if len(parts) > 2 else "", infos, self._customs)

    async def v2(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        types = [c.partition(";")[0].strip() for c in accept.split(",")] if accept else [_JSON]
        if not any(t in (_JSON, *_ANY) for t in types):
            raise not_acceptable(f"only the following media types are accepted: {_JSON}")
        body, digest = self._document("v2")
        return _answer(request, body, f'"{digest}"')

    async def v3(self, request: Request) -> Response:
        """``/openapi/v3``: where each document is, with its hash."""
        paths = {
            p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={self._hash_of(p)}"}
            for p in openapi_v3_paths(self._infos())
        }
        return _answer(request, orjson.dumps({"paths": paths}), "")

    def _hash_of(self, path: str) -> str:
        """The hash in the URL only has to change with the document, and making all of them for the index is slow."""
        return hashlib.sha256(f"{path}:{self._marks.get(path, '')}".encode()).hexdigest().upper()

    async def v3_document(self, request: Request) -> Response:
        path = request.path.removeprefix("/openapi/v3/").strip("/")
        if path not in openapi_v3_paths(self._infos()):
            raise path_not_found()
        wanted = self._hash_of(path)
        given = request.param("hash") if request.raw_query else ""
        if given and given != wanted:
            location = f"/openapi/v3/{path}?hash={wanted}"
            return Response(301, b"", "", [("Location", location)])
        body, digest = self._document(path)
        response = _answer(request, body, f'"{digest}"')
        if given and response.status == 200:
            response.headers += [("Cache-Control", "public, immutable"), ("Expires", "Thu, 31 Dec 2099 23:59:59 GMT")]
        return response


def _answer(request: Request, body: bytes, etag: str) -> Response:
    headers = [("Vary", "Accept")]
    if etag:
        headers.append(("Etag", etag))
        if etag in [t.strip() for t in request.headers.get("if-none-match", "").split(",")]:
            return Response(304, b"", "", headers)
    response = Response(200, body, _JSON, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        compress(response)
    return response


def _marks(infos: Iterable[ResourceInfo], customs: Mapping[GVK, Mapping[str, Any] | None]) -> dict[str, str]:
    """What the document of a group version depends on, by its path."""
    found: dict[str, list[str]] = {}
    for info in infos:
        path = f"apis/{info.gvr.group}/{info.gvr.version}" if info.gvr.group else f"api/{info.gvr.version}"
        found.setdefault(path, []).append(info.gvr.resource)
        if info.gvk in customs:
            # A definition's schema is replaced as a whole when it changes, and kept while it does not.
            about = [repr(info), customs[info.gvk]]
            found[path].append(hashlib.sha256(orjson.dumps(about)).hexdigest())
    return {path: ",".join(sorted(parts)) for path, parts in found.items()}
