"""The supervisor restarts what dies, says so, and stops everything in order."""

import asyncio
import os
import signal

import pytest

from pybernetes.cluster.supervisor import Component, Supervisor, ask
from pybernetes.concurrency import RealClock


@pytest.fixture
async def supervised(tmp_path, monkeypatch):
    """A supervisor over two processes that only wait."""
    import pybernetes.cluster.supervisor as module

    real = asyncio.create_subprocess_exec

    async def waiting(*argv, **options):
        return await real("sleep", "1000", **options)

    monkeypatch.setattr(module.asyncio, "create_subprocess_exec", waiting)
    socket = tmp_path / "control.sock"
    supervisor = Supervisor([Component("b", [], 1), Component("a", [], 0)], tmp_path, socket, RealClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(supervisor.run())
        while True:
            state = await ask(socket, "status")
            if state and all(c["pid"] for c in state["components"]):
                break
            await asyncio.sleep(0.01)
        yield socket
        await ask(socket, "stop")
        await task


async def test_a_killed_process_comes_back(supervised):
    before = {c["name"]: c["pid"] for c in (await ask(supervised, "status"))["components"]}
    os.kill(before["a"], signal.SIGKILL)
    async with asyncio.timeout(10):
        while True:
            after = {c["name"]: c for c in (await ask(supervised, "status"))["components"]}
            if after["a"]["pid"] and after["a"]["pid"] != before["a"]:
                break
            await asyncio.sleep(0.01)
    assert after["a"]["restarts"] == 1
    assert after["a"]["lastExit"] == -9
    assert after["b"]["pid"] == before["b"]


async def test_components_are_listed_in_start_order(supervised):
    assert [c["name"] for c in (await ask(supervised, "status"))["components"]] == ["a", "b"]


async def test_nobody_answers_where_none_runs(tmp_path):
    assert await ask(tmp_path / "nothing.sock", "status") is None
