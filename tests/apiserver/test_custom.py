"""Custom resources: served, checked, watched, converted, removed."""

import orjson
import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR

WIDGETS = GVR("example.com", "v1", "widgets")


def version(name="v1", *, storage=True, served=True, spec=None, **more):
    schema = {
        "type": "object",
        "properties": {
            "spec": spec
            or {"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string"}}},
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(*versions, kind="Widget", group="example.com", scope="Namespaced", names=None, **spec):
    plural = kind.lower() + "s"
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **(names or {})},
            "versions": list(versions) or [version()],
            **spec,
        },
    }


def widget(name="a", *, api_version="example.com/v1", kind="Widget", **content):
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, **content}


async def established(client, crd):
    name = crd["metadata"]["name"]
    made = await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
    async for event in client.watch(
        CUSTOM_RESOURCE_DEFINITIONS,
        resource_version=made["metadata"]["resourceVersion"],
        field_selector=f"metadata.name={name}",
    ):
        conditions = {c["type"]: c["status"] for c in event.object["status"].get("conditions") or ()}
        if conditions.get("Established") == "True":
            return event.object
    raise AssertionError("the watch ended")


async def test_a_definition_is_served_when_it_says_so(client):
    crd = await established(client, definition(names={"shortNames": ["wd"], "categories": ["all"]}))
    assert [(c["type"], c["status"], c["reason"]) for c in crd["status"]["conditions"]] == [
        ("NamesAccepted", "True", "NoConflicts"),
        ("Established", "True", "InitialNamesAccepted"),
    ]
    assert crd["status"]["acceptedNames"] == {
        "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
        "shortNames": ["wd"], "categories": ["all"],
    }  # fmt: skip
    assert crd["status"]["storedVersions"] == ["v1"]
    made = await client.create(WIDGETS, widget(spec={"size": 1, "stranger": True}))
    assert made["spec"] == {"size": 1} and made["metadata"]["generation"] == 1
    assert await client.get(WIDGETS, "a", "default") == made
    listed = await client.request("GET", "/apis/example.com/v1/widgets")
    assert listed["kind"] == "WidgetList" and listed["items"] == [made]


async def failing(call):
    with pytest.raises(StatusError) as failure:
        await call
    return failure.value.code, failure.value.message


async def test_what_is_defined_is_discovered(client):
    await established(client, definition(version(), version("v1beta1", storage=False)))
    group = await client.request("GET", "/apis/example.com")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"] and group["preferredVersion"][
        "version"
    ] == "v1"
    resources = (await client.request("GET", "/apis/example.com/v1"))["resources"]
    assert (
        resources[0]["name"] == "widgets"
        and resources[0]["verbs"][0] == "delete"
        and resources[0]["storageVersionHash"]
    )
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = await client.request("GET", "/apis", accept=accept)
    assert found["items"][-1]["metadata"]["name"] == "example.com"
    document = await client.request("GET", "/openapi/v3/apis/example.com/v1")
    assert "com.example.v1.Widget" in document["components"]["schemas"]
    assert "com.example.v1.Widget" in (await client.request("GET", "/openapi/v2"))["definitions"]


