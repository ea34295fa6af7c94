"""Requests that another server answers."""

import asyncio
import base64

import orjson
import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS, SERVICES
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.request import Request
from pybernetes.client.discovery import discover
from pybernetes.client.rest import Client
from pybernetes.hooks.identity import LOOPBACK, UserInfo

from .conftest import GROUP, ROOT, SERVICE, VERSION, api_service

NAME = f"{VERSION}.{GROUP}"
JANE = UserInfo("jane", uid="7", groups=("a,b", "system:authenticated"), extra={"example.com/x y": ("1", "2")})


@pytest.fixture
def client(front):
    return Client(InProcessTransport(front))


async def condition(front, wanted, **fields):
    """Waits until the APIService has such an Available condition, and gives it."""
    changed = asyncio.Event()
    end = front.objects.subscribe(API_SERVICES, lambda *event: changed.set())
    try:
        async with asyncio.timeout(20):
            while True:
                changed.clear()
                service = front.objects.get(API_SERVICES, "", NAME) or {}
                for found in (service.get("status") or {}).get("conditions") or ():
                    if found["status"] == wanted and all(found[k] == v for k, v in fields.items()):
                        return found
                await changed.wait()
    finally:
        end()


@pytest.fixture
async def registered(front, client, cats, pki):
    await client.create(SERVICES, SERVICE)
    await client.create(API_SERVICES, api_service(pki, cats.port))
    found = await condition(front, "True")
    assert (found["reason"], found["message"]) == ("Passed", "all checks passed")
    await read(front)
    return cats


async def read(front):
    """Waits until the documents of the server behind are there."""
    remotes, waiter = front.remotes, asyncio.Event()
    tell = remotes._changed

    def changed():
        tell()
        waiter.set()

    remotes._changed = changed
    try:
        async with asyncio.timeout(10):
            while remotes.served[GROUP, VERSION].discovery is None:
                waiter.clear()
                await waiter.wait()
    finally:
        remotes._changed = tell


async def ask(front, method, path, query="", body=b"", user=LOOPBACK, **headers):
    return await front.handle(Request(method, path, query, {"host": "front", **headers}, body, user=user))


async def whole(response):
    body = response.body
    return body if isinstance(body, bytes) else b"".join([part async for part in body])


async def test_every_verb_is_passed_on(front, registered):
    cat = orjson.dumps({"metadata": {"name": "tom"}, "fur": "x" * 3_000_000})
    made = await ask(front, "POST", f"{ROOT}/namespaces/default/cats", body=cat, **{"content-type": "application/json"})
    assert made.status == 201 and await whole(made) == cat and ("X-Cat", "miau") in made.headers
    got = await ask(front, "GET", f"{ROOT}/namespaces/default/cats/tom")
    assert await whole(got) == cat
    listed = orjson.loads(await whole(await ask(front, "GET", f"{ROOT}/namespaces/default/cats")))
    assert [c["metadata"]["name"] for c in listed["items"]] == ["tom"]
    gone = await ask(front, "DELETE", f"{ROOT}/namespaces/default/cats/tom")
    assert gone.status == 200 and await whole(gone)
    missing = await ask(front, "GET", f"{ROOT}/namespaces/default/cats/tom")
    assert missing.status == 404 and orjson.loads(await whole(missing))["kind"] == "Status"
    queues = front.fairness.levels.levels["exempt"].queues
    assert queues.in_use == 0


async def test_the_server_behind_is_told_who_asks(front, registered):
    headers = {"authorization": "Bearer secret", "impersonate-user": "", "x-remote-user": "root", "x-remote-group": "g"}
    response = await ask(front, "GET", f"{ROOT}/namespaces/default/cats", "a=%20b", user=JANE, **headers)
    assert response.status == 200 and await whole(response)
    seen = registered.requests[-1]
    assert seen.raw_query == "a=%20b" and "authorization" not in seen.headers
    assert seen.headers["x-remote-user"] == "jane" and seen.headers["x-remote-uid"] == "7"
    assert seen.headers["x-remote-group"] == "a,b\nsystem:authenticated"
    assert seen.headers["x-remote-extra-example.com%2fx%20y"] == "1\n2"


