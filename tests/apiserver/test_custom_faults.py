"""Hostile definitions and hostile objects of custom resources: refused or bounded, never a 500, never a loop that stands."""

import asyncio
import copy
import random
from pathlib import Path

import orjson
import pytest

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CUSTOM_RESOURCE_DEFINITIONS
from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.request import Request
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import LOOPBACK, Credentials
from pybernetes.storage.sqlite import SqliteStore

from .conftest import running
from .test_custom import WIDGETS, definition, established, failing, version, widget
from .test_fuzz import Chaos

RICH = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "replicas": {"type": "integer", "format": "int32"},
        "name": {"type": "string", "maxLength": 5, "pattern": "^[a-z]+$", "default": "a"},
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
            "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}, "op": {"type": "string"}}},
        },
        "containers": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        "value": {"x-kubernetes-int-or-string": True},
        "data": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
        "env": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "nullable": True},
        "limits": {"oneOf": [{"required": ["cpu"]}, {"required": ["name"]}], "type": "object", "properties": {"cpu": {"type": "string"}, "name": {"type": "string"}}},
    },
    "x-kubernetes-validations": [
        {"rule": "!has(self.size) || self.size < 50"},
        {"rule": "!has(self.replicas) || !has(oldSelf.replicas) || self.replicas >= oldSelf.replicas"},
        {"rule": "!has(self.containers) || self.containers.all(c, c != 'x')"},
    ],
}  # fmt: skip
SUBRESOURCES = {
    "status": {},
    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"},
}  # fmt: skip


def rich():
    first = version(spec=copy.deepcopy(RICH), subresources=SUBRESOURCES, selectableFields=[{"jsonPath": ".spec.name"}])
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return definition(first, {**version("v2", storage=False), "schema": {"openAPIV3Schema": free}})


class CustomChaos(Chaos):
    def path(self, method):
        rng = self.rng
        parts = [f"/apis/example.com/{rng.choice(['v1', 'v1', 'v2', 'v3'])}"]
        if rng.random() < 0.95:
            parts.append("namespaces/default")
        parts.append("widgets")
        if method != "POST" or rng.random() < 0.1:
            parts += [rng.choice(["a", "b", "c"]), *rng.choice([[], [], [], ["status"], ["scale"], ["nope"]])]
        return "/".join(parts)

    def plausible(self):
        rng = self.rng
        spec = {name: self.value(2) for name in rng.sample(list(RICH["properties"]), 2)}
        return {**spec, **rng.choice([{}, {"size": 3}, {"ports": [{"port": 1}]}, {"replicas": rng.choice([0, 5, -1])}])}

    def fitting(self, path, body):
        try:
            obj = orjson.loads(super().fitting(path, body))
        except orjson.JSONDecodeError:
            return body
        if isinstance(obj, dict) and self.rng.random() < 0.9:
            obj |= {"apiVersion": "/".join(path.split("/")[2:4]), "kind": "Widget"}
        return orjson.dumps(obj)


@pytest.mark.parametrize("seed", range(4))
async def test_no_request_for_a_custom_resource_breaks_the_server(seed):
    chaos = CustomChaos(seed)
    async with running() as server:
        client = Client(InProcessTransport(server))
        await established(client, rich())
        for name in "abc":
            await client.create(WIDGETS, widget(name, spec={"size": 2}))
        answers = set()
        for _ in range(500):
            request = chaos.request()
            if "resourceVersion=9" in request.raw_query:
                continue
            response = await server.handle(request)
            answers.add(response.status)
            assert response.status < 500 or response.status in (503, 504), (request, response.whole)
            if response.stream is not None:
                response.stream.stop()
        assert {200, 400, 404, 415, 422} <= answers


@pytest.mark.parametrize("seed", range(4))
async def test_no_definition_breaks_the_server(seed):
    rng = random.Random(seed)
    chaos = Chaos(seed)
    words = [
        "type", "properties", "items", "required", "enum", "pattern", "default", "additionalProperties", "nullable",
        "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
        "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields", "anyOf", "not", "format", "maxLength",
        "served", "storage", "subresources", "status", "scale", "additionalPrinterColumns", "selectableFields", "jsonPath",
        "names", "plural", "kind", "scope", "conversion", "strategy", "webhook", "clientConfig", "rule", "message",
    ]  # fmt: skip

    def mutated(value, depth=0):
        if rng.random() < 0.006:
            return chaos.value(3)
        if isinstance(value, dict):
            made = {k: mutated(v, depth + 1) for k, v in value.items() if rng.random() > 0.003}
            if rng.random() < 0.01:
                made[rng.choice(words)] = rng.choice([chaos.value(3), value, [value], "object", True])
            return made
        return [mutated(v, depth + 1) for v in value] if isinstance(value, list) else value

    headers = {"content-type": "application/json"}
    path = f"{CUSTOM_RESOURCE_DEFINITIONS.path}/customresourcedefinitions"
    async with running() as server:
        accepted = 0
        for _ in range(150):
            made = mutated(rich())
            crd = {**(made if isinstance(made, dict) else {}), "metadata": {"name": "widgets.example.com"}}
            body = orjson.dumps(crd)
            response = await server.handle(
                Request("POST", path, "", headers, body, Credentials(headers), user=LOOPBACK)
            )
            assert response.status < 500, (crd, response.whole)
            if response.status == 201:
                accepted += 1
                for _ in range(3):
                    await asyncio.sleep(0)
                for target in ("/apis/example.com/v1/widgets", "/openapi/v2", "/apis/example.com/v1"):
                    got = await server.handle(Request("GET", target, "", {}, b"", Credentials({}), user=LOOPBACK))
                    assert got.status < 500, (crd, target, got.whole)
                body = orjson.dumps(widget(spec=chaos.value()))
                target = "/apis/example.com/v1/namespaces/default/widgets"
                got = await server.handle(
                    Request("POST", target, "", headers, body, Credentials(headers), user=LOOPBACK)
                )
                assert got.status < 500, (crd, got.whole)
                client = Client(InProcessTransport(server))
                await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
                async for event in client.watch(CUSTOM_RESOURCE_DEFINITIONS):
                    if event.type == "DELETED":
                        break
        server.definitions.validate_state()
        assert accepted > 10


def deep(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def nested_alternatives(depth):
    schema = {"minimum": 1}
    for _ in range(depth):
        schema = {"anyOf": [schema, schema]}
    return {"type": "integer", **schema}


RULE = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c != 'x')))"
HOSTILE = {
    "an exponential pattern is linear here": ({"type": "string", "pattern": "(a+)+$"}, ""),
    "a pattern that repeats itself to death": ({"type": "string", "pattern": "((a{1,100}){1,100}){1,100}"}, "invalid repeat count"),
    "a pattern that looks ahead": ({"type": "string", "pattern": "(?=x)"}, "invalid or unsupported Perl syntax"),
    "eighty levels": (deep(80), ""),
    "fifty thousand values": ({"type": "string", "enum": [f"v{i}" for i in range(50_000)]}, ""),
    "alternatives of alternatives": (nested_alternatives(11), ""),
    "loops in loops": (
        {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}, "x-kubernetes-validations": [{"rule": RULE}]},
        "estimated rule cost exceeds budget by factor of more than 100x",
    ),
    "a thousand brackets": ({"type": "integer", "x-kubernetes-validations": [{"rule": "(" * 1000 + "self > 1" + ")" * 1000}]}, "compilation failed"),
    "ten thousand not": ({"type": "boolean", "x-kubernetes-validations": [{"rule": "!" * 10_000 + "self"}]}, "compilation failed"),
    "a default that is none": ({"type": "integer", "default": "x"}, "must be of type integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
async def test_hostile_schemas(client, case):
    schema, words = HOSTILE[case]
    crd = definition(version(spec={"type": "object", "properties": {"x": schema}}))
    if words:
        code, message = await failing(client.create(CUSTOM_RESOURCE_DEFINITIONS, crd))
        assert code == 422 and words in message
        return
    await established(client, crd)
    for value in ("a" * 5000 + "b", 0, [], {"a": {"a": 1}}):
        try:
            await client.create(WIDGETS, widget(spec={"x": value}))
        except StatusError as failure:
            assert failure.code == 422


async def test_other_requests_are_answered_while_a_large_definition_is_checked(client):
    rules = [{"rule": f"!has(self.f{i}) || self.f{i} != 'x{i}'"} for i in range(400)]
    spec = {
        "type": "object",
        "properties": {f"f{i}": {"type": "string", "maxLength": 10} for i in range(400)},
        "x-kubernetes-validations": rules,
    }
    creating = asyncio.create_task(client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(version(spec=spec))))
    answered = 0
    while not creating.done():
        await client.request("GET", "/api/v1/namespaces/default")
        answered += 1
        await asyncio.sleep(0)
    await creating
    assert answered > 3


async def test_objects_outlive_their_server(tmp_path: Path):
    clock = RealClock()
    path = tmp_path / "store"
    async with running(clock=clock, store=SqliteStore(path, clock)) as server:
        client = Client(InProcessTransport(server))
        await established(client, definition())
        await established(client, definition(kind="Gadget"))
        await client.create(WIDGETS, widget(spec={"size": 1}))
    async with running(clock=clock, store=SqliteStore(path, clock)) as server:
        client = Client(InProcessTransport(server))
        # Served from the first moment on, without a request that waits for it.
        assert (await client.get(WIDGETS, "a", "default"))["spec"] == {"size": 1}
        group = await client.request("GET", "/apis/example.com/v1")
        assert [r["name"] for r in group["resources"]] == ["gadgets", "widgets"]
        await client.create(WIDGETS, widget("b"))
        assert len((await client.list(WIDGETS))["items"]) == 2
