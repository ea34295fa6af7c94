"""The whole documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..resources import GVK, ResourceInfo
from . import custom
from .custom import friendly_group
from .definitions import Builder, Json, references
from .paths import JSON_TYPE, META, PROTOBUF, YAML_TYPE, Operations, Types

CustomSchemas = Mapping[GVK, Mapping[str, Any] | None]
"""By kind: the ``openAPIV3Schema`` of a custom resource, None where it has none."""

_SECURITY = {
    "BearerToken": {
        "type": "apiKey",
        "description": "Bearer Token authentication",
        "name": "authorization",
        "in": "header",
    }
}
_INFO = {"title": "Kubernetes", "version": "1.36"}
_VERSION_INFO = "io.k8s.apimachinery.pkg.version.Info"


def openapi_v3_paths(resources: Iterable[ResourceInfo]) -> list[str]:
    """The documents of ``/openapi/v3``: ``api``, ``api/v1``, ``apis/apps``, ``apis/apps/v1``, ``version`` ..."""
    groups: dict[str, list[str]] = {}
    for info in resources:
        versions = groups.setdefault(info.gvr.group, [])
        if info.gvr.version not in versions:
            versions.append(info.gvr.version)
    found = ["api", "apis", "version"]
    for group, versions in groups.items():
        root = f"apis/{group}" if group else "api"
        found += [root, *(f"{root}/{v}" for v in versions)]
    return sorted(set(found))


def openapi_v3(
    group: str, version: str, resources: Iterable[ResourceInfo], customs: CustomSchemas | None = None
) -> Json:
    """The document of a group version; of a group where ``version`` is empty (``api`` and ``apis`` are "" and "*")."""
    if not version:
        return _group_document(group)
    customs = customs or {}
    mine = [r for r in resources if r.gvr.group == group and r.gvr.version == version]
    types = Types("#/components/schemas/", frozenset(customs))
    paths = _paths(mine, types)
    root = f"/apis/{group}/{version}/" if group else f"/api/{version}/"
    if not any(r.gvk in customs for r in mine):
        paths[root] = {"get": _discovery(group, version, types)}
    document = _v3(dict(sorted(paths.items())), _builder(3, mine, customs))
    _own_kinds(document["components"]["schemas"], group, version)
    return document


def _own_kinds(schemas: Json, group: str, version: str) -> None:
    """Two kinds exist in every group version: a document names its own and the core's."""
    for kind in ("DeleteOptions", "WatchEvent"):
        schema = schemas.get(f"{META}.{kind}")
        if schema is not None:
            pairs = dict.fromkeys([("", "v1"), (group, version)])
            schema["x-kubernetes-group-version-kind"] = [{"group": g, "kind": kind, "version": v} for g, v in pairs]


def _v3(paths: Json, builder: Builder) -> Json:
    schemas = builder.collect(set(references(paths)))
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _paths(resources: Iterable[ResourceInfo], types: Types) -> Json:
    paths: Json = {}
    for info in resources:
        for path, item in Operations(info, types).paths():
            if item:
                paths[path] = item
    return paths


def _builder(version: int, resources: Iterable[ResourceInfo], customs: CustomSchemas) -> Builder:
    builder = Builder(version)
    for info in resources:
        if info.gvk in customs:
            _add_custom(builder, info, customs[info.gvk])
    return builder


def _add_custom(builder: Builder, info: ResourceInfo, schema: Mapping[str, Any] | None) -> None:
    listing = info.gvk._replace(kind=info.list_kind)
    builder.custom[custom.definition_name(info.gvk)] = custom.definition(schema, info.gvk, builder)
    builder.custom[custom.definition_name(listing)] = custom.list_definition(schema, info.gvk, info.list_kind, builder)


def _discovery(group: str, version: str, types: Types) -> Json:
    friendly = friendly_group(group)
    name = friendly[:1].upper() + friendly[1:] + version[:1].upper() + version[1:]
    return _get(f"get{name}APIResources", f"{friendly}_{version}", "get available resources", "APIResourceList", types)


def _get(id_: str, tag: str, text: str, kind: str, types: Types) -> Json:
    schema = {"$ref": f"{types.prefix}{META}.{kind}"}
    content = {t: {"schema": schema} for t in (JSON_TYPE, PROTOBUF, YAML_TYPE)}
    responses = {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}
    return {"tags": [tag], "description": text, "operationId": id_, "responses": responses}


