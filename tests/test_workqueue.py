"""Getters of a work queue that are cancelled."""

import asyncio

from pybernetes.concurrency import RealClock
from pybernetes.concurrency.workqueue import WorkQueue


async def test_a_wake_up_is_handed_past_getters_that_were_cancelled_too():
    loop = asyncio.get_running_loop()
    queue: WorkQueue[str] = WorkQueue(RealClock())
    getters = [loop.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("key")  # wakes the first
    getters[0].cancel()
    getters[1].cancel()
    assert await asyncio.wait_for(getters[2], 5) == "key"
    results = await asyncio.gather(*getters[:2], return_exceptions=True)
    assert all(isinstance(r, asyncio.CancelledError) for r in results)
