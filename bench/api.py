"""Measures an API server, and a peer beside it in the same run: GET, LIST, CREATE, watch fan-out, start-up, memory.

    python bench/api.py OURS.kubeconfig [PEER.kubeconfig] [--seconds 5] [--rounds 1] [--json FILE]

Both are reached over TLS with a bearer token of ``system:masters``. The load comes from ``wrk`` (Debian package of the same
name) and, for watches, from this process; both are pinned to one core (``--core``, default the last), so pin the servers
elsewhere or nowhere. Only ratios within one run mean anything; on a busy machine ``--rounds`` takes all steps several times, both
servers in turn, and prints the medians. What failed in a round is left out of them and told below the table. A namespace
``bench-...`` is made and removed again.
``--pid`` and ``--peer-pid`` (repeatable) add resident memory and the CPU time of each request; ``--start COMMAND`` measures the time from the start of a
command to ``/readyz`` of OURS, by the clock and of the processor, and stops it again.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import shlex
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import yaml

PODS = 1000
WATCHERS = (100, 500)
CREATES = 400
ENVIRONMENT = [{"name": f"VAR_{i}", "value": f"some value here {i}"} for i in range(4)]
ENVIRONMENT[3]["value"] = "NUMBER"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "NAME", "labels": {"app": "bench"}},
    "spec": {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "c",
                "image": "registry.example.com/app:1.2.3",
                "env": ENVIRONMENT,
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }
        ],
    },
}
CREATE_LUA = """
local n = 0
local head, middle, tail = [[%s]], [[%s]], [[%s]]
local distinct = %s
function request()
  n = n + 1
  return wrk.format("POST", "%s", {["Authorization"]="Bearer %s", ["Content-Type"]="application/json",
    ["User-Agent"]="bench/1"}, head .. "%s-" .. n .. middle .. (distinct and n or 0) .. tail)
