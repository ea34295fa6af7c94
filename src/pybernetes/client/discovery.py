"""Discovery: which resources a server has, built-in and custom. One call a root where the server knows aggregated discovery."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..api.errors import StatusError
from ..api.meta import Object
from ..api.resources import GVK, GVR, ResourceInfo, SubresourceInfo, parse_api_version
from .rest import Client

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_ACCEPT = f"{_AGGREGATED},application/json"


async def discover(client: Client) -> tuple[list[ResourceInfo], list[str]]:
    """(all resources in all versions, the preferred version of a group first; group versions that did not answer)."""
    found: list[ResourceInfo] = []
    failed: list[str] = []
    for root in ("/api", "/apis"):
        document = await client.request("GET", root, accept=_ACCEPT)
        if document.get("kind") == "APIGroupDiscoveryList":
            for group in document.get("items") or []:
                _read_group(group, found, failed)
        else:
            await _read_old(client, root, document, found, failed)
    return found, failed


def preferred(infos: Iterable[ResourceInfo]) -> list[ResourceInfo]:
    """Of every resource of a group only the first version (discovery puts the preferred one first)."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for info in infos:
        key = (info.gvr.group, info.gvr.resource)
        if key not in seen:
            seen.add(key)
            chosen.append(info)
    return chosen


def _read_group(group: Object, found: list[ResourceInfo], failed: list[str]) -> None:
    name = (group.get("metadata") or {}).get("name") or ""
    for version in group.get("versions") or []:
        if version.get("freshness") == "Stale":
            failed.append(f"{name}/{version['version']}" if name else version["version"])
        for row in version.get("resources") or []:
            found.append(_aggregated_info(name, version["version"], row))


def _aggregated_info(group: str, version: str, row: Object) -> ResourceInfo:
    def kind(entry: Any) -> GVK:
        told = entry or {}
        # Empty means: that of the resource's own group version.
        return GVK(told.get("group") or group, told.get("version") or version, told.get("kind") or "")

    subresources = {
        s["subresource"]: SubresourceInfo(s["subresource"], kind(s.get("responseKind")), tuple(s.get("verbs") or ()))
        for s in row.get("subresources") or []
    }
    return ResourceInfo(
        GVR(group, version, row["resource"]),
        kind(row.get("responseKind")).kind,
        row.get("singularResource") or "",
        row.get("scope") == "Namespaced",
        tuple(row.get("verbs") or ()),
        tuple(row.get("shortNames") or ()),
        tuple(row.get("categories") or ()),
        subresources,
    )


async def _read_old(client: Client, root: str, document: Object, found: list[ResourceInfo], failed: list[str]) -> None:
    if root == "/api":
        versions = list(document.get("versions") or [])
    else:
        versions = []
        for group in document.get("groups") or []:
            listed = [v["groupVersion"] for v in group.get("versions") or []]
            first = (group.get("preferredVersion") or {}).get("groupVersion")
            versions += sorted(listed, key=lambda v: v != first)

    async def read(version: str) -> Object | StatusError:
        try:
            answer: Object = await client.request("GET", f"{root}/{version}")
            return answer
        except StatusError as failure:
            return failure

    for version, answer in zip(versions, await asyncio.gather(*map(read, versions)), strict=True):
        if isinstance(answer, StatusError):
            failed.append(version)
        else:
            found.extend(_old_infos(version, answer.get("resources") or []))


def _old_infos(group_version: str, rows: list[Object]) -> list[ResourceInfo]:
    group, version = parse_api_version(group_version)
    subresources: dict[str, dict[str, SubresourceInfo]] = {}
    for row in rows:
        parent, slash, name = row["name"].partition("/")
        if slash:
            gvk = GVK(row.get("group") or group, row.get("version") or version, row["kind"])
            subresources.setdefault(parent, {})[name] = SubresourceInfo(name, gvk, tuple(row.get("verbs") or ()))
    return [
        ResourceInfo(
            GVR(group, version, row["name"]),
            row["kind"],
            row.get("singularName") or "",
            bool(row.get("namespaced")),
            tuple(row.get("verbs") or ()),
            tuple(row.get("shortNames") or ()),
            tuple(row.get("categories") or ()),
            subresources.get(row["name"], {}),
        )
        for row in rows
        if "/" not in row["name"]
    ]
