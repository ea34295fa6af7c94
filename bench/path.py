"""Where the time of a request goes inside the API server: each step of CREATE and GET of a pod, one request at a time.

    python bench/path.py [--requests 2000]

The server is the whole composition over SQLite in a temporary directory, called in this process: HTTP and TLS are not in it
(``bench/api.py --pid`` has the CPU time of a whole request). Steps are timed by wrapping them, which adds about half a
microsecond to each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api import POD
from pybernetes.apiserver import writing
from pybernetes.apiserver.authn import AuthenticationOptions
from pybernetes.apiserver.composition import Options, compose
from pybernetes.apiserver.request import Request
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import Credentials
from pybernetes.storage.sqlite import SqliteStore

TOKEN = "bench"


class Steps:
    """Time by step."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def wrap(self, owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)
        self.times.setdefault(label, 0.0)
        setattr(
            owner,
            name,
            self._waiting(inner, label) if asyncio.iscoroutinefunction(inner) else self._plain(inner, label),
        )

    def _plain(self, inner: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                self.times[label] += time.perf_counter() - began

        return timed

    def _waiting(self, inner: Callable[..., Any], label: str) -> Callable[..., Any]:
        async def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return await inner(*arguments, **named)
            finally:
                self.times[label] += time.perf_counter() - began

        return timed

    def report(self, title: str, total: float, requests: int) -> None:
        print(f"\n{title}: {total / requests * 1e6:,.0f} us each")
        rest = total - sum(self.times.values())
        for label, spent in (*self.times.items(), ("all else (routing, answer, bookkeeping)", rest)):
            print(f"  {label:42} {spent / requests * 1e6:8.1f} us")
        for label in self.times:
            self.times[label] = 0.0


def request(method: str, path: str, body: bytes = b"") -> Request:
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json", "user-agent": "bench/1"}
    return Request(method, path, "", headers, body, Credentials(headers))


async def run(requests: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        tokens = Path(directory) / "tokens.csv"
        tokens.write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        clock = RealClock()
        options = Options(authentication=AuthenticationOptions(token_file=str(tokens)))
        server = compose(SqliteStore(Path(directory) / "state.db", clock), clock, random.Random(1), options)
        await server.start()
        task = asyncio.get_running_loop().create_task(server.run())
        account = b'{"metadata":{"name":"default"}}'
        await server.handle(request("POST", "/api/v1/namespaces/default/serviceaccounts", account))
        await measure(server, requests)
        task.cancel()
        await asyncio.wait([task])


async def measure(server: Any, requests: int) -> None:
    pods = "/api/v1/namespaces/default/pods"
    bodies = [
        json.dumps(POD).replace("NAME", f"p{n}").replace("NUMBER", str(n)).encode() for n in range(requests + 100)
    ]
    for body in bodies[requests:]:
        answer = await server.handle(request("POST", pods, body))
        assert answer.status == 201, answer.body
    steps, kind = Steps(), server.registry.lookup("", "v1", "pods").kind
    steps.wrap(server, "authenticate", "authentication")
    steps.wrap(server, "authorize", "authorization")
    steps.wrap(writing, "decode_object", "parsing and decoding")
    for name, label in (("default", "defaults"), ("manage", "managed fields")):
        steps.wrap(kind, name, label)
    steps.wrap(server.chain, "admit", "mutating admission")
    for name, label in (("prepare_create", "strategy"), ("validate_create", "validation"), ("warnings", "warnings")):
        steps.wrap(kind, name, label)
    steps.wrap(server.chain, "validate", "validating admission")
    steps.wrap(server.committer, "create", "commit: encode, disk, watch cache")
    await timed(server, steps, "CREATE pod, all different", [request("POST", pods, body) for body in bodies[:requests]])
    alike = json.dumps(POD).replace("NUMBER", "0")
    later = [request("POST", pods, alike.replace("NAME", f"q{n}").encode()) for n in range(requests)]
    await timed(server, steps, "CREATE pod, all alike", later)
    await timed(server, steps, "GET pod", [request("GET", f"{pods}/p{n}") for n in range(requests)])


async def timed(server: Any, steps: Steps, title: str, requests: list[Request]) -> None:
    began = time.perf_counter()
    for one in requests:
        await server.handle(one)
    steps.report(title, time.perf_counter() - began, len(requests))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    import uvloop

    uvloop.run(run(arguments.requests))


if __name__ == "__main__":
    main()