async def test_names_that_are_taken(client):
    await established(client, definition(names={"shortNames": ["wd"]}))
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(kind="Other", names={"shortNames": ["wd"]}))
    other = await settled(client, "others.example.com")
    conditions = {c["type"]: c for c in other["status"]["conditions"]}
    assert conditions["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert conditions["NamesAccepted"]["message"] == '"wd" is already in use'
    assert conditions["Established"]["reason"] == "NotAccepted"
    assert "shortNames" not in other["status"]["acceptedNames"]
    assert (await failing(client.request("GET", "/apis/example.com/v1/others")))[0] == 404
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
    await settled(client, "others.example.com", "Established")
    assert (await client.request("GET", "/apis/example.com/v1/others"))["items"] == []


async def settled(client, name, wanted=""):
    """The definition when it has conditions (``wanted`` is true)."""
    async for event in client.watch(CUSTOM_RESOURCE_DEFINITIONS, field_selector=f"metadata.name={name}"):
        conditions = {c["type"]: c["status"] for c in event.object["status"].get("conditions") or ()}
        if conditions and (not wanted or conditions.get(wanted) == "True"):
            return event.object
    raise AssertionError("the watch ended")


async def test_instances_go_before_their_definition(client):
    await established(client, definition())
    await client.create(
        WIDGETS, {**widget(), "metadata": {"name": "a", "namespace": "default", "finalizers": ["x.io/y"]}}
    )
    await client.create(WIDGETS, widget("b"))
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
    crd = await settled(client, "widgets.example.com", "Terminating")
    assert crd["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    code, message = await failing(client.create(WIDGETS, widget("c")))
    assert code == 403
    assert (
        message
        == 'widgets.example.com "c" is forbidden: create not allowed while custom resource definition is terminating'
    )
    await client.patch(WIDGETS, "a", {"metadata": {"finalizers": None}}, "default")
    async for event in client.watch(CUSTOM_RESOURCE_DEFINITIONS, field_selector="metadata.name=widgets.example.com"):
        if event.type == "DELETED":
            break
    assert (await failing(client.request("GET", "/apis/example.com/v1/widgets")))[0] == 404
    assert (await failing(client.request("GET", "/apis/example.com/v1")))[0] == 404
    # Again from the beginning, under the same name.
    await established(client, definition())
    assert (await client.request("GET", "/apis/example.com/v1/widgets"))["items"] == []


async def test_versions_without_conversion(client):
    await established(client, definition(version(), version("v2", storage=False)))
    await client.create(WIDGETS, widget(spec={"size": 1}))
    path = "/apis/example.com/v2/namespaces/default/widgets"
    found = await client.request("GET", path)
    assert [(i["apiVersion"], i["spec"]) for i in found["items"]] == [("example.com/v2", {"size": 1})]
    assert found["apiVersion"] == "example.com/v2"
    obj = await client.request("GET", f"{path}/a")
    obj["spec"]["size"] = 2
    assert (await client.request("PUT", f"{path}/a", obj))["apiVersion"] == "example.com/v2"
    assert (await client.get(WIDGETS, "a", "default"))["spec"] == {"size": 2}


async def test_the_storage_version_moves(client):
    crd = await established(client, definition(version(), version("v2", storage=False)))
    await client.create(WIDGETS, widget(spec={"size": 1}))
    crd["spec"]["versions"] = [version(storage=False), version("v2")]
    crd = await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    assert crd["status"]["storedVersions"] == ["v1", "v2"]
    assert (await client.get(WIDGETS, "a", "default"))["apiVersion"] == "example.com/v1"
    crd["spec"]["versions"] = [version("v2")]
    code, message = await failing(client.update(CUSTOM_RESOURCE_DEFINITIONS, crd))
    assert code == 422 and "v1 was previously a storage version, and must remain in spec.versions" in message
    # What is written is stored in the new version; then the old one may go.
    obj = await client.get(WIDGETS, "a", "default")
    await client.update(WIDGETS, obj)
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
    crd["status"]["storedVersions"] = ["v2"]
    crd = await client.request(
        "PUT", f"{CUSTOM_RESOURCE_DEFINITIONS.path}/customresourcedefinitions/widgets.example.com/status", crd
    )
    crd["spec"]["versions"] = [version("v2")]
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    found = await client.request("GET", "/apis/example.com/v2/widgets")
    assert [i["spec"] for i in found["items"]] == [{"size": 1}]
    assert (await failing(client.request("GET", "/apis/example.com/v1/widgets")))[0] == 404


async def test_status_and_scale(client):
    spec = {"type": "object", "properties": {"replicas": {"type": "integer"}}}
    crd = definition(
        version(
            spec=spec,
            subresources={"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        )
    )  # fmt: skip
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"] = {
        "type": "object",
        "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}},
    }
    await established(client, crd)
    made = await client.create(WIDGETS, widget(spec={"replicas": 2}, status={"replicas": 9}))
    assert "status" not in made
    path = "/apis/example.com/v1/namespaces/default/widgets/a"
    made["status"] = {"replicas": 1, "selector": "app=a"}
    made["spec"]["replicas"] = 7
    after = await client.request("PUT", f"{path}/status", made)
    assert after["spec"] == {"replicas": 2} and after["status"]["replicas"] == 1
    assert after["metadata"]["generation"] == 1
    scale = await client.request("GET", f"{path}/scale")
    assert (scale["kind"], scale["spec"], scale["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 1, "selector": "app=a"},
    )
    scale["spec"]["replicas"] = 5
    assert (await client.request("PUT", f"{path}/scale", scale))["spec"] == {"replicas": 5}
    after = await client.request("GET", path)
    assert after["spec"] == {"replicas": 5} and after["metadata"]["generation"] == 2
    code, message = await failing(client.request("PUT", f"{path}/status", {**after, "status": {"replicas": "x"}}))
    assert code == 422
    assert 'status.replicas: Invalid value: "string": replicas in body must be of type integer: "string"' in message


async def test_checks_rules_and_ratcheting(client):
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer", "minimum": 1}, "color": {"type": "string", "default": "red"}},
        "x-kubernetes-validations": [
            {"rule": "self.size <= 10", "message": "too large"},
            {"rule": "self.size >= oldSelf.size", "message": "may not shrink"},
        ],
    }
    crd = await established(client, definition(version(spec=spec)))
    assert await failing(client.create(WIDGETS, widget(spec={"size": 0}))) == (
        422, 'Widget.example.com "a" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1',
    )  # fmt: skip
    code, message = await failing(client.create(WIDGETS, widget(spec={"size": 11})))
    assert (code, message) == (422, 'Widget.example.com "a" is invalid: spec: Invalid value: too large')
    made = await client.create(WIDGETS, widget(spec={"size": 5}))
    assert made["spec"] == {"size": 5, "color": "red"}
    made["spec"]["size"] = 4
    assert "may not shrink" in (await failing(client.update(WIDGETS, made)))[1]
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["minimum"] = 8
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    made["spec"] = {"size": 5, "color": "blue"}
    assert (await client.update(WIDGETS, made))["spec"]["color"] == "blue"


async def test_defaults_reach_what_was_stored_before(client):
    crd = await established(client, definition())
    await client.create(WIDGETS, widget(spec={"size": 1}))
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["color"]["default"] = "green"
    del properties["size"]
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    assert (await client.get(WIDGETS, "a", "default"))["spec"] == {"color": "green"}


async def test_selectable_fields(client):
    await established(
        client, definition(version(selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}]))
    )
    for name, color in (("a", "red"), ("b", "blue")):
        await client.create(WIDGETS, widget(name, spec={"color": color, "size": 3}))
    path = "/apis/example.com/v1/widgets"
    found = await client.request("GET", path, query={"fieldSelector": "spec.color=red,spec.size=3"})
    assert [i["metadata"]["name"] for i in found["items"]] == ["a"]
    assert await failing(client.request("GET", path, query={"fieldSelector": "spec.x=1"})) == (
        400,
        "field label not supported: spec.x",
    )
    await client.request(
        "DELETE", "/apis/example.com/v1/namespaces/default/widgets", query={"fieldSelector": "spec.color!=red"}
    )
    assert [i["metadata"]["name"] for i in (await client.request("GET", path))["items"]] == ["a"]


async def test_patches(client):
    await established(client, definition())
    await client.create(WIDGETS, widget(spec={"size": 1}))
    path = "/apis/example.com/v1/namespaces/default/widgets/a"

    async def patch(body, form):
        return await client.request("PATCH", path, body, content_type=form, query={"fieldManager": "me"})

    assert (await patch({"spec": {"color": "red"}}, "application/merge-patch+json"))["spec"] == {
        "size": 1,
        "color": "red",
    }
    body = [{"op": "replace", "path": "/spec/size", "value": 2}]
    assert (await patch(body, "application/json-patch+json"))["spec"]["size"] == 2
    code, message = await failing(patch({}, "application/strategic-merge-patch+json"))
    assert code == 415
    assert message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )
    applied = {**widget(spec={"color": "green"})}
    code, message = await failing(patch(applied, "application/apply-patch+yaml"))
    assert code == 409 and ".spec.color" in message
    await patch({"spec": {"color": None}}, "application/merge-patch+json")
    assert (await patch(applied, "application/apply-patch+yaml"))["spec"] == {"size": 2, "color": "green"}


