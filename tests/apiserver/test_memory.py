"""What a busy hour leaves behind: nothing that grows with the number of objects that came and went."""

import json

import pytest

from pybernetes.api.resources import GVR
from pybernetes.apiserver.cache import ResourceCache
from pybernetes.client.transport import ClientRequest
from pybernetes.storage.contract import Event

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
CHURN = 1500


async def call(transport, method, path, body=None, headers=None):
    payload = json.dumps(body).encode() if body is not None else b""
    answer = await transport.send(
        ClientRequest(method, path, {"Content-Type": "application/json", **(headers or {})}, payload)
    )
    return answer.status, await answer.read()


def census(server):
    caches = [d.cache for d in server.hub.dispatchers.values()]
    return {
        "objects": sum(c.count for c in caches),
        "spaces": sum(len(c.spaces) for c in caches),
        "joined": sum(len(c.joined) for c in caches),
        "listeners": sum(len(c.listeners) for c in caches),
        "groups": sum(len(d.groups()) for d in server.hub.dispatchers.values()),
        "metrics": len(list(server.metrics.lines())),
        "waiters": len(server.hub._waiters),
    }


async def churn(transport, count):
    for i in range(count):
        body = {"metadata": {"name": f"c{i}", "labels": {"n": str(i)}}, "data": {"k": "x" * 500}}
        status, _ = await call(transport, "POST", CONFIGMAPS, body)
        assert status == 201
        if i % 50 == 0:
            await call(transport, "GET", CONFIGMAPS)
            await call(transport, "GET", CONFIGMAPS, headers=TABLE)
            await call(transport, "GET", f"/apis/no{i}.example.com/v1/things{i}/x")
            await call(transport, "GET", f"{CONFIGMAPS}/c{i}/sub{i}")
    status, _ = await call(transport, "DELETE", CONFIGMAPS)
    assert status == 200
    await call(transport, "GET", CONFIGMAPS)


async def test_a_churn_of_objects_returns_to_the_start(server, client):
    transport = client.transport
    await churn(transport, 60)
    await settle(server, transport)
    before = census(server)
    await churn(transport, CHURN)
    cache = server.registry.lookup("", "v1", "configmaps").cache
    assert len(cache.log) > CHURN
    await settle(server, transport)
    assert census(server) == before
    assert len(cache.log) == ResourceCache.WINDOW_MINIMUM
    cache.validate_state()


async def settle(server, transport):
    for _ in range(ResourceCache.WINDOW_AGES + 1):
        for dispatcher in server.hub.dispatchers.values():
            dispatcher.cache.age()


@pytest.fixture
def cache():
    return ResourceCache(GVR("", "v1", "configmaps"), True, "/registry/configmaps/")


def put(cache, revision, name="a"):
    value = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"%s","namespace":"n"}}' % name.encode()
    cache.apply(Event(revision, f"{cache.prefix}n/{name}", value, 0))


def test_young_changes_stay(cache):
    for revision in range(1, 1001):
        put(cache, revision)
    for _ in range(cache.WINDOW_AGES):
        assert cache.age() == 0
    assert cache.since(0) == 0
    put(cache, 1001)
    assert cache.age() > 0
    assert len(cache.log) == cache.WINDOW_MINIMUM
    assert cache.horizon == 1001 - cache.WINDOW_MINIMUM
    cache.validate_state()


def test_a_quiet_resource_keeps_its_last_changes(cache):
    put(cache, 5)
    put(cache, 6)
    for _ in range(10):
        cache.age()
    assert len(cache.log) == 2
    cache.validate_state()


def test_ageing_beside_trimming_by_bytes(cache):
    cache.WINDOW_EVENTS, cache.WINDOW_MINIMUM = 64, 8
    for round_ in range(20):
        for revision in range(100):
            put(cache, round_ * 100 + revision + 1, f"n{revision % 7}")
        cache.age()
        cache.validate_state()
    assert len(cache.log) <= 72
