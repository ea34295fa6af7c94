"""Reads, writes and watches through the whole pipeline, in process."""

from contextlib import aclosing

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, EVENTS, GVR
from pybernetes.apiserver.conversions import NEW_EVENTS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.request import Response
from pybernetes.apiserver.server import ServerConfig
from pybernetes.client.rest import Client

from .conftest import running


def config_map(name, **data):
    return {"metadata": {"name": name, "namespace": "default", "labels": {"app": name[0]}}, "data": data}


async def test_create_get_update_delete(client):
    made = await client.create(CONFIG_MAPS, config_map("a", k="v"))
    assert made["metadata"]["uid"] and made["kind"] == "ConfigMap"
    assert await client.get(CONFIG_MAPS, "a", "default") == made
    made["data"]["k"] = "w"
    changed = await client.update(CONFIG_MAPS, made)
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    with pytest.raises(StatusError) as failure:
        await client.update(CONFIG_MAPS, made)
    assert failure.value.code == 409
    await client.delete(CONFIG_MAPS, "a", "default")
    with pytest.raises(StatusError) as failure:
        await client.get(CONFIG_MAPS, "a", "default")
    assert failure.value.message == 'configmaps "a" not found'


async def test_create_twice(client):
    await client.create(CONFIG_MAPS, config_map("a"))
    with pytest.raises(StatusError) as failure:
        await client.create(CONFIG_MAPS, config_map("a"))
    assert (failure.value.code, failure.value.message) == (409, 'configmaps "a" already exists')


async def test_list_pages_are_of_one_moment(client):
    for name in "abcde":
        await client.create(CONFIG_MAPS, config_map(name))
    path, query = "/api/v1/configmaps", {"limit": "2"}
    first = await client.request("GET", path, query=query)
    assert first["metadata"]["remainingItemCount"] == 3
    await client.delete(CONFIG_MAPS, "c", "default")
    names = [i["metadata"]["name"] for i in first["items"]]
    page = first
    while page["metadata"].get("continue"):
        page = await client.request("GET", path, query={**query, "continue": page["metadata"]["continue"]})
        names += [i["metadata"]["name"] for i in page["items"]]
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert names == list("abcde")


async def test_watch_with_a_selector_sees_objects_come_and_go(client):
    made = await client.create(CONFIG_MAPS, config_map("a"))
    version = made["metadata"]["resourceVersion"]
    seen = []
    stream = client.watch(CONFIG_MAPS, resource_version=version, label_selector="app=a")
    await client.create(CONFIG_MAPS, config_map("b"))
    await client.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"app": "z"}}}, "default")
    await client.patch(CONFIG_MAPS, "b", {"metadata": {"labels": {"app": "a"}}}, "default")
    await client.delete(CONFIG_MAPS, "b", "default")
    async with aclosing(stream) as events:
        async for event in events:
            seen.append((event.type, event.object["metadata"]["name"]))
            if len(seen) == 3:
                break
    assert seen == [("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]


async def test_finalizers_hold_an_object(client):
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await client.create(CONFIG_MAPS, obj)
    await client.delete(CONFIG_MAPS, "a", "default")
    held = await client.get(CONFIG_MAPS, "a", "default")
    assert held["metadata"]["deletionTimestamp"] and held["metadata"]["deletionGracePeriodSeconds"] == 0
    await client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, "default")
    with pytest.raises(StatusError):
        await client.get(CONFIG_MAPS, "a", "default")


async def test_field_validation(client):
    obj = {**config_map("a"), "nope": 1}
    with pytest.raises(StatusError) as failure:
        await client.request("POST", "/api/v1/namespaces/default/configmaps", obj, query={"fieldValidation": "Strict"})
    assert 'strict decoding error: unknown field "nope"' in failure.value.message


async def test_large_lists_are_written_in_parts(server, client):
    server.reader.STREAMED, server.reader.SLICE = 3, 2
    for name in "abcde":
        await client.create(CONFIG_MAPS, config_map(name))
    listed = await client.list(CONFIG_MAPS)
    assert [i["metadata"]["name"] for i in listed["items"]] == list("abcde")
    table = await client.request(
        "GET", "/api/v1/configmaps", accept="application/json;as=Table;g=meta.k8s.io;v=v1,application/json"
    )
    assert [r["cells"][0] for r in table["rows"]] == list("abcde")


async def test_pods_of_a_node_are_found_by_index(server, client):
    from pybernetes.api.resources import PODS

    for number in range(6):
        pod = {
            "metadata": {"name": f"p{number}", "namespace": "default" if number % 2 else "kube-system"},
            "spec": {"nodeName": f"n{number // 3}", "containers": [{"name": "c", "image": "i"}]},
        }
        await client.create(PODS, pod)
    listed = await client.list(PODS, field_selector="spec.nodeName=n0")
    assert [i["metadata"]["name"] for i in listed["items"]] == ["p1", "p0", "p2"]
    listed = await client.list(PODS, "default", field_selector="spec.nodeName=n0,metadata.name!=p9")
    assert [i["metadata"]["name"] for i in listed["items"]] == ["p1"]
    await client.delete(PODS, "p1", "default", grace_period_seconds=0)
    assert (await client.list(PODS, "default", field_selector="spec.nodeName=n0"))["items"] == []


async def test_a_given_name_that_is_taken_is_refused_although_there_is_a_prefix(client):
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a-0", "generateName": "a-"}}
    await client.create(CONFIG_MAPS, config_map, "default")
    with pytest.raises(StatusError) as caught:
        await client.create(CONFIG_MAPS, config_map, "default")
    assert caught.value.reason == "AlreadyExists"


async def test_duplicate_and_unknown_fields_are_told_in_the_order_of_the_body(client):
    path = "/api/v1/namespaces/default/configmaps"
    body = b"""{"metadata": {"name": "a", "zz": 1}, "bb": 1, "data": {"x": "1"}, "data": {"y": "1"}, "aa": [{"q": 1, "q": 2}]}"""
    with pytest.raises(StatusError) as failure:
        await client.request("POST", path, body, query={"fieldValidation": "Strict"}, content_type="application/json")
    assert failure.value.message == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "metadata.zz", unknown field "bb", duplicate field "data", unknown field "aa", '
        'duplicate field "aa[0].q"'
    )


