"""The OpenAPI documents: what kubectl and client generators read out of them."""

from __future__ import annotations

from typing import Any

from pybernetes.api.openapi import openapi_v2, openapi_v3, openapi_v3_paths
from pybernetes.api.resources import GVK, GVR, ResourceInfo, SubresourceInfo, builtin_resources

RESOURCES = builtin_resources()
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
FOO = ResourceInfo(
    GVR("example.com", "v1", "foos"),
    "Foo",
    "foo",
    True,
    VERBS,
    subresources={"status": SubresourceInfo("status", GVK("example.com", "v1", "Foo"), ("get", "patch", "update"))},
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A foo",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "n": {"type": "integer", "default": 1, "nullable": True},
                "either": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
            },
        }
    },
}


def test_documents_of_v3() -> None:
    paths = openapi_v3_paths([*RESOURCES, FOO])
    assert {"api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version", "apis/example.com/v1"} <= set(paths)


def test_every_reference_of_every_document_resolves() -> None:
    for path in openapi_v3_paths(RESOURCES):
        parts = path.split("/")
        group = "version" if path == "version" else ("" if parts[0] == "api" else (parts[1] if len(parts) > 1 else "*"))
        version = parts[1 if parts[0] == "api" else 2] if len(parts) == (2 if parts[0] == "api" else 3) else ""
        document = openapi_v3(group, version, RESOURCES)
        assert document["paths"], path
        check_references(document, document["components"]["schemas"])
    document = openapi_v2(RESOURCES)
    check_references(document, document["definitions"])


def check_references(value: Any, definitions: dict[str, Any]) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            assert value["$ref"].rsplit("/", 1)[-1] in definitions
        for item in value.values():
            check_references(item, definitions)
    elif isinstance(value, list):
        for item in value:
            check_references(item, definitions)


def test_a_schema_has_types_defaults_and_merge_keys() -> None:
    schemas = openapi_v3("", "v1", RESOURCES)["components"]["schemas"]
    port = schemas["io.k8s.api.core.v1.ContainerPort"]
    assert port["properties"]["containerPort"]["default"] == 0
    assert port["properties"]["protocol"]["default"] == "TCP"
    assert port["properties"]["protocol"]["enum"] == ["SCTP", "TCP", "UDP"]
    container = schemas["io.k8s.api.core.v1.Container"]["properties"]
    assert container["ports"]["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert container["ports"]["x-kubernetes-patch-merge-key"] == "containerPort"
    assert container["resources"]["default"] == {}
    assert "default" not in container["securityContext"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    assert "enum" not in pod["properties"]["kind"]
    assert schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"


def test_operations_carry_ids_kinds_and_parameters() -> None:
    paths = openapi_v3("apps", "v1", RESOURCES)["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["operationId"] == "patchAppsV1NamespacedDeployment"
    assert patch["x-kubernetes-action"] == "patch"
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert [p["name"] for p in patch["parameters"]] == ["dryRun", "fieldManager", "fieldValidation", "force"]
    scale = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert "listAppsV1DeploymentForAllNamespaces" in str(paths["/apis/apps/v1/deployments"])


def test_operation_ids_are_unique() -> None:
    seen = set()
    for item in openapi_v2(RESOURCES)["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                assert operation["operationId"] not in seen
                seen.add(operation["operationId"])
    assert len(seen) > 800


def test_custom_resources_in_v3() -> None:
    document = openapi_v3("example.com", "v1", [*RESOURCES, FOO], {FOO.gvk: SCHEMA})
    schema = document["components"]["schemas"]["com.example.v1.Foo"]
    assert schema["properties"]["spec"]["properties"]["n"] == {"type": "integer", "default": 1, "nullable": True}
    assert schema["properties"]["apiVersion"]["type"] == "string"
    assert schema["properties"]["metadata"]["allOf"][0]["$ref"].endswith("ObjectMeta")
    item = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"]
    assert item["get"]["operationId"] == "readExampleComV1NamespacedFoo"
    assert "application/strategic-merge-patch+json" not in item["patch"]["requestBody"]["content"]
    assert "application/vnd.kubernetes.protobuf" not in str(item)
    check_references(document, document["components"]["schemas"])


def test_custom_resources_in_v2_say_less_rather_than_wrong() -> None:
    definitions = openapi_v2([FOO], {FOO.gvk: SCHEMA})["definitions"]
    spec = definitions["com.example.v1.Foo"]["properties"]["spec"]["properties"]
    assert spec == {"either": {"x-kubernetes-int-or-string": True}, "free": PRESERVE, "n": {}}
    assert definitions["com.example.v1.FooList"]["properties"]["items"]["items"]["$ref"].endswith("com.example.v1.Foo")


PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}


def test_a_custom_resource_without_a_schema() -> None:
    document = openapi_v3("example.com", "v1", [FOO], {FOO.gvk: None})
    schema = document["components"]["schemas"]["com.example.v1.Foo"]
    assert schema["type"] == "object" and schema["properties"]["kind"]
