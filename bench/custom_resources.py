"""Measures custom resources: starting with 1,000 definitions, discovery, the life of a definition, CPU of a create.

    python bench/custom_resources.py [--definitions 1000] [--creates 2000] [--json FILE]
    python bench/custom_resources.py --peer URL [--peer-token TOKEN] [--peer-pid PID]      # the same requests to another one

Starts ``p8s apiserver`` on SQLite in a process of its own, twice: once to install the definitions, once to measure how
soon it is ready with them. Each definition has a schema of ``--fields`` fields. Only ratios within one run mean anything
on a busy machine; CPU times are those of the server's process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN = "bench"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
GROUPS = 50
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """One API server over one kept connection."""

    def __init__(self, url: str, token: str, pid: int = 0) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.token, self.pid = parts.hostname or "", parts.port or 443, token, pid
        self._connection: http.client.HTTPSConnection | None = None

    def call(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> tuple[int, bytes]:
        if self._connection is None:
            context = ssl._create_unverified_context()
            self._connection = http.client.HTTPSConnection(self.host, self.port, context=context, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept, "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def ready(self) -> bool:
        try:
            return self.call("GET", "/readyz")[0] == 200
        except OSError:
            self._connection = None
            return False

    def cpu(self) -> float:
        """Seconds that the server's process has computed."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> float:
        """Resident megabytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def started(directory: Path) -> Iterator[tuple[Server, float]]:
    """(a server of ours, the seconds until it was ready)."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    tokens = directory / "tokens.csv"
    tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
    arguments = [
        "apiserver", f"--secure-port={port}", "--bind-address=127.0.0.1", f"--data-dir={directory / 'data'}",
        f"--token-auth-file={tokens}", "--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount",
    ]  # fmt: skip
    began = time.monotonic()
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "pybernetes.cli.main", *arguments], stdout=log, stderr=log)
    try:
        server = Server(f"https://127.0.0.1:{port}", TOKEN, process.pid)
        while not server.ready():
            if process.poll() is not None:
                raise SystemExit((directory / "log").read_text())
            time.sleep(0.01)
        yield server, time.monotonic() - began
    finally:
        process.terminate()
        process.wait(30)


def schema(fields: int) -> dict[str, Any]:
    """As many fields as wanted, in sections of twenty, of the types that real definitions have; ten rules."""
    sections = {}
    for start in range(0, fields, 20):
        properties: dict[str, Any] = {}
        for i in range(start, min(fields, start + 20)):
            properties[f"field{i}"] = [
                {"type": "string", "maxLength": 200, "pattern": "^[a-z0-9-]*$", "description": f"Field {i}."},
                {"type": "integer", "minimum": 0, "maximum": 100000, "default": i},
                {"type": "boolean"},
                {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 64}},
                {"x-kubernetes-int-or-string": True},
            ][i % 5]
        sections[f"section{start // 20}"] = {"type": "object", "properties": properties}
    rules = [{"rule": f"self.section0.field1 + {i} >= {i}", "message": f"rule {i}"} for i in range(9)]
    rules.append({"rule": "self.section0.field3.all(t, t.size() < 50)", "message": "too long"})
    spec = {"type": "object", "properties": sections, "x-kubernetes-validations": rules}
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "properties": {"spec": spec, "status": status}}


def definition(number: int, fields: int) -> dict[str, Any]:
    kind, group = f"Bench{number}", f"g{number % GROUPS}.bench.example.com"
    version = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema(fields)},
        "subresources": {"status": {}}, "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.section0.field1"},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.lower()}s.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": f"{kind.lower()}s", "kind": kind},
            "versions": [version],
        },
    }


def instance(number: int, name: str, fields: int) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for start in range(0, fields, 20):
        section = spec[f"section{start // 20}"] = {}
        for i in range(start, min(fields, start + 20)):
            section[f"field{i}"] = [f"value-{i}", i, True, [f"item-{i}", "other"], "50%"][i % 5]
    return {
        "apiVersion": f"g{number % GROUPS}.bench.example.com/v1",
        "kind": f"Bench{number}",
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": spec,
    }


def path_of(number: int) -> str:
    return f"/apis/g{number % GROUPS}.bench.example.com/v1/namespaces/default/bench{number}s"


def wait_served(server: Server, number: int) -> None:
    while server.call("GET", path_of(number))[0] != 200:
        time.sleep(0.005)


def install(server: Server, count: int, fields: int) -> float:
    """Seconds for each definition, from the first request until the last one is served."""
    began = time.monotonic()
    for number in range(count):
        status, body = server.call("POST", CRDS, definition(number, fields))
        assert status in (201, 409), body
    wait_served(server, count - 1)
    return (time.monotonic() - began) / count


