"""Discovery and OpenAPI of other servers, brought into the form of ours. Pure.

Specified by ``apidiscovery.k8s.io/v2`` and kube-aggregator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

GROUP_KINDS = ("v2", "v2beta1")


def versions_of(document: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The entries of an APIGroupDiscoveryList by group and version. What is malformed is left out."""
    found = {}
    for group in _dicts(document.get("items") if isinstance(document, dict) else None):
        name = (group.get("metadata") or {}).get("name") or ""
        for version in _dicts(group.get("versions")):
            if isinstance(version.get("version"), str):
                entry = {**version, "resources": [_with_kinds(r) for r in _dicts(version.get("resources"))]}
                found[name, version["version"]] = entry
    return found


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _with_kinds(row: dict[str, Any]) -> dict[str, Any]:
    """Every resource has a kind, be it an empty one: old clients fall over a missing one."""
    empty = {"group": "", "version": "", "kind": ""}
    made = {**row, "responseKind": row.get("responseKind") or empty}
    if row.get("subresources"):
        made["subresources"] = [
            {**s, "responseKind": s.get("responseKind") or empty} for s in _dicts(row["subresources"])
        ]
    return made


def version_from_old(version: str, document: Any) -> dict[str, Any]:
    """An entry made from an APIResourceList, of a server that knows no aggregated discovery."""
    rows: dict[str, dict[str, Any]] = {}
    below: list[tuple[str, dict[str, Any]]] = []
    for entry in _dicts(document.get("resources") if isinstance(document, dict) else None):
        name, slash, sub = str(entry.get("name") or "").partition("/")
        kind = {
            "group": entry.get("group") or "",
            "version": entry.get("version") or "",
            "kind": entry.get("kind") or "",
        }
        verbs = entry.get("verbs") or []
        if slash:
            below.append((name, {"subresource": sub, "responseKind": kind, "verbs": verbs}))
            continue
        row = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if entry.get("namespaced") else "Cluster",
            "singularResource": entry.get("singularName") or "",
            "verbs": verbs,
        }
        for field in ("shortNames", "categories"):
            if entry.get(field):
                row[field] = entry[field]
        rows[name] = row
    for name, row in below:
        if name in rows:
            rows[name].setdefault("subresources", []).append(row)
    return {"version": version, "resources": list(rows.values()), "freshness": "Current"}


def stale(version: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    """What can be told of a group version whose server does not answer."""
    return {**(known or {"version": version, "resources": []}), "freshness": "Stale"}


def openapi_v2_parts(document: Any, prefixes: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(paths below the prefixes, the definitions that they need) of another server's OpenAPI v2 document."""
    if not isinstance(document, dict):
        return {}, {}
    wanted = tuple(prefixes)
    paths = {p: v for p, v in (document.get("paths") or {}).items() if p.startswith(wanted)}
    definitions = document.get("definitions") or {}
    needed: dict[str, Any] = {}
    waiting: list[Any] = [paths]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref") or "").removeprefix("#/definitions/")
            if name in definitions and name not in needed:
                needed[name] = definitions[name]
                waiting.append(definitions[name])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return paths, needed


def renamed(
    paths: dict[str, Any], definitions: dict[str, Any], taken: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same with other names for definitions that mean something else in ``taken``: ``_v2``, ``_v3`` and so on."""
    names = {}
    for name, value in definitions.items():
        if name in taken and taken[name] != value:
            number = 2
            while f"{name}_v{number}" in taken or f"{name}_v{number}" in definitions:
                number += 1
            names[name] = f"{name}_v{number}"
    if not names:
        return paths, {n: v for n, v in definitions.items() if n not in taken}

    def rename(value: Any) -> Any:
        if isinstance(value, dict):
            made = {k: rename(v) for k, v in value.items()}
            target = str(made.get("$ref") or "").removeprefix("#/definitions/")
            if target in names:
                made["$ref"] = f"#/definitions/{names[target]}"
            return made
        return [rename(v) for v in value] if isinstance(value, list) else value

    kept = {names.get(n, n): rename(v) for n, v in definitions.items() if n in names or n not in taken}
    return rename(paths), kept
