"""Controllers in virtual time against the fake API."""

import asyncio
import random

import pytest

from pybernetes.client.rest import Client
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.controllers.manager import ControllerManager

from .fake_api import FakeAPI


class World:
    """One fake cluster on a virtual clock; ``manage`` runs the named controllers while the body does its part."""

    def __init__(self, clock, rng):
        self.clock, self.rng = clock, rng
        self.api = FakeAPI(clock, rng)
        self.client = Client(self.api, clock=clock)
        self.manager = None
        self.nodes = False

    def start(self, *names, settings=None):
        self.manager = ControllerManager(self.client, self.clock, controllers=names, settings=settings, rng=self.rng)
        return self.manager.run()

    async def settle(self, seconds=0.0):
        """Lets time pass, then waits until no controller has anything to do."""
        if seconds:
            await self.clock.sleep(seconds)
        quiet = 0
        while quiet < 3:
            await self.clock.sleep(0.001)
            quiet = quiet + 1 if self.manager is None or self.manager.idle else 0

    async def managed(self, body, *names, settings=None):
        """Runs ``body()`` while the controllers work; ends them afterwards. Failed syncs that are bugs fail the test."""
        task = asyncio.get_running_loop().create_task(self.start(*names, settings=settings))
        work = asyncio.get_running_loop().create_task(body())
        try:
            await asyncio.wait([task, work], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return await work
        finally:
            for t in (task, work):
                t.cancel()
            await asyncio.gather(task, work, return_exceptions=True)


@pytest.fixture
def virtually(caplog):
    """``virtually(main)`` runs ``main(world)`` in virtual time."""

    def run(main, seed=0):
        clock = VirtualClock()
        loop = virtual_event_loop(clock)
        try:
            result = loop.run_until_complete(main(World(clock, random.Random(seed))))
        finally:
            loop.close()
        bugs = [r for r in caplog.records if r.levelname == "ERROR"]
        assert not bugs, bugs[0].exc_text or bugs[0].getMessage()
        return result

    return run