end
"""


class Server:
    """One API server to measure."""

    def __init__(self, file: str) -> None:
        document = yaml.safe_load(Path(file).read_text())
        self.url = document["clusters"][0]["cluster"]["server"].rstrip("/")
        self.token = document["users"][0]["user"].get("token", "")
        if not self.token:
            raise SystemExit(f"{file}: needs a token: wrk shows no client certificates")
        ca = document["clusters"][0]["cluster"].get("certificate-authority-data")
        self.tls = (
            ssl.create_default_context(cadata=base64.b64decode(ca).decode()) if ca else ssl.create_default_context()
        )
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        self.namespace = f"bench-{os.getpid()}"

    def call(self, method: str, path: str, body: object = None) -> dict:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, context=self.tls, timeout=60) as answer:
            return json.loads(answer.read())

    def prepare(self) -> None:
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        try:
            self.call("POST", f"/api/v1/namespaces/{self.namespace}/serviceaccounts", {"metadata": {"name": "default"}})
        except urllib.error.HTTPError as failure:
            if failure.code != 409:
                raise

    def clean(self) -> None:
        for path in ("pods", "configmaps"):
            self.call("DELETE", f"/api/v1/namespaces/{self.namespace}/{path}?gracePeriodSeconds=0")
        self.call("DELETE", f"/api/v1/namespaces/{self.namespace}")


class Load:
    """wrk, pinned."""

    def __init__(self, core: int, seconds: int) -> None:
        if shutil.which("wrk") is None:
            raise SystemExit("needs wrk: apt-get install wrk")
        self.command = ["taskset", "-c", str(core), "wrk", "-t1", f"-d{seconds}"]

    def run(self, server: Server, path: str, connections: int, script: str = "") -> tuple[float, float, str]:
        """(requests a second, requests, remark)."""
        command = [*self.command, f"-c{connections}", "-H", f"Authorization: Bearer {server.token}"]
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            if script:
                file.write(script)
                file.flush()
                command += ["-s", file.name]
            text = subprocess.run([*command, server.url + path], capture_output=True, text=True, check=True).stdout
        rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        number = re.search(r"(\d+) requests in", text)
        remark = f"{bad[1]} failed" if bad else ""
        return float(rate[1]) if rate else 0.0, float(number[1]) if number else 0.0, remark


def create_script(server: Server, prefix: str, distinct: bool) -> str:
    """Pods of one template, or with something in each spec that no other has."""
    head, _, rest = json.dumps(POD).partition("NAME")
    middle, _, tail = rest.partition("NUMBER")
    path = f"/api/v1/namespaces/{server.namespace}/pods"
    return CREATE_LUA % (head, middle, tail, "true" if distinct else "false", path, server.token, prefix)


def fill(server: Server) -> None:
    """Exactly PODS pods, for LIST."""
    server.call("DELETE", f"/api/v1/namespaces/{server.namespace}/pods?gracePeriodSeconds=0")
    for number in range(PODS):
        text = json.dumps(POD).replace("NAME", f"list-{number}")
        server.call("POST", f"/api/v1/namespaces/{server.namespace}/pods", json.loads(text))


class Watch(asyncio.Protocol):
    """Counts the events of one watch."""

    def __init__(self, request: bytes, wanted: int) -> None:
        self.request, self.left = request, wanted
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.left -= data.count(b'"type":"ADDED"')
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, failure: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(failure or ConnectionError("the watch ended"))


async def fan_out(server: Server, watchers: int, begin: Callable[[], None]) -> float:
    """Events a second over all watchers, from the first create to the last event."""
    from pybernetes.client.transport import ClientRequest, HttpTransport

    address = urlsplit(server.url)
    path = f"/api/v1/namespaces/{server.namespace}/configmaps"
    server.call("DELETE", path)
    version = server.call("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
    request = (
        f"GET {path}?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    watches = []
    for _ in range(watchers):
        _, watch = await loop.create_connection(
            lambda: Watch(request, CREATES), address.hostname, address.port, ssl=server.tls, server_hostname=""
        )
        watches.append(watch)
    await asyncio.sleep(1.0)
    transport = HttpTransport(
        address.hostname or "", address.port or 443, tls=server.tls, headers={"Authorization": f"Bearer {server.token}"}
    )
    numbers = iter(range(CREATES))

    async def create() -> None:
        for number in numbers:
            body = json.dumps({"metadata": {"name": f"w{number}"}, "data": {"k": "x" * 650}}).encode()
            answer = await transport.send(ClientRequest("POST", path, {"Content-Type": "application/json"}, body))
            await answer.read()

    begin()
    began = time.perf_counter()
    await asyncio.gather(*(create() for _ in range(8)), *(w.done for w in watches))
    taken = time.perf_counter() - began
    for watch in watches:
        watch.transport.close()
    transport.close()
    return watchers * CREATES / taken


def run_loop(coroutine):
    import uvloop

    return uvloop.run(coroutine)


def memory(pids: list[int]) -> float:
    """Megabytes resident, of all these processes."""
    pages = sum(int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def start_up(command: str, server: Server) -> dict[str, float]:
    """Seconds from the start of a command to ``/readyz`` ok."""
    began = time.perf_counter()
    process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - began < 60:
            request = urllib.request.Request(
                f"{server.url}/readyz", headers={"Authorization": f"Bearer {server.token}"}
            )
            try:
                with urllib.request.urlopen(request, context=server.tls, timeout=5) as answer:
                    if answer.status == 200:
                        taken = time.perf_counter() - began
                        return {
                            "start to /readyz ok (s)": taken,
                            "start to /readyz ok (CPU s)": cpu_seconds([process.pid]),
                        }
            except OSError:
                time.sleep(0.005)
    finally:
        process.terminate()
        process.wait()
    raise SystemExit("the server did not become ready")


def cpu_seconds(pids: list[int]) -> float:
    """CPU time that these processes have used: unlike rates, it does not depend on what else the machine does."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


# What is measured: (rate, number, remark) of a server; it calls the last argument where preparation ends and measuring begins.
Work = Callable[[Server, Load, Callable[[], None]], tuple[float, float, str]]
Step = tuple[str, Work]


def reading(path: str, filled: bool = False) -> Work:
    def work(server: Server, load: Load, begin: Callable[[], None]) -> tuple[float, float, str]:
        if filled:
            fill(server)
        begin()
        return load.run(server, f"/api/v1/namespaces/{server.namespace}/pods{path}", 16)

    return work


