"""The supervisor: starts a cluster's processes, restarts what dies, answers ``p8s status``, and stops all in order.

It holds no state of its own: killed, it is started again by ``p8s up``, and its children, which end when it does, with it.
Containers are nobody's children here and run on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ..concurrency import Backoff, Clock, logger

log = logger("cluster.supervisor")

STABLE_SECONDS = 10.0
"""A process that lived this long has started well: its next death is restarted at once."""
STOP_SECONDS = 10.0
"""What a process gets between SIGTERM and SIGKILL."""
LOG_LIMIT = 32 * 1024 * 1024
SUPERVISED = "P8S_SUPERVISED"
"""Set in a child's environment: it then asks the kernel for SIGTERM when its parent dies."""


@dataclass(frozen=True, slots=True)
class Component:
    """One process: ``stage`` orders start (ascending) and stop (descending)."""

    name: str
    arguments: Sequence[str]
    """For ``p8s``: a component is one of its own commands."""
    stage: int = 0


@dataclass(slots=True)
class _State:
    component: Component
    pid: int = 0
    restarts: int = 0
    last_exit: int | None = None
    started: float = 0.0
    stopping: bool = False
    process: asyncio.subprocess.Process | None = field(default=None, repr=False)


class Supervisor:
    """Runs until ``stop`` is asked for, by the control socket or a signal."""

    def __init__(self, components: Sequence[Component], logs: Path, control_socket: Path, clock: Clock) -> None:
        self._states = {c.name: _State(c) for c in sorted(components, key=lambda c: c.stage)}
        self._logs, self._socket, self._clock = logs, control_socket, clock
        self._stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        server = await asyncio.start_unix_server(self._serve, str(self._socket))
        try:
            async with asyncio.TaskGroup() as group:
                keepers = {name: group.create_task(self._keep(state)) for name, state in self._states.items()}
                await self._stop.wait()
                for state in reversed(self._states.values()):
                    await self._end(state)
                    keepers[state.component.name].cancel()
        finally:
            server.close()
            self._socket.unlink(missing_ok=True)

    async def _keep(self, state: _State) -> None:
        backoff = Backoff(0.1, 10.0)
        while not state.stopping:
            state.started = self._clock.monotonic()
            state.process = await self._start(state.component)
            state.pid = state.process.pid
            state.last_exit = await state.process.wait()
            state.pid = 0
            if state.stopping:
                return
            if self._clock.monotonic() - state.started > STABLE_SECONDS:
                backoff.reset()
            delay = backoff.next()
            state.restarts += 1
            log.warning("died", component=state.component.name, exit=state.last_exit, again_in=delay)
            await self._clock.sleep(delay)

    async def _start(self, component: Component) -> asyncio.subprocess.Process:
        path = self._logs / f"{component.name}.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pybernetes.cli.main",
                *component.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, SUPERVISED: "1"},
                start_new_session=True,
            )

    async def _end(self, state: _State) -> None:
        state.stopping = True
        process = state.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with self._clock.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("did not stop, killed", component=state.component.name)
            process.kill()
            await process.wait()

    def status(self) -> list[dict[str, Any]]:
        now = self._clock.monotonic()
        return [
            {
                "name": s.component.name,
                "pid": s.pid,
                "restarts": s.restarts,
                "lastExit": s.last_exit,
                "uptime": round(now - s.started, 1) if s.pid else 0,
            }
            for s in self._states.values()
        ]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One JSON line in, one out: ``status``, or ``stop``, which is answered when all has stopped."""
        try:
            command = (await reader.readline()).strip()
            if command == b"stop":
                self._stop.set()
            writer.write(orjson.dumps({"pid": os.getpid(), "components": self.status()}) + b"\n")
            await writer.drain()
        except ConnectionError:
            pass  # the asker is gone: nobody to answer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def ask(control_socket: Path, command: str) -> dict[str, Any] | None:
    """What a running supervisor answers; None where none runs."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(control_socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    try:
        writer.write(command.encode() + b"\n")
        answer: dict[str, Any] = orjson.loads(await reader.readline())
        return answer
    finally:
        writer.close()
