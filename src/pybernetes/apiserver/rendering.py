"""From what the client accepts to a view, and the last touches to a whole body: YAML, indentation, gzip."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from ..api import tables
from ..api.errors import StatusError, bad_request, not_acceptable
from ..api.meta import Object
from ..api.resources import GVK
from .negotiation import ACCEPTED, PLAIN, PROTOBUF, YAML, MediaType, negotiate
from .registry import Resource
from .request import Request, Response
from .views import PartialView, TableView, View

GZIP_THRESHOLD = 128 * 1024
GZIP_LEVEL = 1
GZIP_INLINE = 512 * 1024
_INCLUDES = ("", "None", "Metadata", "Object")
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


class Renderer:
    """Chooses and keeps the views of resources."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def media(self, request: Request) -> MediaType:
        """Raises StatusError 406."""
        accept = request.headers.get("accept")
        if not accept:
            return PLAIN
        return negotiate(accept, streams=request.info is None or request.info.verb in ("list", "watch"))

    def media_of_answers(self, request: Request) -> MediaType:
        """As ``media``, for a resource that is answered and never stored: it has no Table. Raises StatusError 406."""
        accept = request.headers.get("accept")
        return negotiate(accept, tables=False) if accept else PLAIN

    def answer(self, request: Request, media: MediaType, resource: Resource, response: Response) -> Response:
        """The JSON answer of such a resource in the form that was asked for."""
        if response.content_type.startswith("application/json") and response.status < 300:
            if media.convert:
                meta = orjson.loads(response.whole).get("metadata") or {}
                partial = {"kind": media.convert, "apiVersion": f"meta.k8s.io/{media.version}", "metadata": meta}
                response.body = orjson.dumps(partial, option=orjson.OPT_APPEND_NEWLINE)
            elif media.format == PROTOBUF and (binary := resource.protobuf) is not None:
                response.body, response.content_type = binary.obj(orjson.loads(response.whole)), PROTOBUF
        return self.finish(request, media, response)

    def view(self, request: Request, media: MediaType, resource: Resource, verb: str) -> View:
        """The view of a stored resource for this request. Raises StatusError 400 and 406."""
        if verb == "watch" and media.format == YAML:
            raise not_acceptable(
                "only the following media types are accepted: application/json;stream=watch, "
                "application/vnd.kubernetes.protobuf;stream=watch"
            )
        if not media.convert:
            return self._plain(resource, media, request.headers.get("accept", ""))
        include = request.param("includeObject") if request.raw_query else ""
        if include not in _INCLUDES:
            raise bad_request(
                f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": '
                "must be 'Metadata', 'Object', 'None', or empty"
            )
        many = verb in ("list", "deletecollection")
        if media.convert == "PartialObjectMetadata" and many:
            raise not_acceptable(
                f"you requested PartialObjectMetadata, but the requested object is a list ({_go_type(resource, True)})"
            )
        if media.convert == "PartialObjectMetadataList" and not many:
            raise not_acceptable(
                "you requested PartialObjectMetadataList, but the requested object is not a list "
                f"({_go_type(resource, False)})"
            )
        key = f"{media.convert}:{media.version}:{include}:{media.format}"
        view = resource.views.get(key)
        if view is None:
            view = resource.views[key] = self._converted(resource, media, include)
        return view

    @staticmethod
    def _plain(resource: Resource, media: MediaType, accept: str) -> View:
        if media.format != PROTOBUF:
            return resource.json
        binary = resource.protobuf
        if binary is not None:
            return binary
        try:
            negotiate(accept, protobuf=False)
        except StatusError:
            raise not_acceptable(f"only the following media types are accepted: {ACCEPTED}") from None
        return resource.json

    def _converted(self, resource: Resource, media: MediaType, include: str) -> View:
        convert = resource.conversion.from_storage if resource.conversion is not None else None
        view: TableView | PartialView
        if media.convert == "Table":
            view = TableView(resource.gvk, resource.kind, convert, media.version, include, self._now)
        elif media.format == PROTOBUF:
            from .binary import PartialProtobufView

            binary = PartialProtobufView(resource.gvk, convert, media.version)
            binary.source = resource.versioning
            return binary
        else:
            view = PartialView(resource.gvk, convert, media.version)
        view.source = resource.versioning
        return view

    def made_up(self, media: MediaType, gvk: GVK, obj: Object, columns: Mapping[str, Any] | None = None) -> bytes:
        """An object that is not stored (Scale), as itself or as a Table; ``columns`` as a definition's version has them."""
        if media.convert != "Table":
            return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)
        version = f"meta.k8s.io/{media.version}"
        now = self._now()
        row = {
            "cells": tables.row_cells(gvk, obj, now)
            if columns is None
            else tables.row_cells_for_crd(columns, obj, now),
            "object": {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": obj["metadata"]},
        }
        table = {
            "kind": "Table",
            "apiVersion": version,
            "metadata": {"resourceVersion": obj["metadata"].get("resourceVersion", "")},
            "columnDefinitions": tables.columns(gvk) if columns is None else tables.columns_for_crd(columns),
            "rows": [row],
        }
        return orjson.dumps(table, option=orjson.OPT_APPEND_NEWLINE)

    def finish(self, request: Request, media: MediaType, response: Response) -> Response:
        """Recodes and compresses a whole body as the client asked."""
        if response.stream is not None or response.upgrade is not None or response.live:
            return response
        whole = isinstance(response.body, bytes | tuple)
        if response.content_type.startswith("application/json") and whole:
            if media.format == YAML:
                response.body = to_yaml(response.whole)
                response.content_type = YAML + response.content_type.removeprefix("application/json")
            elif wants_pretty(request, media):
                response.body = indent(response.whole)
        accepted = request.headers.get("accept-encoding")
        if accepted and "gzip" in accepted:
            compress(response)
        return response


def _go_type(resource: Resource, many: bool) -> str:
    """What upstream calls the resource's type in such messages."""
    if not resource.kind.builtin:
        return "*unstructured.UnstructuredList" if many else "*unstructured.Unstructured"
    package = resource.gvr.group.partition(".")[0] or "core"
    return f"*{package}.{resource.info.list_kind if many else resource.info.kind}"


def wants_pretty(request: Request, media: MediaType) -> bool:
    """As asked by ``pretty``; browsers and the like get it unasked."""
    if media.pretty:
        return True
    if request.raw_query and "pretty" in request.query:
        return request.param("pretty").lower() not in ("false", "0")
    return request.headers.get("user-agent", "").startswith(_BROWSERS)


def indent(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_yaml(body: bytes) -> bytes:
    from .yamls import dump

    return dump(orjson.loads(body))


def compress(response: Response) -> None:
    """gzip, where the body is large enough to be worth the time; in another thread where it would take long."""
    body = response.body
    if isinstance(body, bytes):
        body = (body,)
    if isinstance(body, tuple):
        size = sum(map(len, body))
        if size < GZIP_THRESHOLD:
            return
        if size < GZIP_INLINE:
            packer = _packer()
            response.body = b"".join([*(packer.compress(p) for p in body), packer.flush()])
        else:
            response.body = _packed(_parts(body))
    else:
        response.body = _packed(body)
    response.headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]


def _packer() -> Any:
    return zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


async def _parts(body: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    for piece in body:
        for start in range(0, len(piece), GZIP_INLINE):
            yield piece[start : start + GZIP_INLINE]


async def _packed(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = _packer()
    async for part in parts:
        yield await asyncio.to_thread(packer.compress, part)
    yield packer.flush()
