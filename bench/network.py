"""How fast the node's network follows: service rules into the kernel, DNS answers out.

    python bench/network.py rules [--services 100 10000] [--endpoints 10]      # as root: makes a network namespace of its own
    python bench/network.py dns [--seconds 5] [--outstanding 64] [--rate 10000]

``rules`` builds the table for so many Services, then replaces one endpoint again and again: the time from knowing the new
EndpointSlice's content to the kernel's acknowledgement. ``--nft`` times the same change by the ``nft`` program beside it.
``dns`` runs a server in a process of its own and asks it from this one: first as fast as answers come, then so many queries a second
whatever the answers do, which shows how long each waits. Throughput and kube-proxy: ``network_throughput.py``, ``network_peer.py``.
Both print a table, and JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import multiprocessing
import os
import resource
import select
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from pybernetes.concurrency import RealClock

NAMESPACE = f"p8sbench{os.getpid()}"


def quantiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median_ms": round(statistics.median(ordered) * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        "max_ms": round(ordered[-1] * 1000, 3),
    }


# -- rules -----------------------------------------------------------------------------------------------------------------


async def rules(count: int, endpoints: int, with_nft: bool) -> dict[str, Any]:
    from pybernetes.proxy.backend import NftablesBackend
    from pybernetes.proxy.model import Choice, PortName, ServicePort
    from pybernetes.proxy.service_rules import ServiceRules
    from pybernetes.proxy.service_table import TableOptions

    def address(base: int, number: int) -> str:
        return socket.inet_ntoa((base + number).to_bytes(4, "big"))

    def targets(number: int) -> tuple[tuple[str, int], ...]:
        return tuple((address(0x0AF40000, number * endpoints + i), 8080) for i in range(endpoints))

    backend, table = NftablesBackend(TableOptions("10.244.0.0/14")), ServiceRules()
    started = time.perf_counter()
    for number in range(count):
        port = ServicePort(PortName("bench", f"s{number}", "http"), 6, 80, address(0x0A600000, number + 1))
        table.set_service(f"bench/s{number}", [(port, Choice(targets(number), (), True))])
    table.take_update()
    worked_out = time.perf_counter()
    await backend.rebuild(table)
    built = time.perf_counter()
    port, times = ServicePort(PortName("bench", "s5", "http"), 6, 80, address(0x0A600000, 6)), []
    for step in range(200):
        chosen = (*targets(5)[:-1], (address(0x0AFF0000, step), 8080))
        begun = time.perf_counter()
        table.set_service("bench/s5", [(port, Choice(chosen, (), True))])
        await backend.apply(table, table.take_update())
        times.append(time.perf_counter() - begun)
    found = {
        "services": count,
        "endpoints": count * endpoints,
        "work_out_s": round(worked_out - started, 3),
        "write_all_s": round(built - worked_out, 3),
        **quantiles(times),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if with_nft:
        found["nft_median_ms"] = _by_nft()
    backend.close()
    subprocess.run(["nft", "delete", "table", "ip", "p8s_services"], check=True)
    return found


def _by_nft() -> float:
    times = []
    for step in range(10):
        key = "10.96.0.7 . tcp . 80 . 0x00000000"
        script = f"delete element ip p8s_services endpoints {{ {key} }}\n"
        script += f"add element ip p8s_services endpoints {{ {key} : 10.1.0.{step} . 8080 }}\n"
        begun = time.perf_counter()
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
        times.append(time.perf_counter() - begun)
    return round(statistics.median(times) * 1000, 3)


def in_namespace() -> None:
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    with Path(f"/run/netns/{NAMESPACE}").open() as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")


# -- DNS -------------------------------------------------------------------------------------------------------------------


def undisturbed(realtime: bool) -> None:
    if realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def serve(ready: Any, realtime: bool) -> None:
    import uvloop

    undisturbed(realtime)

    from pybernetes.dns.forward import Forwarder
    from pybernetes.dns.records import Zone
    from pybernetes.dns.server import DnsServer

    async def main() -> None:
        zone = Zone()
        for number in range(10_000):
            spec = {"clusterIP": f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"}
            zone.set_service({"metadata": {"name": f"s{number}", "namespace": "bench"}, "spec": spec})
        server, started = DnsServer(zone, Forwarder([], RealClock()), RealClock()), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run("127.0.0.1", 0, started))
            await started.wait()
            ready.send(server.addresses[0][1])

    os.sched_setaffinity(0, {0})
    uvloop.run(main())


def ask(port: int, seconds: float, outstanding: int, names: int) -> dict[str, Any]:
    """Keeps so many queries under way from one core; the rest of the names repeat, as clients do."""
    import dns.message

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    packets = [
        dns.message.make_query(f"s{i}.bench.svc.cluster.local", kind).to_wire()[2:]
        for i in range(names)
        for kind in ("A", "AAAA")
    ]
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.connect(("127.0.0.1", port))
    connection.settimeout(1)
    sent_at: dict[bytes, float] = {}
    times: list[float] = []
    number, lost = 0, 0

    def send() -> None:
        nonlocal number
        number += 1
        identity = (number & 0xFFFF).to_bytes(2, "big")
        sent_at[identity] = time.perf_counter()
        connection.send(identity + packets[number % len(packets)])

    begun = time.perf_counter()
    for _ in range(outstanding):
        send()
    while time.perf_counter() - begun < seconds:
        try:
            answer = connection.recv(600)
        except TimeoutError:
            lost += len(sent_at)
            sent_at.clear()
            for _ in range(outstanding):
                send()
            continue
        times.append(time.perf_counter() - sent_at.pop(answer[:2]))
        send()
    return {
        "names": names,
        "queries_per_s": round(len(times) / (time.perf_counter() - begun)),
        "lost": lost,
        **quantiles(times),
    }


def ask_at_rate(port: int, seconds: float, rate: int, names: int) -> dict[str, Any]:
    """Sends at fixed moments; a query that could not be sent in time counts from when it was due."""
    import dns.message

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    packets = [dns.message.make_query(f"s{i}.bench.svc.cluster.local", "A").to_wire()[2:] for i in range(names)]
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    due: dict[bytes, float] = {}
    times: list[float] = []
    sent, begun = 0, time.perf_counter()
    end = begun + seconds
    while (now := time.perf_counter()) < end + 1 and (now < end or due):
        while sent < (min(now, end) - begun) * rate:
            identity = (sent & 0xFFFF).to_bytes(2, "big")
            due[identity] = begun + sent / rate
            connection.send(identity + packets[sent % names])
            sent += 1
        try:
            while True:
                answer = connection.recv(600)
                times.append(time.perf_counter() - due.pop(answer[:2]))
        except BlockingIOError:
            select.select([connection], [], [], max(0.0, begun + sent / rate - time.perf_counter()))
    return {"names": names, "queries_per_s": rate, "lost": len(due), **quantiles(times)}


def dns_bench(seconds: float, outstanding: int, rate: int, realtime: bool) -> list[dict[str, Any]]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(there, realtime), daemon=True)
    undisturbed(realtime)
    process.start()
    port = here.recv()
    try:
        rows = [{"way": "flat out", **ask(port, seconds, outstanding, names)} for names in (100, 9_000)]
        return rows + [{"way": "at a rate", **ask_at_rate(port, seconds, rate, names)} for names in (100, 9_000)]
    finally:
        process.terminate()
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rules", "dns"])
    parser.add_argument("--services", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--nft", action="store_true")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--outstanding", type=int, default=64)
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--realtime", action="store_true", help="Before all other jobs of a busy machine, which wait.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.what == "dns":
        rows = dns_bench(options.seconds, options.outstanding, options.rate, options.realtime)
    else:
        in_namespace()
        try:
            rows = [asyncio.run(rules(n, options.endpoints, options.nft)) for n in options.services]
        finally:
            subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("  ".join(f"{k:>14}" for k in rows[0]))
    for row in rows:
        print("  ".join(f"{v:>14}" for v in row.values()))


if __name__ == "__main__":
    main()
