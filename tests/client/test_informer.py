"""Informers: the copy only moves forward, whatever order answers, events and lists come in."""

import asyncio
import random

import pytest

from controllers.fake_api import FakeAPI
from pybernetes.api import errors
from pybernetes.api.resources import CONFIG_MAPS
from pybernetes.client.informer import ADDED, DELETED, MODIFIED, Informer, InformerFactory
from pybernetes.client.rest import Client
from pybernetes.concurrency import VirtualClock, virtual_event_loop


def config_map(name="a", **data):
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


@pytest.fixture
def world():
    """``world(main)``: runs ``main(api, client, clock)`` in virtual time."""

    def run(main, seed=0):
        clock = VirtualClock()
        loop = virtual_event_loop(clock)
        api = FakeAPI(clock, random.Random(seed))
        try:
            return loop.run_until_complete(main(api, Client(api, clock=clock), clock))
        finally:
            loop.close()

    return run


class running:
    """An informer at work, and what its handler was told."""

    def __init__(self, client, clock, gvr=CONFIG_MAPS, **options):
        self.informer = Informer(client, gvr, clock=clock, rng=random.Random(1), **options)
        self.told = []
        self.informer.add_handler(lambda kind, old, new: self.told.append((kind, (new or old)["metadata"]["name"])))

    async def __aenter__(self):
        self.task = asyncio.get_running_loop().create_task(self.informer.run())
        await self.informer.wait_synced()
        return self

    async def __aexit__(self, *failure):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_follows(world):
    async def main(api, client, clock):
        api.create(CONFIG_MAPS, config_map("a"))
        async with running(client, clock) as r:
            api.create(CONFIG_MAPS, config_map("b"))
            api.update(CONFIG_MAPS, config_map("b", k="v"))
            api.remove(CONFIG_MAPS, "default", "a")
            await clock.sleep(1)
            assert r.told == [(ADDED, "a"), (ADDED, "b"), (MODIFIED, "b"), (DELETED, "a")]
            assert [o["data"] for o in r.informer.list("default")] == [{"k": "v"}]
            assert r.informer.list("elsewhere") == []

    world(main)


def test_own_writes_show_at_once_and_events_that_lag_do_not_take_them_back(world):
    async def main(api, client, clock):
        feed = api._feed
        async with running(client, clock) as r:
            api._feed = lambda watcher, event: clock.call_later(5, lambda: feed(watcher, event))
            made = await client.create(CONFIG_MAPS, config_map("a", n="1"), "default")
            r.informer.observe(made)
            changed = await client.update(CONFIG_MAPS, {**made, "data": {"n": "2"}})
            r.informer.observe(changed)
            assert r.informer.get("default", "a")["data"] == {"n": "2"}
            await clock.sleep(10)
            assert r.told == [(ADDED, "a"), (MODIFIED, "a")]
            # What the watch has passed is not put in again.
            r.informer.observe(made)
            api.remove(CONFIG_MAPS, "default", "a")
            await clock.sleep(10)
            r.informer.observe(changed)
            assert len(r.informer) == 0

    world(main)


def test_own_deletions_show_until_the_watch_tells(world):
    async def main(api, client, clock):
        feed = api._feed
        made = api.create(CONFIG_MAPS, config_map("a"))
        async with running(client, clock) as r:
            await clock.sleep(1)
            api._feed = lambda watcher, event: clock.call_later(5, lambda: feed(watcher, event))
            # Another of the same name is not meant.
            r.informer.observe_delete({"metadata": {**made["metadata"], "uid": "other"}})
            assert "deletionTimestamp" not in r.informer.get("default", "a")["metadata"]
            await client.delete(CONFIG_MAPS, "a", "default")
            r.informer.observe_delete(made)
            assert r.informer.get("default", "a")["metadata"]["deletionTimestamp"]
            await clock.sleep(10)
            assert len(r.informer) == 0 and r.told == [(ADDED, "a"), (MODIFIED, "a"), (DELETED, "a")]

    world(main)


@pytest.mark.parametrize("forget", [False, True])
def test_a_broken_watch_loses_nothing(world, forget):
    async def main(api, client, clock):
        api.create(CONFIG_MAPS, config_map("stays"))
        api.create(CONFIG_MAPS, config_map("goes"))
        async with running(client, clock) as r:
            await clock.sleep(1)
            api.break_watches(forget=forget)
            api.remove(CONFIG_MAPS, "default", "goes")
            api.create(CONFIG_MAPS, config_map("new"))
            if forget:
                api.history.clear()
                api.window = api.revision
            await clock.sleep(60)
            assert sorted(o["metadata"]["name"] for o in r.informer.list()) == ["new", "stays"]
            assert (DELETED, "goes") in r.told and r.told.count((ADDED, "stays")) == 1

    world(main)


