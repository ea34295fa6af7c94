"""Virtual time: an hour costs no time, and timeouts and queues follow the clock they were given."""

import asyncio
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
