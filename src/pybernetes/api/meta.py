"""Reading wire objects. An object is a plain dict as the API serves it; nobody but its owner changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A wire object: the decoded JSON of one API object. Objects out of informers and caches are shared: never mutate."""


def metadata(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("metadata") or {}


def name_of(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("name") or ""


def namespace_of(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("namespace") or ""


def uid_of(obj: Mapping[str, Any]) -> str:
    return metadata(obj).get("uid") or ""


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("annotations") or {}


def finalizers_of(obj: Mapping[str, Any]) -> list[str]:
    return metadata(obj).get("finalizers") or []


def owner_references_of(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    return metadata(obj).get("ownerReferences") or []


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ownerReference with ``controller: true``, of which there is at most one."""
    return next((r for r in owner_references_of(obj) if r.get("controller")), None)


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return metadata(obj).get("deletionTimestamp") is not None


def resource_version_of(obj: Mapping[str, Any]) -> int:
    """As an integer: resourceVersions of one store compare (KEP-5504)."""
    return int(metadata(obj).get("resourceVersion") or 0)


def key_of(obj: Mapping[str, Any]) -> str:
    """``namespace/name``, or ``name`` where there is no namespace."""
    namespace = namespace_of(obj)
    return f"{namespace}/{name_of(obj)}" if namespace else name_of(obj)


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of a ``key_of``; the namespace is empty for cluster-scoped objects."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def get_condition(obj: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """The entry of ``status.conditions`` with this type."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), None)


def is_condition_true(obj: Mapping[str, Any], kind: str) -> bool:
    condition = get_condition(obj, kind)
    return condition is not None and condition.get("status") == "True"


def controller_reference(owner: Mapping[str, Any], api_version: str, kind: str) -> dict[str, Any]:
    """The ownerReference by which a controller marks what it made."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }
