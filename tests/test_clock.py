"""Virtual time: an hour costs no time, and timeouts and queues follow the clock they were given."""

import asyncio
import threading
import time

import pytest

from pybernetes.concurrency import VirtualClock, WorkQueue, run_workers, virtual_event_loop


def run_virtually(main):
    clock = VirtualClock()
    loop = virtual_event_loop(clock)
    try:
        return loop.run_until_complete(main(clock))
    finally:
        loop.close()


def test_an_hour_passes_at_once():
    async def main(clock):
        before = clock.now()
        await asyncio.gather(clock.sleep(3600), clock.sleep(1800))
        return clock.now() - before

    started = time.monotonic()
    assert run_virtually(main) == 3600
    assert time.monotonic() - started < 1


def test_timeout_fires_on_the_virtual_clock():
    async def main(clock):
        with pytest.raises(TimeoutError):
            async with clock.timeout(5):
                await clock.sleep(100)
        return clock.now() - 1_700_000_000.0

    assert run_virtually(main) == 5


def test_timeout_leaves_a_quick_body_alone():
    async def main(clock):
        async with clock.timeout(5):
            await clock.sleep(1)
        await clock.sleep(10)
        return "done"

    assert run_virtually(main) == "done"


def test_a_failing_key_comes_back_with_growing_delay():
    async def main(clock):
        queue = WorkQueue(clock)
        times = []

        async def work(key):
            times.append(clock.now())
            if len(times) < 4:
                raise RuntimeError("not yet")
            queue.close()

        queue.add("a")
        await run_workers(queue, 2, work, lambda key, failure: None)
        return [round(b - a, 6) for a, b in zip(times, times[1:], strict=False)]

    assert run_virtually(main) == [0.005, 0.01, 0.02]


def test_a_thread_takes_no_virtual_time():
    began = threading.Event()

    def work():
        began.wait(5)
        return "done"

    async def main(clock):
        start = clock.monotonic()
        task = asyncio.ensure_future(asyncio.to_thread(work))
        timer = asyncio.ensure_future(clock.sleep(3600))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.05, began.set)
        assert await task == "done"
        assert clock.monotonic() == start and not timer.done()
        await timer
        assert clock.monotonic() == start + 3600

    run_virtually(main)
