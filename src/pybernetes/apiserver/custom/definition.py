"""A CustomResourceDefinition as the server reads it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import orjson

from ...api.meta import Object
from ...api.resources import GVK, GVR, ResourceInfo, SubresourceInfo
from ...api.schema import Schema, compile_structural, warm_up
from ...api.versions import version_rank

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
NAMES_ACCEPTED, ESTABLISHED, TERMINATING = "NamesAccepted", "Established", "Terminating"
NON_STRUCTURAL, APPROVAL = "NonStructuralSchema", "KubernetesAPIApprovalPolicyConformant"
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
HEAVY = 64 * 1024
"""Bytes of a schema from which on its work is done aside from the event loop."""
_SUBRESOURCE_VERBS = ("get", "patch", "update")
_SCALE = GVK("autoscaling", "v1", "Scale")


def condition(crd: Object, kind: str) -> Mapping[str, Any] | None:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), None)


def is_true(crd: Object, kind: str) -> bool:
    found = condition(crd, kind)
    return found is not None and found.get("status") == "True"


class Version:
    """One entry of ``spec.versions``. The schema is compiled when first needed."""

    def __init__(self, definition: Definition, raw: Mapping[str, Any]) -> None:
        self.definition = definition
        self.raw = raw
        self.name: str = raw.get("name") or ""
        self.served = bool(raw.get("served"))
        self.storage = bool(raw.get("storage"))
        subresources = raw.get("subresources") or {}
        self.status = subresources.get("status") is not None
        self.scale: Mapping[str, Any] | None = subresources.get("scale")
        self.selectable = tuple(f.get("jsonPath") or "" for f in raw.get("selectableFields") or ())

    @property
    def openapi(self) -> Mapping[str, Any] | None:
        return (self.raw.get("schema") or {}).get("openAPIV3Schema")

    @cached_property
    def heavy(self) -> bool:
        """Whether compiling the schema and checking by it may take long."""
        return len(orjson.dumps(self.openapi)) > HEAVY

    def warm_up(self) -> None:
        """Compiles everything that a first object would have compiled. Safe in another thread."""
        warm_up(self.schema)

    @cached_property
    def published(self) -> Mapping[str, Any] | None:
        """The schema as documents show it."""
        if not self.selectable:
            return self.openapi
        fields = [{"fieldPath": path.removeprefix(".")} for path in self.selectable]
        return {**(self.openapi or {}), "x-kubernetes-selectable-fields": fields}

    @property
    def api_version(self) -> str:
        return f"{self.definition.group}/{self.name}"

    @cached_property
    def schema(self) -> Schema:
        openapi = self.openapi or {}
        if self.definition.preserves or self.openapi is None:
            openapi = {**openapi, "x-kubernetes-preserve-unknown-fields": True}
        return compile_structural(openapi, self.gvk)

    @property
    def gvk(self) -> GVK:
        return GVK(self.definition.group, self.name, self.definition.kind)

    @property
    def gvr(self) -> GVR:
        return GVR(self.definition.group, self.name, self.definition.plural)

    @property
    def info(self) -> ResourceInfo:
        definition, found = self.definition, {}
        if self.status:
            found["status"] = SubresourceInfo("status", self.gvk, _SUBRESOURCE_VERBS)
        if self.scale is not None:
            found["scale"] = SubresourceInfo("scale", _SCALE, _SUBRESOURCE_VERBS)
        names = definition.names
        return ResourceInfo(
            self.gvr,
            definition.kind,
            names.get("singular") or "",
            definition.namespaced,
            VERBS,
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            found,
            names.get("listKind") or "",
        )

    @property
    def warning(self) -> str:
        """What every request for a deprecated version is told."""
        if not self.raw.get("deprecated"):
            return ""
        given = self.raw.get("deprecationWarning")
        if given is not None:
            return str(given)
        definition = self.definition
        kind = (definition.spec.get("names") or {}).get("kind") or ""
        text = f"{definition.group}/{self.name} {kind} is deprecated"
        mine = version_rank(self.name)
        better = [v.name for v in definition.versions if v.served and not v.raw.get("deprecated")]
        better = sorted((n for n in better if version_rank(n) < mine), key=version_rank)
        return f"{text}; use {definition.group}/{better[0]} {kind}" if better else text


class Definition:
    """One state of a definition. Equal ``content`` means: served the same way."""

    def __init__(self, crd: Object) -> None:
        self.crd = crd
        self.name: str = crd["metadata"]["name"]
        self.uid: str = crd["metadata"].get("uid") or ""
        self.spec: Mapping[str, Any] = crd.get("spec") or {}
        self.names: Mapping[str, Any] = (crd.get("status") or {}).get("acceptedNames") or {}
        self.group: str = self.spec.get("group") or ""
        self.plural: str = self.names.get("plural") or ""
        self.kind: str = self.names.get("kind") or ""
        self.namespaced = self.spec.get("scope") == "Namespaced"
        self.preserves = bool(self.spec.get("preserveUnknownFields"))
        self.terminating = is_true(crd, TERMINATING)
        self.established = is_true(crd, ESTABLISHED)
        self.versions = [Version(self, raw) for raw in self.spec.get("versions") or ()]
        self.by_name = {v.name: v for v in self.versions}
        self.storage = next((v for v in self.versions if v.storage), None)

    def adopt(self, older: Definition) -> None:
        """Takes over what was compiled of versions that have not changed."""
        if (self.group, self.kind, self.preserves) != (older.group, older.kind, older.preserves):
            return
        for version in self.versions:
            old = older.by_name.get(version.name)
            if old is not None and old.raw == version.raw:
                for name in ("schema", "published", "heavy"):
                    if name in old.__dict__:
                        version.__dict__[name] = old.__dict__[name]

    @property
    def servable(self) -> bool:
        names = self.names
        complete = all(names.get(field) for field in ("plural", "singular", "kind", "listKind"))
        return complete and self.storage is not None and (is_true(self.crd, NAMES_ACCEPTED) or self.established)

    @property
    def content(self) -> tuple[Any, ...]:
        """What a change of ends all watches, since objects are read or shown in another way from then on."""
        return (self.uid, self.spec, self.names)

    @property
    def webhook(self) -> Mapping[str, Any] | None:
        """``spec.conversion.webhook`` where one converts."""
        conversion = self.spec.get("conversion") or {}
        return conversion.get("webhook") or {} if conversion.get("strategy") == "Webhook" else None

    @property
    def storage_gvr(self) -> GVR:
        assert self.storage is not None
        return self.storage.gvr