def creating(prefix: str, distinct: bool) -> Work:
    return lambda server, load, begin: load.run(server, "/", 32, create_script(server, prefix, distinct))


def watching(watchers: int) -> Work:
    def work(server: Server, load: Load, begin: Callable[[], None]) -> tuple[float, float, str]:
        try:
            return run_loop(fan_out(server, watchers, begin)), watchers * CREATES, ""
        except ConnectionError as failure:
            return 0.0, 0, str(failure)

    return work


def steps() -> list[Step]:
    """What is measured, in order; each of all servers before the next."""
    return [
        ("CREATE pods alike, 32 connections", creating("a", False)),
        ("CREATE pods all different, 32 connections", creating("b", True)),
        ("GET pod, 16 connections", reading("/list-7", filled=True)),
        ("GET pod, resourceVersion=0", reading("/list-7?resourceVersion=0")),
        (f"LIST {PODS} pods, 16 connections", reading("")),
        (f"LIST {PODS} pods, resourceVersion=0", reading("?resourceVersion=0")),
        *((f"watch fan-out, {number} watchers x {CREATES}", watching(number)) for number in WATCHERS),
    ]


class Rounds:
    """What was measured, by row and side, of every round; and what went wrong."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, list[float]]] = {}
        self.remarks: list[str] = []

    def add(self, name: str, label: str, value: float) -> None:
        self.found.setdefault(name, {}).setdefault(label, []).append(value)

    def measure(self, step: Step, label: str, server: Server, load: Load, pids: list[int]) -> None:
        name, work = step
        before = cpu_seconds(pids)

        def begin() -> None:
            nonlocal before
            before = cpu_seconds(pids)

        rate, number, remark = work(server, load, begin)
        print(f"  {server.url}: {name}: {rate:,.0f} /s {remark}", file=sys.stderr)
        if remark:
            self.remarks.append(f"{label}, {name}: {remark}")
        if not number:
            return
        self.add(f"{name} (/s)", label, rate)
        if pids:
            self.add(f"{name} (CPU us each)", label, (cpu_seconds(pids) - before) / number * 1e6)

    def medians(self) -> dict[str, dict[str, float]]:
        return {name: {label: statistics.median(v) for label, v in row.items()} for name, row in self.found.items()}


def table(rows: dict[str, dict[str, float]], peer: bool) -> str:
    lines = [f"{'':54}{'ours':>12}" + (f"{'peer':>12}{'ratio':>9}" if peer else "")]
    for name, row in rows.items():
        ours, theirs = row.get("ours"), row.get("peer")
        line = f"{name:54}" + "".join(
            f"{'failed':>12}" if value is None else f"{value:>12,.2f}"
            for value in ((ours, theirs) if peer else (ours,))
        )
        lines.append(line + (f"{ours / theirs:>8.2f}x" if ours and theirs else ""))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("peer", nargs="?")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--core", type=int, default=(os.cpu_count() or 1) - 1)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--peer-pid", type=int, action="append", default=[])
    parser.add_argument("--start", default="")
    parser.add_argument("--json", default="")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    load = Load(arguments.core, arguments.seconds)
    ours = Server(arguments.ours)
    if arguments.start:
        print(table({name: {"ours": value} for name, value in start_up(arguments.start, ours).items()}, False))
        return
    sides = [("ours", ours, arguments.pid)]
    if arguments.peer:
        sides.append(("peer", Server(arguments.peer), arguments.peer_pid))
    rounds = Rounds()
    for label, _, pids in sides:
        if pids:
            rounds.add("resident memory, idle (MB)", label, memory(pids))
    try:
        for _, server, _ in sides:
            server.prepare()
        for _ in range(arguments.rounds):
            for step in steps():
                for label, server, pids in sides:
                    rounds.measure(step, label, server, load, pids)
    finally:
        for _, server, _ in sides:
            server.clean()
    print("\n".join([table(rounds.medians(), bool(arguments.peer)), *rounds.remarks]))
    if arguments.json:
        report = {"medians": rounds.medians(), "rounds": rounds.found, "remarks": rounds.remarks}
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
