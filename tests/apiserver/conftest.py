"""A server on the memory store, in the test's event loop."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest

from pybernetes.apiserver.inprocess import InProcessTransport
from pybernetes.apiserver.server import ApiServer, ServerConfig
from pybernetes.client.rest import Client
from pybernetes.concurrency import RealClock
from pybernetes.storage.memory import MemoryStore


@asynccontextmanager
async def running(config: ServerConfig | None = None, *, clock=None, store=None):
    clock = clock or RealClock()
    server = ApiServer(store or MemoryStore(clock), clock, random.Random(7), config or ServerConfig())
    await server.start()
    task = asyncio.get_running_loop().create_task(server.run())
    try:
        yield server
        for dispatcher in server.hub.dispatchers.values():
            dispatcher.cache.validate_state()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def server():
    async with running() as found:
        yield found


@pytest.fixture
def client(server):
    return Client(InProcessTransport(server))
