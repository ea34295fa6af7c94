"""Discovery: which groups, versions, resources and verbs are served; aggregated (v2) and in the old three steps.

Documents are made from the registry when it has changed, and kept with their ETags. Specified by "The Kubernetes API",
"Discovery API".
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from ..api.errors import path_not_found
from ..api.resources import GVK, ResourceInfo
from .registry import Registry, Resource, Versions
from .request import Request, Response, page_not_found

_GROUP = "apidiscovery.k8s.io"
LIST_KIND = "APIGroupDiscoveryList"


class Behind(Protocol):
    """What servers behind this one serve."""

    def merged(self, own: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Groups and versions, theirs among ours."""
        ...

    def entry(self, group: str, version: str) -> Mapping[str, Any] | None:
        """One of their group versions as ``apidiscovery.k8s.io`` tells it; None where it is not theirs."""
        ...


@dataclass(slots=True)
class _Document:
    body: bytes
    etag: str


def _document(value: Any) -> _Document:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return _Document(body, f'"{hashlib.sha512(body).hexdigest().upper()}"')


def storage_version_hash(gvk: GVK) -> str:
    """What the old discovery says of the stored version: equal where two servers store the same way."""
    digest = hashlib.sha256(f"{gvk.group}/{gvk.version}/{gvk.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


@dataclass(slots=True)
class GroupOrder:
    """How clients should rank groups and versions; smaller comes first."""

    groups: Mapping[str, int] = field(default_factory=dict)


class Discovery:
    """Answers ``/api``, ``/apis`` and what is below them that is no resource."""

    def __init__(
        self, registry: Registry, address: Callable[[], str] = lambda: "", behind: Behind | None = None
    ) -> None:
        """``behind`` is what other servers serve."""
        self._registry = registry
        self._behind = behind
        self._address = address
        self._generation = -1
        self._documents: dict[tuple[str, str], _Document] = {}
        self._told: dict[str, Versions] = {}
        self._order: dict[str, list[str]] = {}
        """Groups and their versions, all of them, in the order that clients should prefer."""

    def _renew(self) -> None:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._documents.clear()
            self._told = self._registry.told()
            self._order = {group: list(versions) for group, versions in self._told.items()}
            if self._behind is not None:
                self._order = self._behind.merged(self._order)

    def _kept(self, key: tuple[str, str], make: Callable[[], Any]) -> _Document:
        self._renew()
        document = self._documents.get(key)
        if document is None:
            document = self._documents[key] = _document(make())
        return document

    # -- requests ---------------------------------------------------------------------------------------------------

    async def api(self, request: Request) -> Response:
        """``/api``."""
        version = aggregated_version(request)
        if version:
            return self._aggregated(request, "", version)
        return _plain(self._legacy_versions())

    async def apis(self, request: Request) -> Response:
        """``/apis``."""
        version = aggregated_version(request)
        if version:
            return self._aggregated(request, "apis", version)
        return _answer(request, self._kept(("groups", ""), self._groups), etag=False)

    async def below(self, request: Request) -> Response:
        """``/api/v1``, ``/apis/GROUP`` and ``/apis/GROUP/VERSION``. Raises StatusError 404."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "api" and len(parts) == 2:
            group, version = "", parts[1]
        elif parts[0] == "apis" and len(parts) in (2, 3):
            group, version = parts[1], parts[2] if len(parts) == 3 else ""
        else:
            raise path_not_found()
        self._renew()
        versions = self._order.get(group)
        if versions is None and not version:
            return page_not_found()
        if versions is None and self._registry.is_foreign(group):
            return page_not_found()
        if versions is None or (version and version not in versions):
            raise path_not_found()
        if not version:
            return _answer(request, self._kept(("group", group), lambda: self._group(group)), etag=False)
        key = ("version", f"{group}/{version}")
        return _answer(request, self._kept(key, lambda: self._resources(group, version)), etag=False)

    def _aggregated(self, request: Request, which: str, version: str) -> Response:
        document = self._kept((f"aggregated{which}", version), lambda: self._aggregate(which, version))
        content_type = f"application/json;g={_GROUP};v={version};as={LIST_KIND}"
        return _answer(request, document, content_type, etag=True)

    # -- documents --------------------------------------------------------------------------------------------------

    def _legacy_versions(self) -> _Document:
        return _document(
            {
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address()}],
            }
        )

    def _group(self, group: str) -> Any:
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group_entry(group)}

    def _group_entry(self, group: str) -> dict[str, Any]:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._order[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _groups(self) -> Any:
        groups = [self._group_entry(g) for g in self._order if g]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def _resources(self, group: str, version: str) -> Any:
        found: list[dict[str, Any]] = []
        for resource in self._told[group][version].values():
            found += _legacy_entries(resource)
        found.sort(key=lambda r: r["name"])
        api_version = f"{group}/{version}" if group else version
        head = {"kind": "APIResourceList", "apiVersion": "v1"} if group else {"kind": "APIResourceList"}
        return {**head, "groupVersion": api_version, "resources": found}

    def _aggregate(self, which: str, version: str) -> Any:
        items = []
        for group, versions in self._order.items():
            if bool(group) == bool(which):
                entries = [self._version_entry(group, v) for v in versions]
                items.append({"metadata": {"name": group} if group else {}, "versions": entries})
        return {"kind": LIST_KIND, "apiVersion": f"{_GROUP}/{version}", "metadata": {}, "items": items}

    def _version_entry(self, group: str, version: str) -> Mapping[str, Any]:
        remote = self._behind.entry(group, version) if self._behind is not None else None
        if remote is not None:
            return remote
        resources = self._told[group][version]
        rows = [_aggregated_entry(r) for _, r in sorted(resources.items())]
        return {"version": version, "resources": rows, "freshness": "Current"}


def _verbs(resource: Resource) -> list[str]:
    """What a client may still do: nothing is made of what is being removed."""
    verbs = list(resource.info.verbs)
    return [v for v in verbs if v not in ("create", "update", "patch")] if resource.terminating else verbs


def _legacy_entries(resource: Resource) -> list[dict[str, Any]]:
    info = resource.info
    entry: dict[str, Any] = {
        "name": info.gvr.resource,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": _verbs(resource),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if resource.storage is not None:
        storage = resource.storage
        entry["storageVersionHash"] = storage_version_hash(GVK(storage.group, storage.version, info.kind))
    found = [entry]
    for sub in info.subresources.values():
        below: dict[str, Any] = {
            "name": f"{info.gvr.resource}/{sub.name}",
            "singularName": "",
            "namespaced": info.namespaced,
        }
        if (sub.kind.group, sub.kind.version) != (info.gvr.group, info.gvr.version):
            below["group"], below["version"] = sub.kind.group, sub.kind.version
        found.append({**below, "kind": sub.kind.kind, "verbs": list(sub.verbs)})
    return found


def _kind_entry(kind: GVK, info: ResourceInfo, builtin: bool) -> dict[str, str]:
    """An empty group and version mean the resource's own; of custom resources they are always written."""
    own = builtin and (kind.group, kind.version) == (info.gvr.group, info.gvr.version)
    return {"group": "" if own else kind.group, "version": "" if own else kind.version, "kind": kind.kind}


def _aggregated_entry(resource: Resource) -> dict[str, Any]:
    info = resource.info
    entry: dict[str, Any] = {
        "resource": info.gvr.resource,
        "responseKind": _kind_entry(info.gvk, info, resource.kind.builtin),
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": _verbs(resource),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if info.subresources:
        entry["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": _kind_entry(s.kind, info, resource.kind.builtin),
                "verbs": list(s.verbs),
            }
            for _, s in sorted(info.subresources.items())
        ]
    return entry


def aggregated_version(request: Request) -> str:
    """``v2`` or ``v2beta1`` where the client prefers the aggregated form to plain JSON, '' where not."""
    for clause in request.headers.get("accept", "").split(","):
        media, *parameters = (p.strip() for p in clause.split(";"))
        if media != "application/json":
            continue
        pairs = dict(p.partition("=")[::2] for p in parameters)
        if not pairs.get("as"):
            return ""
        if pairs.get("as") == LIST_KIND and pairs.get("g") == _GROUP and pairs.get("v") in ("v2", "v2beta1"):
            return pairs["v"]
    return ""


def _plain(document: _Document) -> Response:
    return Response(200, document.body)


def _answer(request: Request, document: _Document, content_type: str = "application/json", *, etag: bool) -> Response:
    if not etag:
        return Response(200, document.body, content_type)
    headers = [("Etag", document.etag), ("Vary", "Accept")]
    if document.etag in [t.strip() for t in request.headers.get("if-none-match", "").split(",")]:
        return Response(304, b"", "", headers)
    headers[1:] = [("Vary", "Accept"), ("Cache-Control", "public")]
    return Response(200, document.body, content_type, headers)