async def test_tables_and_metadata(client):
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
    ]
    await established(client, definition(version(additionalPrinterColumns=columns)))
    await client.create(WIDGETS, widget(spec={"size": 1}))
    path = "/apis/example.com/v1/widgets"
    table = await client.request("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Color"]
    assert table["rows"][0]["cells"] == ["a", 1, None]
    partial = await client.request(
        "GET", path, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    )
    assert partial["items"][0]["metadata"]["name"] == "a" and "spec" not in partial["items"][0]
    code, message = await failing(client.request("GET", path, accept="application/vnd.kubernetes.protobuf"))
    assert code == 406 and "only the following media types are accepted" in message


async def test_unknown_fields(client):
    await established(client, definition())
    path = "/apis/example.com/v1/namespaces/default/widgets"
    body = widget(spec={"size": 1, "stranger": 2})
    code, message = await failing(client.request("POST", path, body, query={"fieldValidation": "Strict"}))
    assert (code, message) == (
        400, 'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.stranger"',
    )  # fmt: skip
    code, message = await failing(client.request("POST", path, {"metadata": {"name": "x"}}))
    assert code == 400 and "Object 'Kind' is missing in" in message


async def test_a_definition_that_changes_ends_watches(client):
    crd = await established(client, definition())
    made = await client.create(WIDGETS, widget())
    stream = client.watch(WIDGETS, resource_version=made["metadata"]["resourceVersion"])
    await client.create(WIDGETS, widget("b"))
    seen = []
    crd["spec"]["versions"].append(version("v2", storage=False))
    first = await anext(stream)
    seen.append(first.object["metadata"]["name"])
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, crd)
    seen += [e.object["metadata"]["name"] async for e in stream]
    assert seen == ["b"]