def _group_paths(group: str, types: Types) -> Json:
    if group == "*":
        return {"/apis/": {"get": _get("getAPIVersions", "apis", "get available API versions", "APIGroupList", types)}}
    if not group:
        return {
            "/api/": {"get": _get("getCoreAPIVersions", "core", "get available API versions", "APIVersions", types)}
        }
    friendly = friendly_group(group)
    id_ = f"get{friendly[:1].upper()}{friendly[1:]}APIGroup"
    return {f"/apis/{group}/": {"get": _get(id_, friendly, "get information of a group", "APIGroup", types)}}


def _version_paths(types: Types) -> Json:
    schema = {"$ref": types.prefix + _VERSION_INFO}
    ok = {"description": "OK", "content": {JSON_TYPE: {"schema": schema}}}
    operation = {
        "tags": ["version"],
        "description": "get the version information for this server",
        "operationId": "getCodeVersion",
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
    }
    return {"/version/": {"get": operation}}


def _group_document(group: str) -> Json:
    types = Types("#/components/schemas/", frozenset())
    paths = _version_paths(types) if group == "version" else _group_paths(group, types)
    return _v3(paths, Builder(3))


# -- v2 --------------------------------------------------------------------------------------------------------------


def openapi_v2(resources: Iterable[ResourceInfo], customs: CustomSchemas | None = None) -> Json:
    """The one document of ``/openapi/v2``, with everything that is served."""
    resources, customs = list(resources), customs or {}
    types = Types("#/definitions/", frozenset(customs))
    paths = _paths(resources, types)
    paths |= _group_paths("*", types) | _group_paths("", types) | _version_paths(types)
    for info in resources:
        group, version = info.gvr.group, info.gvr.version
        if info.gvk in customs:
            continue
        if group:
            paths |= _group_paths(group, types)
        paths.setdefault(info.gvr.path + "/", {"get": _discovery(group, version, types)})
    definitions = _builder(2, resources, customs).collect(references(paths))
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": {path: _v2_item(item) for path, item in sorted(paths.items())},
        "definitions": definitions,
        "securityDefinitions": _SECURITY,
        "security": [{"BearerToken": []}],
    }


def openapi_v2_custom(infos: Iterable[ResourceInfo], customs: CustomSchemas) -> Iterator[tuple[GVK, Json, Json]]:
    """(kind, paths, definitions) that each custom resource adds to the document of the built-in ones."""
    builder = Builder(2)
    for info in infos:
        types = Types("#/definitions/", frozenset([info.gvk]))
        builder.custom.clear()
        _add_custom(builder, info, customs[info.gvk])
        paths = {path: _v2_item(item) for path, item in _paths([info], types).items()}
        yield info.gvk, paths, dict(builder.custom)


def _v2_item(item: Json) -> Json:
    out: Json = {}
    for method, operation in item.items():
        if method == "parameters":
            out["parameters"] = [_v2_parameter(p) for p in operation]
        else:
            out[method] = _v2_operation(operation)
    return out


def _v2_parameter(parameter: Json) -> Json:
    return {**{k: v for k, v in parameter.items() if k != "schema"}, **parameter["schema"]}


_V2_ORDER = {"text/plain": -1, JSON_TYPE: 0, YAML_TYPE: 1, PROTOBUF: 2}


def _v2_operation(operation: Json) -> Json:
    out = {k: v for k, v in operation.items() if k not in ("requestBody", "responses", "parameters")}
    body = operation.get("requestBody")
    parameters = [_v2_parameter(p) for p in operation.get("parameters", ())]
    out["consumes"] = ["*/*"]
    if body is not None:
        content = body["content"]
        out["consumes"] = sorted(content, key=lambda t: t.startswith("application/apply"))
        given: Json = {"name": "body", "in": "body", "schema": next(iter(content.values()))["schema"]}
        if body.get("required"):
            given["required"] = True
        parameters.insert(0, given)
    responses = {}
    produces: list[str] = []
    for code, response in operation["responses"].items():
        content = response.get("content")
        responses[code] = {"description": response["description"]}
        if content:
            responses[code]["schema"] = next(iter(content.values()))["schema"]
            produces = produces or sorted(content, key=lambda t: _V2_ORDER.get(t, 3))
    out["produces"] = produces or [JSON_TYPE]
    out["schemes"] = ["https"]
    if parameters:
        out["parameters"] = parameters
    out["responses"] = responses
    return out
