"""Lists that are made slice by slice: what they show is one moment, and others get their turn in between."""

import asyncio

import orjson

from pybernetes.apiserver.request import Request

PATH = "/api/v1/namespaces/default/configmaps"


async def create(server, name, **labels):
    body = {"metadata": {"name": name, "namespace": "default", "labels": labels}}
    await server.loopback("POST", PATH, body)


async def ask(server, query="", **headers):
    response = await server.handle(Request("GET", PATH, query, headers))
    return orjson.loads(response.whole)


async def fill(server, count):
    server.reader.SLICE = 3
    for i in range(count):
        await create(server, f"c{i:02}", kind="even" if i % 2 == 0 else "odd")


async def test_changes_meanwhile_do_not_show(server):
    await fill(server, 20)
    listing = asyncio.ensure_future(ask(server, "labelSelector=kind%3Deven"))
    await asyncio.sleep(0)
    await server.loopback("DELETE", f"{PATH}/c00")
    await create(server, "c99", kind="even")
    found = await listing
    names = [o["metadata"]["name"] for o in found["items"]]
    assert names == [f"c{i:02}" for i in range(0, 20, 2)]
    assert all(
        int(o["metadata"]["resourceVersion"]) <= int(found["metadata"]["resourceVersion"]) for o in found["items"]
    )
    later = await ask(server, "labelSelector=kind%3Deven")
    names = [o["metadata"]["name"] for o in later["items"]]
    assert "c00" not in names and "c99" in names, "what was put together before must not be kept"


async def test_slices_give_what_one_go_gives(server):
    await fill(server, 20)
    partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    queries = ("", "labelSelector=kind%3Dodd", "labelSelector=kind%3Dnone", "fieldSelector=metadata.name%3Dc05")
    for query in queries:
        for accept in ("application/json", partial, "application/vnd.kubernetes.protobuf"):
            answers = []
            for size in (3, 1000):
                server.reader.SLICE = size
                for d in server.hub.dispatchers.values():
                    d.cache.joined.clear()
                response = await server.handle(Request("GET", PATH, query, {"accept": accept}))
                answers.append(response.whole)
            assert answers[0] == answers[1], (query, accept)


async def test_others_get_their_turn_after_each_slice(server):
    await fill(server, 30)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.ensure_future(count())
    await asyncio.gather(*(ask(server, f"labelSelector=kind,n!%3D{i}") for i in range(5)))
    counter.cancel()
    # Five lists of ten slices, of all of them one a turn.
    assert turns >= 5 * 10
