"""Paths and operations of the documents, in the form of OpenAPI v3.

Operation ids, actions and kinds are what client generators key on, so they are upstream's; the sentences are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..resources import GVK, ResourceInfo, SubresourceInfo
from ..schema.builtin import definition_name as builtin_name
from ..schema.builtin import facts, node_of
from .custom import definition_name as custom_name
from .custom import friendly_group
from .definitions import Json

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
JSON_TYPE, YAML_TYPE, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC = "application/strategic-merge-patch+json"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_RETURNS_DELETED = frozenset(
    ["PersistentVolumeClaim", "Pod", "PodTemplate", "ResourceQuota", "ServiceAccount", "Service", "PersistentVolume"]
)
"""Core kinds whose DELETE answers with the object; two groups do so for all of their kinds."""
_RETURNING_GROUPS = ("resource.k8s.io", "storage.k8s.io")

_QUERY: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask for BOOKMARK events on a watch."),
    "continue": ("string", "Token of the next page, from the metadata of the page before."),
    "dryRun": ("string", "All: do everything but persist."),
    "fieldManager": ("string", "Name of who makes the change, at most 128 printable characters."),
    "fieldSelector": ("string", "Only objects whose fields match."),
    "fieldValidation": ("string", "What to do about unknown and duplicate fields: Ignore, Warn (default) or Strict."),
    "force": ("boolean", "Take conflicting fields over from other managers (apply only)."),
    "gracePeriodSeconds": ("integer", "Seconds before the object is deleted; 0 deletes at once."),
    "ignoreStoreReadErrorWithClusterBreakingPotential": (
        "boolean",
        "Delete even an object that cannot be read from the store, without finalizers or preconditions.",
    ),
    "labelSelector": ("string", "Only objects whose labels match."),
    "limit": ("integer", "Largest number of objects in a page."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "propagationPolicy": ("string", "What happens to dependents: Orphan, Background or Foreground."),
    "resourceVersion": ("string", "Which state of the store may be served."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant for lists: Exact or NotOlderThan."),
    "sendInitialEvents": ("boolean", "Start a watch with events for what exists already."),
    "shardSelector": ("string", "Only objects of a shard."),
    "timeoutSeconds": ("integer", "How long a list or watch may take."),
    "watch": ("boolean", "Stream changes instead of listing."),
    "pretty": ("string", "'true' indents the output."),
}
_LIST = (
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
)
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = (
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
)
_DELETE_COLLECTION = tuple(sorted({*_DELETE, *_LIST} - {"allowWatchBookmarks", "watch"}))


def query(name: str) -> Json:
    type_, text = _QUERY[name]
    return {"name": name, "in": "query", "description": text, "schema": {"type": type_, "uniqueItems": True}}


def path_parameter(name: str, text: str) -> Json:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "description": text, "required": True, "schema": schema}


_NAMESPACE = path_parameter("namespace", "object name and auth scope, such as for teams and projects")


@dataclass(frozen=True, slots=True)
class Types:
    """How kinds are named in the document, and which content types they are served in."""

    prefix: str
    custom: frozenset[GVK]

    def ref(self, gvk: GVK) -> Json:
        return {"$ref": self.prefix + self.name(gvk)}

    def name(self, gvk: GVK) -> str:
        item = gvk._replace(kind=gvk.kind.removesuffix("List"))
        if gvk in self.custom or item in self.custom:
            return custom_name(gvk)
        return builtin_name(gvk) or f"{META}.{gvk.kind}"

    def produces(self, info: ResourceInfo) -> tuple[str, ...]:
        return (JSON_TYPE, YAML_TYPE) if info.gvk in self.custom else (JSON_TYPE, PROTOBUF, YAML_TYPE)


class Operations:
    """The operations of one resource."""

    def __init__(self, info: ResourceInfo, types: Types) -> None:
        self.info = info
        self.types = types
        self.is_custom = info.gvk in types.custom
        friendly = friendly_group(info.gvr.group)
        self.tag = f"{friendly}_{info.gvr.version}"
        version = info.gvr.version[:1].upper() + info.gvr.version[1:]
        self.group = friendly[:1].upper() + friendly[1:] + version
        self.scope = "Namespaced" if info.namespaced else ""
        self.produces = types.produces(info)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def content(self, schema: Json, *, watch: bool = False) -> Json:
        produces = list(self.produces)
        if watch and not self.is_custom:
            produces += [t + ";stream=watch" for t in self.produces if t != YAML_TYPE]
        return {t: {"schema": schema} for t in sorted(produces)}

    def responses(self, schema: Json, *codes: str, watch: bool = False) -> Json:
        words = {"200": "OK", "201": "Created", "202": "Accepted"}
        made: Json = {c: {"description": words[c], "content": self.content(schema, watch=watch)} for c in codes}
        made["401"] = {"description": "Unauthorized"}
        return made

    def operation(
        self,
        id_: str,
        action: str,
        gvk: GVK,
        text: str,
        responses: Json,
        parameters: tuple[str, ...] = (),
        body: Json | None = None,
    ) -> Json:
        out: Json = {"tags": [self.tag], "description": text, "operationId": id_}
        if parameters:
            out["parameters"] = [query(p) for p in parameters]
        if body is not None:
            out["requestBody"] = body
        out["responses"] = responses
        out["x-kubernetes-action"] = action
        out["x-kubernetes-group-version-kind"] = {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}
        return out

    def body(self, gvk: GVK) -> Json:
        return {"content": self._accepted(self.types.ref(gvk)), "required": True}

    def _accepted(self, schema: Json) -> Json:
        return {t: {"schema": schema} for t in ((JSON_TYPE, YAML_TYPE) if self.is_custom else ("*/*",))}

    def patch_body(self) -> Json:
        schema = {"$ref": f"{self.types.prefix}{META}.Patch"}
        kinds = _PATCH_TYPES if self.is_custom else (*_PATCH_TYPES, _STRATEGIC)
        return {"content": {t: {"schema": schema} for t in kinds}, "required": True}

    def delete_body(self) -> Json:
        return {"content": self._accepted({"$ref": f"{self.types.prefix}{META}.DeleteOptions"})}

    def status(self) -> Json:
        return {"$ref": f"{self.types.prefix}{META}.Status"}

    # -- paths -------------------------------------------------------------------------------------------------------

    def paths(self) -> Iterator[tuple[str, Json]]:
        info = self.info
        root, resource = info.gvr.path, info.gvr.resource
        outer = f"{root}/namespaces/{{namespace}}" if info.namespaced else root
        shared = [_NAMESPACE] if info.namespaced else []
        if resource == "namespaces" and not info.gvr.group:
            shared = []
        name = path_parameter("name", f"name of the {info.kind}")
        yield f"{outer}/{resource}", finish(self.collection(), shared)
        yield f"{outer}/{resource}/{{name}}", finish(self.single(), [name, *shared])
        for sub in info.subresources.values():
            yield from self.subresource(f"{outer}/{resource}/{{name}}/{sub.name}", sub, [name, *shared])
        if "list" in info.verbs and info.namespaced:
            yield f"{root}/{resource}", finish({"get": self.list_all()}, [])
        if "watch" in info.verbs and not self.is_custom:
            yield from self.watches(root, name)

    def collection(self) -> Json:
        info, kind, made = self.info, self.info.kind, {}
        if "list" in info.verbs:
            list_kind = info.gvk._replace(kind=info.list_kind)
            what = "list or watch" if "watch" in info.verbs else "list"
            responses = self.responses(self.types.ref(list_kind), "200", watch=True)
            text = f"{what} objects of kind {kind}"
            made["get"] = self.operation(
                f"list{self.group}{self.scope}{kind}", "list", info.gvk, text, responses, _LIST
            )
        if "create" in info.verbs:
            responses = self.responses(self.types.ref(info.gvk), "200", "201", "202")
            id_, text = f"create{self.group}{self.scope}{kind}", f"create {_one(kind)}"
            made["post"] = self.operation(id_, "post", info.gvk, text, responses, _WRITE, self.body(info.gvk))
        if "deletecollection" in info.verbs:
            responses = self.responses(self.status(), "200")
            id_, text = f"delete{self.group}Collection{self.scope}{kind}", f"delete collection of {kind}"
            given, body = (_LIST, None) if self.is_custom else (_DELETE_COLLECTION, self.delete_body())
            made["delete"] = self.operation(id_, "deletecollection", info.gvk, text, responses, given, body)
        return made

    def single(self) -> Json:
        info, made = self.info, {}
        if "get" in info.verbs:
            made["get"] = self.read(info.gvk, "", "read the specified {kind}")
        if "update" in info.verbs:
            made["put"] = self.replace(info.gvk, "", "replace the specified {kind}")
        if "delete" in info.verbs:
            schema = self.types.ref(info.gvk) if _returns_deleted(info) else self.status()
            id_, text = f"delete{self.group}{self.scope}{info.kind}", f"delete {_one(info.kind)}"
            responses = self.responses(schema, "200", "202")
            made["delete"] = self.operation(id_, "delete", info.gvk, text, responses, _DELETE, self.delete_body())
        if "patch" in info.verbs:
            made["patch"] = self.patch(info.gvk, "", "partially update the specified {kind}")
        return made

    def _id(self, verb: str, suffix: str) -> str:
        return f"{verb}{self.group}{self.scope}{self.info.kind}{suffix}"

    def read(self, gvk: GVK, suffix: str, text: str) -> Json:
        responses = self.responses(self.types.ref(gvk), "200")
        words, given = text.format(kind=self.info.kind), ("resourceVersion",) if self.is_custom else ()
        return self.operation(self._id("read", suffix), "get", self._about(gvk), words, responses, given)

    def _about(self, gvk: GVK) -> GVK:
        """The kind an operation is said to be about: of a custom resource it is never that of a subresource."""
        return self.info.gvk if self.is_custom else gvk

    def replace(self, gvk: GVK, suffix: str, text: str) -> Json:
        responses = self.responses(self.types.ref(gvk), "200", "201")
        id_, words = self._id("replace", suffix), text.format(kind=self.info.kind)
        return self.operation(id_, "put", self._about(gvk), words, responses, _WRITE, self.body(gvk))

    def patch(self, gvk: GVK, suffix: str, text: str) -> Json:
        codes = ("200",) if self.is_custom else ("200", "201")
        responses = self.responses(self.types.ref(gvk), *codes)
        id_, words = self._id("patch", suffix), text.format(kind=self.info.kind)
        about = self._about(gvk)
        return self.operation(id_, "patch", about, words, responses, (*_WRITE, "force"), self.patch_body())

    # -- subresources ------------------------------------------------------------------------------------------------

    def subresource(self, path: str, sub: SubresourceInfo, shared: list[Json]) -> Iterator[tuple[str, Json]]:
        suffix = sub.name[:1].upper() + sub.name[1:]
        if sub.name == "ephemeralcontainers":
            suffix = "Ephemeralcontainers"
        if sub.name in ("attach", "exec", "portforward", "proxy"):
            yield from self.connects(path, sub, suffix, shared)
            return
        if sub.name == "log":
            yield path, finish({"get": self.log()}, [*shared, *self.options("PodLogOptions")])
            return
        made: Json = {}
        words = f"{sub.name} of the specified {{kind}}"
        if "get" in sub.verbs:
            made["get"] = self.read(sub.kind, suffix, f"read {words}")
        if "update" in sub.verbs:
            made["put"] = self.replace(sub.kind, suffix, f"replace {words}")
        if "create" in sub.verbs:
            responses = self.responses(self.types.ref(sub.kind), "200", "201", "202")
            text = f"create {sub.name} of {_one(self.info.kind)}"
            id_, body = self._id("create", suffix), self.body(sub.kind)
            made["post"] = self.operation(id_, "post", sub.kind, text, responses, _WRITE, body)
        if "patch" in sub.verbs:
            made["patch"] = self.patch(sub.kind, suffix, f"partially update {words}")
        yield path, finish(made, shared)

    def options(self, name: str) -> list[Json]:
        """The query parameters of a connect subresource: the fields of its options type."""
        definition = f"io.k8s.api.core.v1.{name}"
        if definition not in facts().structs:
            return []
        made = []
        for field in node_of(definition).fields.values():
            node = field.node.items or field.node
            if field.name not in ("kind", "apiVersion", "sinceTime"):
                type_ = "string" if node.type not in ("integer", "boolean") else node.type
                made.append({"name": field.name, "in": "query", "schema": {"type": type_, "uniqueItems": True}})
        return made

    def connects(self, path: str, sub: SubresourceInfo, suffix: str, shared: list[Json]) -> Iterator[tuple[str, Json]]:
        methods = _METHODS if sub.name == "proxy" else ("get", "post")
        parameters = [*shared, *self.options(sub.kind.kind)]
        rest = [*parameters, path_parameter("path", "path to the resource")]
        variants = [("", "", parameters)]
        if sub.name == "proxy":
            variants.append(("/{path}", "WithPath", rest))
        for tail, ending, given in variants:
            made = {}
            for method in methods:
                id_ = f"connect{self.group}{method.capitalize()}{self.scope}{self.info.kind}{suffix}{ending}"
                text = f"connect {method.upper()} requests to {sub.name} of {self.info.kind}"
                content = {"*/*": {"schema": {"type": "string"}}}
                responses = {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}
                made[method] = self.operation(id_, "connect", sub.kind, text, responses)
            yield path + tail, finish(made, given, pretty=False)

    def log(self) -> Json:
        types = sorted((*self.produces, "text/plain"))
        content = {t: {"schema": {"type": "string"}} for t in types}
        responses = {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}
        text = f"read log of the specified {self.info.kind}"
        return self.operation(self._id("read", "Log"), "get", self.info.gvk, text, responses)

    # -- lists of all namespaces, deprecated watch paths ----------------------------------------------------------------

    def list_all(self) -> Json:
        info = self.info
        responses = self.responses(self.types.ref(info.gvk._replace(kind=info.list_kind)), "200", watch=True)
        id_, text = f"list{self.group}{info.kind}ForAllNamespaces", f"list or watch objects of kind {info.kind}"
        return self.operation(id_, "list", info.gvk, text, responses, _LIST)

    def watches(self, root: str, name: Json) -> Iterator[tuple[str, Json]]:
        info, group, kind = self.info, self.group, self.info.kind
        shared = [query(p) for p in _LIST]
        event = {"$ref": f"{self.types.prefix}{META}.WatchEvent"}
        outer, scoped = f"{root}/watch", []
        if info.namespaced:
            outer, scoped = f"{root}/watch/namespaces/{{namespace}}", [_NAMESPACE]
            all_ = (f"{root}/watch/{info.gvr.resource}", f"watch{group}{kind}ListForAllNamespaces", "watchlist", shared)
        else:
            all_ = None
        rows = [
            (f"{outer}/{info.gvr.resource}", f"watch{group}{self.scope}{kind}List", "watchlist", [*shared, *scoped]),
            (
                f"{outer}/{info.gvr.resource}/{{name}}",
                f"watch{group}{self.scope}{kind}",
                "watch",
                [*shared, name, *scoped],
            ),
        ]
        for path, id_, action, given in [*rows, *([all_] if all_ else [])]:
            text = "deprecated: use the 'watch' parameter with a list operation instead"
            operation = self.operation(id_, action, info.gvk, text, self.responses(event, "200", watch=True))
            yield path, finish({"get": operation}, given)


def _returns_deleted(info: ResourceInfo) -> bool:
    if info.gvr.group in _RETURNING_GROUPS:
        return info.kind != "CSIStorageCapacity"
    return not info.gvr.group and info.kind in _RETURNS_DELETED


def _one(kind: str) -> str:
    if kind == "Endpoints":
        return kind
    return f"an {kind}" if kind[:1] in "AEIOU" else f"a {kind}"


def finish(operations: Json, shared: list[Json], *, pretty: bool = True) -> Json:
    """A path item: parameters that all of its operations share move up to it."""
    if not operations:
        return {}
    common = [*shared, query("pretty")] if pretty else list(shared)
    lists: list[list[Any]] = [o.get("parameters", []) for o in operations.values()]
    everywhere = [p for p in lists[0] if all(p in other for other in lists[1:])]
    if len(lists) == 1:
        everywhere = list(lists[0])
    for operation in operations.values():
        own = [p for p in operation.get("parameters", []) if p not in everywhere]
        operation.pop("parameters", None)
        if own:
            operation["parameters"] = own
    parameters = sorted([*common, *everywhere], key=lambda p: (p["name"], p["in"]))
    ordered: Json = {m: operations[m] for m in _METHODS if m in operations}
    if parameters:
        ordered["parameters"] = parameters
    return ordered
