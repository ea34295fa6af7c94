"""Reads, writes and watches through the whole pipeline, in process."""

from contextlib import aclosing

import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS


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
