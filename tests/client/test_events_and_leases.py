"""The event recorder and leader election."""

import asyncio
import random

import pytest

from controllers.fake_api import FakeAPI
from pybernetes.api.resources import EVENTS, LEASES, PODS
from pybernetes.client.events import EventRecorder
from pybernetes.client.leases import LeaderElector, LeadershipLost
from pybernetes.client.rest import Client
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import VirtualClock, virtual_event_loop


def virtually(main):
    clock = VirtualClock()
    loop = virtual_event_loop(clock)
    api = FakeAPI(clock, random.Random(0))
    try:
        return loop.run_until_complete(main(api, Client(api, clock=clock), clock))
    finally:
        loop.close()


def test_events_are_counted_and_cut():
    async def main(api, client, clock):
        recorder = EventRecorder(client, clock, "tester")
        task = asyncio.get_running_loop().create_task(recorder.run())
        pod = api.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": []}})
        for _ in range(3):
            recorder.event(pod, "Normal", "Said", "the same")
        await clock.sleep(1)
        (event,) = api.all(EVENTS)
        assert (event["count"], event["reason"], event["source"]) == (3, "Said", {"component": "tester"})
        assert event["involvedObject"]["uid"] == pod["metadata"]["uid"]
        for n in range(60):
            recorder.event(pod, "Normal", "Flood", str(n))
        await clock.sleep(1)
        # Of a source's words about one object 25 get through at once, whether new or counted.
        assert len(api.all(EVENTS)) == 1 + 25 - 3
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtually(main)


def test_only_one_leads_and_the_next_one_follows():
    async def main(api, client, clock):
        leading = []

        def elector(name):
            return LeaderElector(client, clock, namespace="kube-system", name="l", identity=name, rng=random.Random(1))

        async def lead(name):
            leading.append(name)
            try:
                await asyncio.Event().wait()
            finally:
                leading.remove(name)

        loop = asyncio.get_running_loop()
        first = loop.create_task(elector("a").run(lambda: lead("a")))
        await clock.sleep(1)
        second = loop.create_task(elector("b").run(lambda: lead("b")))
        await clock.sleep(120)
        assert leading == ["a"]
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await clock.sleep(10)
        assert leading == ["b"]
        # The server is away: who leads gives up before another could take its lease.
        started = clock.now()
        api.fault = lambda method, path: TransportError("away", sent=False) if "leases" in path else None
        with pytest.raises(LeadershipLost):
            await second
        assert clock.now() - started < 15 and leading == []
        assert api.get(LEASES, "kube-system", "l")["spec"]["holderIdentity"] == "b"

    virtually(main)