@pytest.mark.parametrize("seed", range(25))
def test_random_histories_end_equal(world, seed):
    async def main(api, client, clock):
        rng, feed, last = random.Random(seed), api._feed, 0.0

        def delayed(watcher, event):
            # Late, but in order, as one connection is.
            nonlocal last
            last = max(last, clock.now() + rng.random())
            clock.call_later(last - clock.now(), lambda: feed(watcher, event))

        async def act(informer):
            name, action = rng.choice("abc"), rng.randrange(4)
            if action == 0:
                informer.observe(await client.create(CONFIG_MAPS, config_map(name), "default"))
            elif action == 1:
                found = await client.get(CONFIG_MAPS, name, "default")
                changed = await client.update(CONFIG_MAPS, {**found, "data": {"n": str(rng.random())}})
                if rng.random() < 0.7:
                    informer.observe(changed)
            elif action == 2:
                found = await client.get(CONFIG_MAPS, name, "default")
                await client.delete(CONFIG_MAPS, name, "default")
                informer.observe_delete(found)
            elif rng.random() < 0.3:
                api.break_watches(forget=rng.random() < 0.5)

        async with running(client, clock) as r:
            api._feed = delayed
            for _ in range(60):
                try:
                    await act(r.informer)
                except errors.StatusError as failure:
                    assert failure.code in (404, 409)
                await clock.sleep(rng.random())
            await clock.sleep(120)
            stored = {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in api.all(CONFIG_MAPS)}
            assert {o["metadata"]["name"]: o["metadata"]["resourceVersion"] for o in r.informer.list()} == stored

    world(main, seed)


def test_indexes_follow(world):
    async def main(api, client, clock):
        async with running(client, clock) as r:
            r.informer.add_index("colour", lambda o: [o["data"]["colour"]] if "colour" in o["data"] else [])
            api.create(CONFIG_MAPS, config_map("a", colour="red"))
            api.create(CONFIG_MAPS, config_map("b", colour="red"))
            await clock.sleep(1)
            assert len(r.informer.by_index("colour", "red")) == 2 and "colour" in r.informer.indexes
            api.update(CONFIG_MAPS, config_map("a", colour="blue"))
            api.remove(CONFIG_MAPS, "default", "b")
            await clock.sleep(1)
            assert r.informer.by_index("colour", "red") == [] and len(r.informer.by_index("colour", "blue")) == 1

    world(main)


def test_one_watch_a_resource_and_metadata_alone_where_that_is_enough(world):
    async def main(api, client, clock):
        api.create(CONFIG_MAPS, config_map("a", k="v"))
        factory = InformerFactory(client, clock)
        slim = factory.metadata_informer(CONFIG_MAPS)
        assert factory.metadata_informer(CONFIG_MAPS) is slim
        task = asyncio.get_running_loop().create_task(factory.run())
        whole = factory.informer(CONFIG_MAPS)
        await factory.wait_synced()
        assert factory.metadata_informer(CONFIG_MAPS) is whole is factory.informer(CONFIG_MAPS)
        assert "data" not in slim.list()[0] and whole.list()[0]["data"] == {"k": "v"}
        made = await client.create(CONFIG_MAPS, config_map("b", k="v"), "default")
        factory.observe(CONFIG_MAPS, made)
        assert len(slim) == len(whole) == 2 and "data" not in slim.get("default", "b")
        await clock.sleep(1)
        factory.remove_metadata_informer(CONFIG_MAPS)
        api.create(CONFIG_MAPS, config_map("c"))
        await clock.sleep(1)
        assert len(slim) == 2 and len(whole) == 3
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    world(main)


def test_a_server_that_ends_every_watch_is_not_hammered(world):
    async def main(api, client, clock):
        calls, send = [], api.send

        async def counting(request):
            calls.append(request.target)
            answer = await send(request)
            if "watch=true" in request.target:
                answer._stream.put_nowait(None)
            return answer

        api.send = counting
        async with running(client, clock):
            await clock.sleep(60)
            assert len(calls) < 40

    world(main)