def times(server: Server, path: str, accept: str, rounds: int = 50) -> list[float]:
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        status, body = server.call("GET", path, accept=accept)
        found.append(1000 * (time.perf_counter() - began))
        assert status == 200, body
    return found


def published(server: Server, number: int, fields: int) -> tuple[float, float]:
    """Milliseconds from the request that defines it until it is (served, in discovery and in its OpenAPI document)."""
    began = time.perf_counter()
    status, body = server.call("POST", CRDS, definition(number, fields))
    assert status == 201, body
    wait_served(server, number)
    served = time.perf_counter() - began
    group = f"g{number % GROUPS}.bench.example.com"
    while f'"Bench{number}"'.encode() not in server.call("GET", "/apis", accept=AGGREGATED)[1]:
        time.sleep(0.005)
    while f"v1.Bench{number}".encode() not in server.call("GET", f"/openapi/v3/apis/{group}/v1")[1]:
        time.sleep(0.005)
    return 1000 * served, 1000 * (time.perf_counter() - began)


def creates(server: Server, count: int, fields: int, prefix: str) -> tuple[float, float]:
    """(milliseconds of the server's CPU, milliseconds of waiting) of one create."""
    bodies = [instance(0, f"{prefix}{i}", fields) for i in range(count)]
    for i, body in enumerate(bodies):
        # Each has a text of its own somewhere, so that none is like another.
        body["spec"]["section0"]["field0"] = f"value-{i}"
    for body in bodies[:20]:
        assert server.call("POST", path_of(0), body)[0] == 201
    before, began = (server.cpu() if server.pid else 0.0), time.perf_counter()
    for body in bodies[20:]:
        status, answer = server.call("POST", path_of(0), body)
        assert status == 201, answer
    waited = time.perf_counter() - began
    cpu = (server.cpu() - before) if server.pid else 0.0
    return 1000 * cpu / (count - 20), 1000 * waited / (count - 20)


def measure(server: Server, options: argparse.Namespace) -> dict[str, float]:
    found: dict[str, float] = {}
    found["discovery, first after a change, ms"] = times(server, "/apis", AGGREGATED, 1)[0]
    found["discovery, from cache, ms (median)"] = statistics.median(times(server, "/apis", AGGREGATED))
    old = "/apis/g0.bench.example.com/v1"
    found["discovery of a group version, ms (median)"] = statistics.median(times(server, old, "application/json"))
    found["openapi/v3 index, ms (median)"] = statistics.median(times(server, "/openapi/v3", "application/json"))
    first = options.definitions + int(time.time()) % 100000
    rows = [published(server, first + i * GROUPS, options.fields) for i in range(5)]
    found["definition -> served, ms (median)"] = statistics.median(r[0] for r in rows)
    found["definition -> discovery and OpenAPI, ms (median)"] = statistics.median(r[1] for r in rows)
    prefix = f"b{int(time.time())}-"
    cpu, waited = creates(server, options.creates, options.fields, prefix)
    if server.pid:
        found[f"create, {options.fields} fields and 10 rules: CPU ms"] = cpu
        found["resident MB"] = server.memory()
    found[f"create, {options.fields} fields and 10 rules: ms"] = waited
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--definitions", type=int, default=1000)
    parser.add_argument("--fields", type=int, default=200)
    parser.add_argument("--creates", type=int, default=2000)
    parser.add_argument("--peer", default="", metavar="URL", help="another server, empty")
    parser.add_argument("--peer-token", default=TOKEN)
    parser.add_argument("--peer-pid", type=int, default=0)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="p8s-bench-") as name:
        directory = Path(name)
        with started(directory) as (server, empty):
            each = install(server, options.definitions, options.fields)
        with started(directory) as (server, ready):
            results["ours"] = {
                "ready, nothing defined, s": empty,
                f"ready, {options.definitions} definitions, s": ready,
                "define, ms each": 1000 * each,
                **measure(server, options),
            }
    if options.peer:
        peer = Server(options.peer, options.peer_token, options.peer_pid)
        each = install(peer, options.definitions, options.fields)
        results["peer"] = {"define, ms each": 1000 * each, **measure(peer, options)}
    report(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2))


def report(results: dict[str, dict[str, float]]) -> None:
    names = list(dict.fromkeys(n for rows in results.values() for n in rows))
    print(f"{'':52}" + "".join(f"{who:>12}" for who in results))
    for name in names:
        cells = "".join(f"{rows[name]:>12.2f}" if name in rows else f"{'-':>12}" for rows in results.values())
        print(f"{name:52}{cells}")


if __name__ == "__main__":
    main()