async def test_what_is_never_stored_has_no_table():
    """Reviews: a Table is refused, other forms are given."""

    async def answer(request):
        return Response(
            201, b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","metadata":{"name":"x"}}'
        )

    gvr = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")
    async with running(ServerConfig(virtual_resources={gvr: answer})) as server:
        await _check_forms(Client(InProcessTransport(server)))


async def _check_forms(client):
    path, table = "/apis/authentication.k8s.io/v1/selfsubjectreviews", "application/json;as=Table;g=meta.k8s.io;v=v1"
    with pytest.raises(StatusError) as failure:
        await client.request("POST", path, {}, accept=table)
    assert failure.value.code == 406
    assert (await client.request("POST", path, {}, accept=f"{table},application/json"))["kind"] == "SelfSubjectReview"
    partial = await client.request(
        "POST", path, {}, accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    )
    assert partial == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "x"}}
    assert "kind: SelfSubjectReview\n" in await client.request("POST", path, {}, accept="application/yaml")
    _, headers, body = await client.request_raw("POST", path, {}, accept="application/vnd.kubernetes.protobuf")
    assert headers["content-type"] == "application/vnd.kubernetes.protobuf" and body.startswith(b"k8s\0")


async def test_events_are_selected_by_the_names_of_their_version(client):
    """Both versions rest in one form; each has its own names for the same fields."""
    for name, reporter in (("a", "scheduler"), ("b", "kubelet")):
        event = {
            "metadata": {"name": name, "namespace": "default"},
            "regarding": {"kind": "Pod", "name": f"pod-{name}", "namespace": "default"},
            "reportingController": reporter, "reportingInstance": "x", "action": "Do", "reason": "Why", "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000000Z",
        }  # fmt: skip
        await client.create(NEW_EVENTS, event)

    async def names(gvr, selector):
        return [i["metadata"]["name"] for i in (await client.list(gvr, "default", field_selector=selector))["items"]]

    assert await names(NEW_EVENTS, "reportingController=kubelet") == ["b"]
    assert await names(NEW_EVENTS, "reportingController!=kubelet,regarding.kind=Pod,type=Normal") == ["a"]
    assert await names(EVENTS, "source=scheduler,involvedObject.name=pod-a") == ["a"]
    for gvr, field in ((EVENTS, "reportingController"), (NEW_EVENTS, "source"), (NEW_EVENTS, "involvedObject.name")):
        with pytest.raises(StatusError) as failure:
            await names(gvr, f"{field}=kubelet")
        assert failure.value.message == f"field label not supported: {field}"
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    await client.request("DELETE", path, query={"fieldSelector": "regarding.name=pod-b"})
    assert await names(EVENTS, "") == ["a"]