async def test_a_watch_comes_as_it_happens_and_ends_with_its_reader(front, registered):
    response = await ask(front, "GET", f"{ROOT}/namespaces/default/cats", "watch=true", user=JANE)
    assert response.live and front.fairness.levels.levels["global-default"].queues.in_use == 0
    await registered.events.put(b'{"type":"ADDED"}\n')
    assert await anext(response.body) == b'{"type":"ADDED"}\n'
    await response.body.aclose()
    await registered.events.put(b'{"type":"ADDED"}\n' * 1000)
    await registered.events.put(b'{"type":"ADDED"}\n' * 1000)
    async with asyncio.timeout(5):
        await registered.watch_closed.wait()


class Pipe:
    """A client's end of an upgraded connection."""

    def __init__(self, *sent):
        self.sent, self.got, self.whole = list(sent), [], asyncio.Event()

    async def read(self):
        if self.sent:
            return self.sent.pop(0)
        await self.whole.wait()
        return b""

    async def write(self, data):
        self.got.append(data)
        if b"".join(self.got) == b"HELLO":
            self.whole.set()

    def write_eof(self):
        pass

    close = write_eof


async def test_upgraded_connections_go_through(front, registered):
    headers = {"connection": "Upgrade", "upgrade": "echo"}
    response = await ask(front, "POST", f"{ROOT}/namespaces/default/cats/tom/exec", user=JANE, **headers)
    assert response.status == 101
    assert registered.requests[-1].headers["x-remote-group"] == "a,b\nsystem:authenticated"
    pipe = Pipe(b"hel", b"lo")
    async with asyncio.timeout(5):
        await response.upgrade(pipe)
    assert b"".join(pipe.got) == b"HELLO"


@pytest.mark.parametrize("aggregated", [True, False])
async def test_discovery_tells_of_it(front, client, cats, pki, aggregated):
    cats.aggregated = aggregated
    await client.create(SERVICES, SERVICE)
    await client.create(API_SERVICES, api_service(pki, cats.port))
    await condition(front, "True")
    await read(front)
    infos, failed = await discover(client)
    (cat,) = [i for i in infos if i.gvr.group == GROUP]
    assert (cat.gvr.resource, cat.kind, cat.namespaced, cat.short_names, failed) == ("cats", "Cat", True, ("ct",), [])
    groups = (await client.request("GET", "/apis"))["groups"]
    names = [g["name"] for g in groups]
    assert names[-1] == GROUP and names[0] == "apiregistration.k8s.io"
    group = await client.request("GET", f"/apis/{GROUP}")
    assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    resources = orjson.loads(await whole(await ask(front, "GET", ROOT)))
    assert resources["resources"][0]["name"] == "cats"
    await client.delete(API_SERVICES, NAME)
    assert not any(i.gvr.group == GROUP for i in (await discover(client))[0])
    assert (await ask(front, "GET", f"{ROOT}/namespaces/default/cats")).status == 404


async def test_a_group_of_high_priority_comes_first(front, client, cats, pki):
    await client.create(SERVICES, SERVICE)
    await client.create(API_SERVICES, api_service(pki, cats.port, groupPriorityMinimum=19000))
    await condition(front, "True")
    groups = [g["name"] for g in (await client.request("GET", "/apis"))["groups"]]
    assert groups[:2] == ["apiregistration.k8s.io", GROUP]


async def test_openapi_is_merged(front, client, registered):
    index = await client.request("GET", "/openapi/v3")
    assert (
        index["paths"][f"apis/{GROUP}/{VERSION}"]["serverRelativeURL"] == f"/openapi/v3/apis/{GROUP}/{VERSION}?hash=1"
    )
    assert "apis/other" not in index["paths"] and "apis/apps/v1" in index["paths"]
    document = orjson.loads(await whole(await ask(front, "GET", f"/openapi/v3/apis/{GROUP}/{VERSION}", "hash=1")))
    assert document["components"]["schemas"] == {"Cat": {"type": "object"}}
    v2 = await client.request("GET", "/openapi/v2")
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert f"{ROOT}/cats" in v2["paths"] and "Unused" not in v2["definitions"]
    reference = v2["definitions"]["Cat"]["properties"]["metadata"]["$ref"]
    assert reference == f"#/definitions/{meta}_v2" and "/apis/apps/v1/deployments" in v2["paths"]
    assert v2["definitions"][f"{meta}_v2"]["description"] == "an older one"


