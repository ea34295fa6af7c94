"""What servers behind this one tell of themselves, for discovery and OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from ...api.resources import API_SERVICES
from ...hooks.reading import ObjectReader
from ..request import Request, Response
from .decide import Ranks
from .merging import renamed, stale
from .remotes import Remotes

OPENAPI_V3 = "/openapi/v3/"


class Behind:
    """``discovery.Behind`` and ``documents.BehindDocuments``."""

    def __init__(self, remotes: Remotes, reader: ObjectReader) -> None:
        self._remotes, self._reader = remotes, reader

    # -- discovery --------------------------------------------------------------------------------------------------

    def merged(self, own: Mapping[str, list[str]]) -> dict[str, list[str]]:
        served = self._remotes.served
        if not served:
            return dict(own)
        found = {group: list(versions) for group, versions in own.items()}
        for group, version in sorted(served):
            if version not in found.setdefault(group, []):
                found[group].append(version)
        ranks, theirs = Ranks(self._reader.list(API_SERVICES)), {group for group, _ in served}
        return {g: ranks.versions(g, found[g]) if g in theirs else found[g] for g in ranks.groups(found)}

    def entry(self, group: str, version: str) -> Mapping[str, Any] | None:
        remote = self._remotes.served.get((group, version))
        if remote is None:
            return None
        if not remote.available or remote.discovery is None:
            return stale(version, remote.discovery)
        return remote.discovery

    # -- OpenAPI ----------------------------------------------------------------------------------------------------

    def with_v2(self, document: bytes) -> bytes:
        parts = [r.openapi_v2 for r in list(self._remotes.served.values()) if r.openapi_v2[0]]
        if not parts:
            return document
        whole = orjson.loads(document)
        for paths, definitions in parts:
            paths, definitions = renamed(paths, definitions, whole["definitions"])
            whole["paths"].update(paths)
            whole["definitions"].update(definitions)
        return orjson.dumps(whole)

    def v3_index(self) -> Mapping[str, Any]:
        return {
            path: {"serverRelativeURL": url}
            for remote in self._remotes.served.values()
            for path, url in remote.openapi.items()
        }

    async def v3_document(self, path: str, request: Request) -> Response | None:
        for remote in self._remotes.served.values():
            url = remote.openapi.get(path)
            if url is not None:
                # It may be kept elsewhere there than we tell of here.
                theirs = Request(
                    request.method, urlsplit(url).path or OPENAPI_V3 + path, request.raw_query, request.headers,
                    request.body, request.credentials, request.info, request.user,
                )  # fmt: skip
                return await self._remotes.answer(remote, theirs)
        return None
