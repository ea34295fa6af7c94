"""What one user's flood of lists does to another user's GETs, and what fairness costs where there is no flood.

    python bench/fairness.py OURS.kubeconfig [PEER.kubeconfig] [--seconds 10] [--flood 64] [--objects 3000] [--json FILE]

Both servers are reached over TLS with a bearer token of ``system:masters``, which makes a namespace ``bench-fairness-...`` of
ConfigMaps, two ServiceAccounts that may read it, and removes all of it again. One of them asks for the whole list as often as it
can over ``--flood`` connections (with another label selector each time, so that each list is worked out anew); the other
GETs one object after the other over a single connection. Printed are the GETs' times without and with the flood, the lists a
second, and how many were answered 429. ``--core`` pins this process, the load itself costs about as much as the server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import os
import ssl
import statistics
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import yaml

BODY = "x" * 1000


class Server:
    """One API server to measure."""

    def __init__(self, file: str) -> None:
        document = yaml.safe_load(Path(file).read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self.name, self.url = file, cluster["server"].rstrip("/")
        ca = cluster.get("certificate-authority-data")
        self.tls = (
            ssl.create_default_context(cadata=base64.b64decode(ca).decode()) if ca else ssl.create_default_context()
        )
        self.tls.check_hostname = False
        if not ca:
            self.tls.verify_mode = ssl.CERT_NONE
        self.token = user.get("token", "")
        self._admin = ssl.create_default_context()
        self._admin.check_hostname, self._admin.verify_mode = False, ssl.CERT_NONE
        if user.get("client-certificate-data"):
            pem = Path(f"/tmp/bench-fairness-{os.getpid()}.pem")
            pem.touch(0o600)
            parts = (base64.b64decode(user[k]) for k in ("client-certificate-data", "client-key-data"))
            pem.write_bytes(b"".join(parts))
            self._admin.load_cert_chain(pem)
            pem.unlink()

    def ask(self, method: str, path: str, body: object = None) -> dict:
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=self._admin) as answer:
            return json.loads(answer.read())


class Fixture:
    """The namespace, its objects and the two users."""

    def __init__(self, server: Server, objects: int, run: int) -> None:
        self.server, self.namespace = server, f"bench-fairness-{os.getpid()}-{run}"
        server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        base = f"/api/v1/namespaces/{self.namespace}"
        for i in range(objects):
            meta = {"name": f"c{i}", "labels": {"bench": "yes"}}
            server.ask("POST", f"{base}/configmaps", {"metadata": meta, "data": {"text": BODY}})
        rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
        server.ask("POST", f"{rbac}/roles", {"metadata": {"name": "reader"}, "rules": rules})
        self.tokens = [self._user(base, rbac, name) for name in ("flood", "mouse")]
        self.path = f"{base}/configmaps"

    def _user(self, base: str, rbac: str, name: str) -> str:
        self.server.ask("POST", f"{base}/serviceaccounts", {"metadata": {"name": name}})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.namespace}
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
        self.server.ask("POST", f"{rbac}/rolebindings", binding)
        token = self.server.ask("POST", f"{base}/serviceaccounts/{name}/token", {"spec": {"expirationSeconds": 3600}})
        return token["status"]["token"]

    def remove(self) -> None:
        self.server.ask("DELETE", f"/api/v1/namespaces/{self.namespace}")


class Connection:
    """One kept HTTP connection, as little work as possible."""

    def __init__(self, server: Server, token: str) -> None:
        parts = urlsplit(server.url)
        self._host, self._port, self._tls = parts.hostname, parts.port or 443, server.tls
        self._head = f"Host: bench\r\nAuthorization: Bearer {token}\r\nAccept: application/json\r\n\r\n"

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, limit=64 << 20
        )

    async def get(self, path: str) -> int:
        """The status."""
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readexactly(2)
        else:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await self._reader.readexactly(length)
        return status

    def close(self) -> None:
        self._writer.close()


async def mouse(server: Server, token: str, path: str, seconds: float) -> list[float]:
    """The times of GETs, one after the other, in milliseconds."""
    connection = Connection(server, token)
    await connection.open()
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        status = await connection.get(path)
        if status != 200:
            raise SystemExit(f"{path}: {status}")
        times.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.002)
    connection.close()
    return times


async def flood(server: Server, token: str, path: str, counts: dict[int, int]) -> None:
    numbers = itertools.count()
    while True:
        connection = Connection(server, token)
        try:
            await connection.open()
            while True:
                # Another selector each time, or the list would be answered from what was joined for the one before.
                status = await connection.get(f"{path},n!%3D{next(numbers)}")
                counts[status] = counts.get(status, 0) + 1
                if status == 429:
                    await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.IncompleteReadError):
            counts[0] = counts.get(0, 0) + 1


def figures(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    at = lambda part: ordered[min(len(ordered) - 1, int(len(ordered) * part))]  # noqa: E731
    return {"p50": statistics.median(ordered), "p99": at(0.99), "max": ordered[-1], "gets": len(ordered)}


async def measure(fixture: Fixture, connections: int, seconds: float) -> dict:
    """Floods run in a process of their own, so that this one's clock is not held up by them."""
    server, (loud, quiet) = fixture.server, fixture.tokens
    one = f"{fixture.path}/c0"
    await mouse(server, quiet, one, 1.0)
    calm = figures(await mouse(server, quiet, one, seconds / 2))
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--flooder", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    job = {"url": server.url, "token": loud, "path": f"{fixture.path}?labelSelector=bench", "connections": connections}
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(job).encode() + b"\n")
    await process.stdout.readline()
    await asyncio.sleep(1.0)
    flooded = figures(await mouse(server, quiet, one, seconds))
    process.stdin.close()
    counts = {int(k): v for k, v in json.loads(await process.stdout.readline()).items()}
    await process.wait()
    total = seconds + 1.0
    return {
        "server": server.name,
        "calm": calm,
        "flooded": flooded,
        "lists_a_second": round(counts.get(200, 0) / total, 1),
        "rejected": counts.get(429, 0),
        "broken": counts.get(0, 0),
    }


async def flooder() -> None:
    job = json.loads(sys.stdin.readline())
    server = Server.__new__(Server)
    server.url, server.tls = job["url"], ssl.create_default_context()
    server.tls.check_hostname, server.tls.verify_mode = False, ssl.CERT_NONE
    counts: dict[int, int] = {}
    tasks = [asyncio.create_task(flood(server, job["token"], job["path"], counts)) for _ in range(job["connections"])]
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(counts), flush=True)
    for task in tasks:
        task.cancel()


def show(found: dict) -> None:
    print(found["server"])
    for state in ("calm", "flooded"):
        t = found[state]
        print(f"  {state:8} p50 {t['p50']:7.2f} ms  p99 {t['p99']:7.2f} ms  max {t['max']:7.2f} ms  ({t['gets']} GETs)")
    print(
        f"  lists {found['lists_a_second']}/s, rejected {found['rejected']}, broken off {found['broken']}", flush=True
    )


def main() -> None:
    if sys.argv[1:] == ["--flooder"]:
        asyncio.run(flooder())
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kubeconfig", nargs="+")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--flood", type=int, default=64, metavar="CONNECTIONS")
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    results = []
    for run, file in enumerate(options.kubeconfig):
        fixture = Fixture(Server(file), options.objects, run)
        try:
            results.append(asyncio.run(measure(fixture, options.flood, options.seconds)))
        finally:
            fixture.remove()
        show(results[-1])
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