async def test_unavailable_is_said_and_mended(front, client, cats, pki):
    await client.create(API_SERVICES, api_service(pki, cats.port))
    found = await condition(front, "False")
    assert (found["reason"], found["message"]) == ("ServiceNotFound", 'service/cats in "default" is not present')
    response = await ask(front, "GET", f"{ROOT}/namespaces/default/cats")
    assert (response.status, response.body) == (503, b"service unavailable\n")
    infos, failed = await discover(client)
    assert failed == [f"{GROUP}/{VERSION}"]
    await client.create(SERVICES, SERVICE)
    await condition(front, "True")
    text = "\n".join(front.aggregation.lines())
    assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 0' in text
    assert f'aggregator_unavailable_apiservice_total{{name="{NAME}",reason="ServiceNotFound"}} 1' in text


async def test_a_server_that_is_broken(front, client, cats, pki):
    cats.status = 500
    await client.create(SERVICES, SERVICE)
    await client.create(API_SERVICES, api_service(pki, cats.port))
    found = await condition(front, "False")
    url = f"https://localhost:{cats.port}{ROOT}"
    assert found["reason"] == "FailedDiscoveryCheck"
    assert found["message"] == f"failing or missing response from {url}: bad status from {url}: 500"
    cats.status = 200
    await condition(front, "True")


async def test_a_certificate_that_proves_nothing(front, client, cats, pki):
    other = base64.b64encode((pki / "proxy-ca.crt").read_bytes()).decode()
    await client.create(SERVICES, SERVICE)
    service = await client.create(API_SERVICES, api_service(pki, cats.port, caBundle=other))
    found = await condition(front, "False", reason="FailedDiscoveryCheck")
    assert "tls: failed to verify certificate" in found["message"]
    service = await client.get(API_SERVICES, NAME)
    service["spec"] |= {"caBundle": None, "insecureSkipTLSVerify": True}
    await client.update(API_SERVICES, service)
    await condition(front, "True")


async def test_it_breaks_off(front, registered, pki):
    """Between two checks the server behind goes away."""
    registered.status = 200
    remote = front.remotes.served[GROUP, VERSION]
    remote.target = (*remote.target[:2], 1)
    response = await ask(front, "GET", f"{ROOT}/namespaces/default/cats")
    assert response.status == 503
    assert response.body.startswith(b"dial tcp localhost:1: connect: connection refused")
    headers = {"connection": "Upgrade", "upgrade": "echo"}
    assert (await ask(front, "GET", f"{ROOT}/namespaces/default/cats/tom/exec", **headers)).status == 503


async def test_connections_are_kept_for_reads(front, registered):
    path = f"{ROOT}/namespaces/default/cats"
    kept = front.remotes._connections._idle
    assert await whole(await ask(front, "GET", path))
    before = registered.connections
    for _ in range(5):
        assert await whole(await ask(front, "GET", path))
    assert registered.connections == before and sum(map(len, kept.values())) >= 1
    # The server behind closes what it kept: the next read does not notice.
    registered.restart()
    answers = await asyncio.gather(*(ask(front, "GET", path) for _ in range(3)))
    assert [a.status for a in answers] == [200] * 3
    for answer in answers:
        await answer.body.aclose()
    missing = await ask(front, "GET", f"{path}/nobody")
    assert missing.status == 404 and await whole(missing)
    front.remotes.drop(front.objects.get(API_SERVICES, "", NAME))
    assert not kept


async def test_custom_resources_are_registered(front, client):
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": v, "served": True, "storage": v == "v1", "schema": schema} for v in ("v1", "v1beta1")]
    names = {"plural": "dogs", "singular": "dog", "kind": "Dog", "listKind": "DogList"}
    definition = {
        "metadata": {"name": "dogs.pets.example.org"},
        "spec": {"group": "pets.example.org", "scope": "Namespaced", "names": names, "versions": versions},
    }
    changed = asyncio.Event()
    front.objects.subscribe(API_SERVICES, lambda *event: changed.set())

    async def until(wanted):
        async with asyncio.timeout(10):
            while True:
                found = {o["metadata"]["name"] for o in front.objects.list(API_SERVICES)}
                if {n for n in found if "example.org" in n} == wanted:
                    return
                changed.clear()
                await changed.wait()

    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    await until({"v1.pets.example.org", "v1beta1.pets.example.org"})
    service = await client.get(API_SERVICES, "v1.pets.example.org")
    assert service["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert service["status"]["conditions"][0]["reason"] == "Local"
    definition = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "dogs.pets.example.org")
    definition["spec"]["versions"][1]["served"] = False
    await client.update(CUSTOM_RESOURCE_DEFINITIONS, definition)
    await until({"v1.pets.example.org"})
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "dogs.pets.example.org")
    await until(set())
    with pytest.raises(StatusError):
        await client.get(API_SERVICES, "v1.pets.example.org")