async def test_a_default_status_is_there_from_the_beginning(client):
    crd = definition(version(subresources={"status": {}}))
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    status["default"] = {"ready": False}
    await established(client, crd)
    made = await client.create(WIDGETS, widget(status={"ready": True}))
    assert made["status"] == {"ready": False}


async def test_metadata_and_tables_are_watched_too(client):
    await established(client, definition())
    made = await client.create(WIDGETS, widget(spec={"size": 1}))
    query = {"watch": "1", "resourceVersion": "0", "timeoutSeconds": "1", "fieldSelector": "metadata.name=a"}
    for form, kind in (("PartialObjectMetadata", "PartialObjectMetadata"), ("Table", "Table")):
        accept = f"application/json;as={form};v=v1;g=meta.k8s.io"
        _, _, text = await client.request_raw("GET", "/apis/example.com/v1/widgets", query=query, accept=accept)
        event = orjson.loads(text.splitlines()[0])
        assert (event["type"], event["object"]["kind"]) == ("ADDED", kind)
        row = event["object"]["rows"][0]["object"] if form == "Table" else event["object"]
        assert row["metadata"]["uid"] == made["metadata"]["uid"] and "spec" not in row


async def test_a_default_that_its_schema_refuses(client):
    spec = {"type": "object", "properties": {"size": {"type": "integer", "default": "x"}}}
    code, message = await failing(client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(spec=spec))))
    assert code == 422
    assert message.endswith(
        '.properties[size].default: Invalid value: "string":  in body must be of type integer: "string"'
    )
    spec["properties"]["size"] = {"type": "object", "default": {"a": 1}}
    code, message = await failing(client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(spec=spec))))
    assert message.endswith('.properties[size].default: Invalid value: {"a":1}: must not have unknown fields')


async def test_the_document_in_its_binary_form(client):
    await established(client, definition())
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    _, headers, body = await client.request_raw("GET", "/openapi/v2", accept=accept)
    assert headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert body.startswith(b"\n\x032.0") and b"com.example.v1.Widget" in body
